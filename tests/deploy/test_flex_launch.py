"""A template's launch from end to end, with Cloud Storage's protocol on loopback.

The launcher leaves a job's graph in a bucket and ends. Then the graph is run, as Dataflow would: by
processes that have nothing of the launcher's but what lies in buckets.
"""

import json
import logging
import socket
from pathlib import Path

import flex_launch
import pytest
from apache_beam.internal.gcp import auth
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import EmbeddedPythonEnvironment
from gcp_storage_emulator.server import create_server
from google.cloud import storage
from runs import here

from pipelines.main import main

SHARDS = sorted((Path(__file__).parents[2] / "examples" / "webdataset").glob("*.tar"))
OUTPUT = "gs://my-results/annotated"
JOB = "gs://my-staging/template_launches/job_object"

PARAMETERS = [
    "--command=annotate",
    "--input=gs://my-corpus/shards/*.tar",
    f"--output={OUTPUT}",
    "--filters=off",
    "--max_new_tokens=6",
    "--profile=dataflow-cpu",
    # What the template's launcher adds.
    "--runner=DataflowRunner",
    "--project=my-project",
    "--region=us-central1",
    "--job_name=nightly",
    "--sdk_container_image=us-central1-docker.pkg.dev/my-project/palipipe/palipipe-cpu:0.1.0",
    "--staging_location=gs://my-staging/staging",
    "--temp_location=gs://my-staging/tmp",
    f"--template_location={JOB}",
    '--labels={"goog-dataflow-provided-template-type": "flex"}',
]


@pytest.fixture
def buckets(monkeypatch):
    """Cloud Storage with a corpus of one shard, for this process and those that it starts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True)
    logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    # Anonymous at once: Beam would look for an account for twenty seconds.
    monkeypatch.setattr(auth._Credentials, "_credentials_init", True)
    monkeypatch.setattr(auth._Credentials, "_credentials", None)
    client = storage.Client.create_anonymous_client()
    client.project = "my-project"
    for name in ("my-corpus", "my-results", "my-staging"):
        client.create_bucket(name)
    add(client, SHARDS[0])
    yield client
    server.stop()


def add(client, shard):
    client.bucket("my-corpus").blob(f"shards/{shard.name}").upload_from_filename(shard)


def names(client, bucket, prefix):
    return [blob.name for blob in client.list_blobs(bucket, prefix=prefix)]


def launched(client):
    """The job that the launcher left, as Dataflow reads it; it is taken away."""
    blob = client.bucket("my-staging").blob(JOB.removeprefix("gs://my-staging/"))
    job = json.loads(blob.download_as_bytes())
    blob.delete()
    return job


def run_graph(client):
    """Run the newest graph, its steps in this process in place of the image's."""
    found = names(client, "my-staging", "staging/")
    newest = max(name for name in found if name.endswith("/pipeline.pb"))
    blob = client.bucket("my-staging").blob(newest)
    graph = beam_runner_api_pb2.Pipeline.FromString(blob.download_as_bytes())
    here = EmbeddedPythonEnvironment.default().to_runner_api(None)
    for environment in graph.components.environments.values():
        environment.CopyFrom(here)
    FnApiRunner().run_via_runner_api(graph, PipelineOptions([])).wait_until_finish()


def rows_committed(client):
    return sum(
        json.loads(client.bucket("my-results").blob(name).download_as_bytes())["rows"]
        for name in names(client, "my-results", "annotated/commits/")
    )


def pool(job):
    (workers,) = job["environment"]["workerPools"]
    return workers["machineType"]


def test_a_job_begins_when_its_launcher_has_ended_and_another_day_takes_up_what_is_new(
    buckets, capsys
):
    assert flex_launch.launch(PARAMETERS, main) == 0
    job = launched(buckets)
    assert job["name"] == "nightly"
    assert pool(job) == "n2-standard-8"
    assert names(buckets, "my-results", "annotated/lock/") == []
    assert rows_committed(buckets) == 0
    run_graph(buckets)
    first = rows_committed(buckets)
    assert first > 0

    add(buckets, SHARDS[1])
    assert flex_launch.launch(PARAMETERS, main) == 0
    launched(buckets)
    run_graph(buckets)
    assert rows_committed(buckets) > first

    assert here("verify", OUTPUT) == 0
    assert "all there, whole, and once" in capsys.readouterr().out


def test_where_nothing_is_new_a_small_job_does_nothing(buckets, capsys):
    assert flex_launch.launch(PARAMETERS, main) == 0
    launched(buckets)
    run_graph(buckets)
    before = rows_committed(buckets)
    assert flex_launch.launch(PARAMETERS, main) == 0
    assert "a job that does nothing" in capsys.readouterr().err
    job = launched(buckets)
    assert job["name"] == "nightly"
    assert pool(job) == "e2-standard-2"
    run_graph(buckets)
    assert rows_committed(buckets) == before


def test_a_launch_that_can_not_run_leaves_no_job(buckets, capsys):
    wrong = [p.replace("gs://my-corpus/", "/home/me/") for p in PARAMETERS]
    assert flex_launch.launch(wrong, main) == 2
    assert "copy it to a bucket" in capsys.readouterr().err
    assert names(buckets, "my-staging", "template_launches/") == []
