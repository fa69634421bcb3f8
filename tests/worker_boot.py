"""Starts one SDK harness as the `boot` of Beam's image does, which is a Go program in that image.

Beam's worker pool runs it with the endpoints of the runner. It asks for the job's options, and
becomes the harness; what that logs goes to ``$WORKER_LOGS/PID.log``.
"""

import argparse
import os
import sys
from pathlib import Path

import grpc
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
from google.protobuf import json_format

# Where the project comes from is logged, as that is what a test wants to know.
HARNESS = """
import sys, filters, model, pipelines, transforms
print("rooms:", filters.__path__, model.__path__, pipelines.__path__, transforms.__path__)
print("folder:", __import__("os").getcwd())
sys.argv[1:] = []
from apache_beam.runners.worker import sdk_worker_main
sdk_worker_main.main(sys.argv)
"""


def job_options(endpoint: str, worker: str) -> str:
    """The job's options as the runner's provisioning service gives them, in JSON."""
    with grpc.insecure_channel(endpoint) as channel:
        stub = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        info = stub.GetProvisionInfo(request, metadata=[("worker_id", worker)]).info
    return json_format.MessageToJson(info.pipeline_options)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("id", "logging_endpoint", "artifact_endpoint", "provision_endpoint"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--control_endpoint", required=True)
    given = parser.parse_args()
    os.environ |= {
        "WORKER_ID": given.id,
        "PIPELINE_OPTIONS": job_options(given.provision_endpoint, given.id),
        "CONTROL_API_SERVICE_DESCRIPTOR": f'url: "{given.control_endpoint}"',
    }
    log = Path(os.environ["WORKER_LOGS"]) / f"{os.getpid()}.log"
    with log.open("wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.execv(sys.executable, [sys.executable, "-S", "-u", "-c", HARNESS])


if __name__ == "__main__":
    main()
