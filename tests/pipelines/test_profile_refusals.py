"""What can't run on Dataflow is refused before it is submitted, with what to write instead."""

import pytest
from offline import offline  # noqa: F401 (a fixture)
from runs import here

from pipelines.launch import names

GOOD = {
    "--input": "gs://my-corpus/*.tar",
    "--output": "gs://my-results/x",
    "--project": "my-project",
    "--region": "us-central1",
    "--temp_location": "gs://my-staging/tmp",
    "--worker_zone": "us-central1-a",
    "--profile": "dataflow-tpu-v5e",
    "--filters": "off",
}


@pytest.fixture
def refused(offline, capsys):  # noqa: F811
    """What a command line is refused with; options given as None are left out."""

    def say(*more, command="annotate", **options):
        named = {f"--{name}": value for name, value in options.items()}
        pairs = {**GOOD, **named}.items()
        line = [word for name, value in pairs if value is not None for word in (name, value)]
        assert here(command, *line, *more) == 2
        return capsys.readouterr().err

    return say


def test_all_that_is_missing_is_said_at_once(refused):
    said = refused(project=None, region=None, temp_location=None, worker_zone=None)
    for option in ("--project", "--region", "--temp_location", "--worker_zone"):
        assert f"{option} is missing" in said


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"region": "us-central1-a"}, "write --region=us-central1 --worker_zone=us-central1-a"),
        ({"worker_zone": "us-central1"}, "such as us-central1-a"),
        ({"project": "123456789"}, "that is a project's number; give its id"),
        ({"temp_location": "gs://my-staging"}, "such as gs://my-staging/tmp"),
        ({"temp_location": "/tmp/x"}, "not on Cloud Storage"),
        ({"output": "gs://My_Results/x"}, "gs://my_results/x could"),
        ({"input": "gs://my-*/a.tar"}, "wildcards may stand after the bucket"),
        ({"job_name": "My Job"}, "a job's name has lowercase letters"),
        ({"sdk_container_image": "apache/beam_python3.11_sdk:2.77.0"}, "deploy/README.md"),
        ({"sdk_container_image": "eu.gcr.io/p/own"}, "neither tag nor digest"),
        ({"setup_file": "./setup.py"}, "the image has all that workers run"),
        ({"dry_run": "True"}, "write --dry-run"),
        ({"experiments": "use_multiple_sdk_containers"}, "no_use_multiple_sdk_containers"),
        ({"dataflow_service_options": "enable_prime"}, "leave it out"),
        ({"resource_hint": "min_ram=64GB"}, "leave it out"),
    ],
)
def test_a_name_or_mode_that_cant_be_is_refused(refused, options, told):
    assert told in refused(**options)


V5E = "worker_accelerator=type:tpu-v5-lite-podslice;topology"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"machine_type": "ct5lp-hightpu-4t"}, "--profile dataflow-tpu-v5e-2x2"),
        ({"machine_type": "n1-standard-4"}, "goes with ct5lp-hightpu-1t"),
        ({"dataflow_service_options": f"{V5E}:2x2"}, "goes with ct5lp-hightpu-4t"),
        ({"dataflow_service_options": f"{V5E}:4x4"}, "not one of tpu-v5-lite-podslice 1x1"),
        ({"profile": "dataflow-cpu", "machine_type": "g2-standard-8"}, "--profile dataflow-gpu-l4"),
        (
            {
                "profile": "dataflow-gpu-l4",
                "dataflow_service_options": "worker_accelerator=type:nvidia-l4;count:1",
            },
            "add ;install-nvidia-driver:5xx",
        ),
        (
            {
                "profile": "dataflow-tpu-v6e",
                "machine_type": "ct6e-standard-4t",
                "dataflow_service_options": "worker_accelerator=type:tpu-v6e-slice;topology:2x2",
            },
            "--sdk_container_image is missing",
        ),
        ({"profile": "dataflow-gpu-h100"}, "automatically_use_created_reservation"),
        ({"dtype": "int8"}, "--dtype int8: is for CPUs"),
    ],
)
def test_an_accelerator_on_the_wrong_machine_is_refused(refused, options, told):
    assert told in refused(**options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tensor-parallel": "2"}, "chips are 1"),
        ({"profile": "dataflow-tpu-v5e-2x2", "tensor-parallel": "3"}, "write 1 or 2 or 4"),
        (
            {
                "profile": "dataflow-tpu-v5e-2x2",
                "tensor-parallel": "1",
                "checkpoint": "gs://my-models/paligemma2-10b-pt-224",
            },
            "TPU v5e has room for 13.6",
        ),
        (
            {"profile": "dataflow-tpu-v5e-2x2", "tensor-parallel": "1", "batch-size": "6"},
            "write a multiple of 4, or auto",
        ),
    ],
)
def test_a_model_is_spread_over_chips_that_a_worker_has(refused, options, told):
    assert told in refused(**options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"input": "shards/*.tar"}, "--input shards/*.tar: a path of this machine"),
        ({"output": "out"}, "--output out: a path of this machine"),
        ({"checkpoint": "/models/pg.npz"}, "add --in-image /models/pg.npz"),
        ({"checkpoint": "gs://my-models/x", "tokenizer": "t.model"}, "--in-image t.model"),
    ],
)
def test_a_path_that_workers_dont_see_is_refused(refused, options, told):
    assert told in refused(**options)


def test_a_list_that_filters_read_has_to_be_in_the_image(refused, tmp_path):
    blocked = tmp_path / "blocked.txt"
    blocked.write_text("")
    filters = tmp_path / "filters.yaml"
    filters.write_text(f"filters: {{blocklist: {{path: {blocked}}}}}")
    assert f"--in-image {blocked}" in refused(filters=filters)
    line = [str(word) for pair in {**GOOD, "--filters": filters}.items() for word in pair]
    assert here("annotate", *line, "--in-image", tmp_path, "--dry-run") == 0


@pytest.mark.parametrize(
    ("checkpoint", "more", "told"),
    [
        ("paligemma2-10b-pt-224.npz", {}, "--profile dataflow-tpu-v5e-2x2"),
        ("paligemma2-28b-mix-448", {"profile": "dataflow-tpu-v6e"}, "--profile dataflow-gpu-h100"),
        ("paligemma-3b-pt-224.npz", {"dtype": "float32"}, None),
        ("paligemma-3b-pt-224.npz", {"profile": "dataflow-cpu"}, None),
        ("paligemma2-28b-pt-224", {"profile": "dataflow-cpu"}, "n2-standard-8 has room for 21"),
        ("paligemma2-10b-pt-224", {"profile": "dataflow-tpu-v6e", "dtype": "float32"}, "--dtype b"),
    ],
)
def test_a_checkpoint_that_wont_fit_the_chip_is_refused(refused, capsys, checkpoint, more, told):
    options = {"checkpoint": f"gs://my-models/{checkpoint}", **more}
    if told is None:
        named = {**GOOD, **{f"--{name}": value for name, value in options.items()}}
        line = [word for pair in named.items() for word in pair]
        assert here("annotate", *line, "--dry-run") == 0
        assert "GiB of weights" in capsys.readouterr().out
    else:
        said = refused(**options)
        assert told in said
        assert "GiB" in said


def test_a_checkpoint_of_any_name_is_looked_at_when_it_is_read(offline, capsys):  # noqa: F811
    named = {**GOOD, "--checkpoint": "gs://my-models/ours.npz"}
    line = [word for pair in named.items() for word in pair]
    assert here("annotate", *line, "--dry-run") == 0
    assert "its name tells no size" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["annotate", "screen"])
def test_without_credentials_nothing_is_begun(refused, command, monkeypatch, tmp_path):
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # Google's own, for machines without metadata
    assert "gcloud auth application-default login" in refused(command=command)


def test_a_profile_is_of_one_runner(refused):
    assert "leave out --runner DirectRunner" in refused(runner="DirectRunner")
    assert "did you mean dataflow-tpu-v5e?" in refused(profile="dataflow-tpu-v5")


def test_a_runner_is_known_however_it_is_spelt(refused):
    assert "--project is missing" in refused(runner="dataflowrunner", project=None)


def test_beams_options_are_read_strictly(refused):
    assert "invalid int value: 'many'" in refused(num_workers="many")
    assert "did you mean --num_workers?" in refused(num_workerz="4")


def test_without_a_profile_what_dataflow_needs_is_asked_for_all_the_same(refused):
    said = refused(profile=None, runner="DataflowRunner", worker_zone=None, project=None)
    assert "--project is missing" in said
    assert "--sdk_container_image is missing" in said


@pytest.mark.parametrize(
    "bucket",
    [
        "ab",
        "a" * 64,
        "-ab",
        "ab-",
        "a..b",
        "Abc",
        "a b",
        "goog-x",
        "my-google-x",
        "10.0.0.1",
        "é-x",
    ],
)
def test_a_bucket_that_cant_exist_is_told(bucket):
    assert names.bad_uri(f"gs://{bucket}/x")


@pytest.mark.parametrize("bucket", ["abc", "a_b-c.d", "0-0", "a" * 63, "my.example.org"])
def test_a_bucket_that_can_exist_is_let_through(bucket):
    assert names.bad_uri(f"gs://{bucket}/**/*.tar") is None
