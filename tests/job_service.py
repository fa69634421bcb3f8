"""Beam's portable job service in Python, in two things more like a service that is for use.

Its jobs get as many workers as they ask for: Beam's own takes ``--direct_num_workers`` only where a
pipeline is run without a service. And a worker that is gone fails its bundle, and with it the job:
Beam's own would wait for it for ever, as it watches no processes but Docker's.
"""

import contextlib
import sys
import time
from pathlib import Path

from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.runners.portability.local_job_service import BeamJob, LocalJobServicer
from apache_beam.runners.runner import PipelineResult

GONE = "a worker process is gone"


class Connection(worker_handlers.ControlConnection):
    """To a worker; once it is broken, all that was and is asked of the worker has failed."""

    _broken = False

    def _read(self) -> None:
        with contextlib.suppress(Exception):  # that it is broken
            super()._read()
        self._broken = True
        for future in list(self._futures_by_id.values()):
            future.set(failure(future.instruction_id))

    def push(self, request):
        future = super().push(request)
        if self._broken and isinstance(request, beam_fn_api_pb2.InstructionRequest):
            future.set(failure(request.instruction_id))
        return future


def failure(instruction: str) -> beam_fn_api_pb2.InstructionResponse:
    return beam_fn_api_pb2.InstructionResponse(instruction_id=instruction, error=GONE)


class Job(BeamJob):
    def _invoke_runner(self) -> PipelineResult:
        options = self.pipeline_options()
        runner = FnApiRunner(provision_info=self._provision_info)
        # What came through the service's JSON is text.
        runner._num_workers = int(options.view_as(DirectOptions).direct_num_workers)
        return runner.run_via_runner_api(self._pipeline_proto, options)


def main(port_file: Path) -> None:
    worker_handlers.ControlConnection = Connection
    service = LocalJobServicer(beam_job_type=Job)
    port = service.start_grpc_server()
    whole = port_file.with_suffix(".tmp")
    whole.write_text(str(port))
    whole.rename(port_file)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
