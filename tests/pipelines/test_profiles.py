"""Launch profiles: the Dataflow job that each makes, described by Beam itself without a network."""

import json
import os
from pathlib import Path

import pytest
from graphs import functions, graphs  # noqa: F401 (a fixture)
from offline import offline  # noqa: F401 (a fixture)
from runs import here

from pipelines.launch.profiles import PROFILES

PLACE = (
    *("--project", "my-project", "--region", "us-central1"),
    *("--temp_location", "gs://my-staging/tmp", "--worker_zone", "us-central1-a"),
)
RESERVED = "--dataflow_service_options=automatically_use_created_reservation"
V5E, V6E = "type:tpu-v5-lite-podslice;topology", "type:tpu-v6e-slice;topology"
DRIVER = "install-nvidia-driver:5xx"

# Machine, accelerator, disk in GB, threads, image.
POOLS = {
    "dataflow-tpu-v5e": ("ct5lp-hightpu-1t", f"{V5E}:1x1", 100, 4, "tpu-v5e"),
    "dataflow-tpu-v5e-2x2": ("ct5lp-hightpu-4t", f"{V5E}:2x2", 100, 4, "tpu-v5e-2x2"),
    "dataflow-tpu-v5e-2x4": ("ct5lp-hightpu-8t", f"{V5E}:2x4", 200, 4, "tpu-v5e-2x4"),
    "dataflow-tpu-v6e": ("ct6e-standard-1t", f"{V6E}:1x1", 100, 4, "tpu-v6e"),
    "dataflow-gpu-l4": ("g2-standard-8", f"type:nvidia-l4;count:1;{DRIVER}", 100, 4, "gpu"),
    "dataflow-gpu-h100": (
        *("a3-highgpu-1g", f"type:nvidia-h100-80gb;count:1;{DRIVER}", 200, 4, "gpu"),
    ),
    "dataflow-cpu": ("n2-standard-8", None, 50, 1, "cpu"),
}
CLOUD = """\
filters:
  personal_information: {backend: dlp, location: europe-west1, project: my-project}
  pornographic_images: {backend: safe_search, location: eu, project: my-project}
  unsafe_text: {backend: moderate_text, location: eu, project: my-project}
"""
SPREAD = (
    *("Start", "Units", "SpreadUnits", "SpreadUnits/AddRandomKeys", "SpreadUnits/ReshufflePerKey"),
    "SpreadUnits/ReshufflePerKey/Map(reify_metadata_default_window)",
    "SpreadUnits/ReshufflePerKey/GroupByKey",
    "SpreadUnits/ReshufflePerKey/FlatMap(restore_metadata_default_window)",
    "SpreadUnits/RemoveRandomKeys",
)
PREPARED = ("PreparedBatches", "PreparedBatches/ParDo(PrepareUnit)")
ANNOTATED = ("Annotations", "Annotations/BeamML_RunInference", "AnnotatedRows", "AllRows")
COMMITTED = ("RowsOfUnit", "CommittedUnits")
ANNOTATING = [*SPREAD, *PREPARED, *ANNOTATED, *COMMITTED]
SCREENING = [*SPREAD, *PREPARED, *COMMITTED]
EXPORTING = [*SPREAD, "ExportedUnits"]


def annotate(profile, *arguments, output="gs://my-results/annotated"):
    return here(
        *("annotate", "--input", "gs://my-corpus/shards/*.tar", "--output", output),
        *("--filters", "off", "--profile", profile, *PLACE, *arguments),
    )


def screen(*arguments):
    return here(
        *("screen", "--input", "gs://my-corpus/shards/*.tar", "--output", "gs://my-results/s"),
        *("--profile", "dataflow-cpu", *PLACE, *arguments),
    )


def described(capsys, code):
    """The jobs that a dry run printed."""
    shown = capsys.readouterr()
    assert code == 0, shown.err
    return json.loads(shown.out)


def test_every_profile_is_tried():
    assert set(POOLS) == set(PROFILES)


@pytest.mark.parametrize("profile", POOLS)
def test_a_profile_makes_the_job_that_dataflow_needs(profile, offline, capsys):  # noqa: F811
    (described_job,) = described(capsys, annotate(profile, "--dry-run=json", RESERVED))
    job = described_job["job"]
    environment = job["environment"]
    (pool,) = environment["workerPools"]
    machine, accelerator, disk, threads, variant = POOLS[profile]
    image = f"us-central1-docker.pkg.dev/my-project/palipipe/palipipe-{variant}:0.1.0"

    assert job["type"] == "JOB_TYPE_BATCH"
    assert (pool["machineType"], pool["diskSizeGb"]) == (machine, disk)
    assert pool["numThreadsPerWorker"] == threads
    assert pool["workerHarnessContainerImage"] == image
    assert environment["workerZone"] == "us-central1-a"
    option = [f"worker_accelerator={accelerator}"] if accelerator else []
    assert environment["serviceOptions"] == ["automatically_use_created_reservation", *option]
    assert environment["experiments"] == [
        *("no_use_multiple_sdk_containers", "beam_fn_api", "use_unified_worker"),
        *("use_runner_v2", "use_portable_job_submission"),
    ]
    options = environment["sdkPipelineOptions"]["options"]
    assert options["sdk_location"] == "container"
    assert options["save_main_session"] is False
    assert options["dry_run"] is False

    assert described_job["steps"] == ANNOTATING
    assert described_job["graph_bytes"] < 100_000
    # A step with hints of its own would have an environment of its own, apart from the fused stage.
    assert described_job["environments"] == [{"image": image, "resource_hints": {}}]
    assert [each["containerImage"] for each in pool["sdkHarnessContainerImages"]] == [image]


def test_screening_has_a_process_for_each_core_and_a_second_job_for_its_export(
    offline,  # noqa: F811
    capsys,
):
    first, second = described(capsys, screen("--dry-run=json", "--export", "webdataset"))
    assert (first["steps"], second["steps"]) == (SCREENING, EXPORTING)
    names = [each["job"]["name"] for each in (first, second)]
    assert names[1] == f"{names[0]}-export"
    experiments = first["job"]["environment"]["experiments"]
    assert "use_multiple_sdk_containers" in experiments
    assert "no_use_multiple_sdk_containers" not in experiments


def test_a_dry_run_says_what_would_be_submitted(offline, capsys):  # noqa: F811
    checkpoint = "gs://my-models/paligemma-3b-mix-224.npz"
    code = annotate("dataflow-tpu-v5e", "--checkpoint", checkpoint, "--dry-run")
    said = capsys.readouterr().out
    assert code == 0
    for line in (
        "ct5lp-hightpu-1t, as many as Dataflow chooses, tpu-v5-lite-podslice 1x1",
        "2,923,335,408 parameters by its name",
        "5.4 GiB of weights, of 13.6 GiB",
        "no_use_multiple_sdk_containers",
        "--machine_type=ct5lp-hightpu-1t",
        "  CommittedUnits\n",
        "Nothing was submitted",
    ):
        assert line in said, line


def test_beams_own_options_win_over_the_profile(offline, capsys):  # noqa: F811
    own = (
        *("--machine_type", "n2-highmem-16", "--disk_size_gb=80", "--job_name", "mine"),
        *("--number_of_worker_harness_threads=2", "--max_num_workers=7"),
        *("--sdk_container_image", "eu.gcr.io/p/own:3", "--experiments=shuffle_mode=service"),
    )
    (job,) = described(capsys, annotate("dataflow-cpu", "--dry-run=json", *own))
    environment = job["job"]["environment"]
    (pool,) = environment["workerPools"]
    assert job["job"]["name"] == "mine"
    assert (pool["machineType"], pool["diskSizeGb"]) == ("n2-highmem-16", 80)
    assert pool["numThreadsPerWorker"] == 2
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 7
    assert pool["workerHarnessContainerImage"] == "eu.gcr.io/p/own:3"
    assert environment["experiments"][:2] == [
        "shuffle_mode=service",
        "no_use_multiple_sdk_containers",
    ]


def test_another_shape_of_the_chip_is_taken_with_its_machine_and_image(offline, capsys):  # noqa: F811
    option = f"worker_accelerator={V5E}:2x2"
    own = ("--machine_type=ct5lp-hightpu-4t", f"--dataflow_service_options={option}")
    (job,) = described(capsys, annotate("dataflow-tpu-v5e", "--dry-run=json", *own))
    environment = job["job"]["environment"]
    assert environment["serviceOptions"] == [option]
    image = environment["workerPools"][0]["workerHarnessContainerImage"]
    assert image.endswith("/palipipe-tpu-v5e-2x2:0.1.0")


def test_a_job_name_belongs_to_its_output_folder(offline, capsys):  # noqa: F811
    def name(output):
        code = annotate("dataflow-cpu", "--dry-run=json", output=output)
        return described(capsys, code)[0]["job"]["name"]

    assert name("gs://my-results/a") == name("gs://my-results/a") != name("gs://my-results/b")


def test_nothing_of_the_launcher_is_in_the_graph(offline, graphs):  # noqa: F811
    assert annotate("dataflow-tpu-v5e", "--dry-run=json", "--filters", "default") == 0
    (graph,) = graphs
    own = {name: f for name, f in functions(graph).items() if "/" not in name or "Prepare" in name}
    assert len(own) > 3
    for function in own.values():
        assert os.getcwd().encode() not in function
        assert str(Path.home()).encode() not in function
        assert b"__main__" not in function


def test_filters_of_the_cloud_are_not_asked_for(offline, tmp_path, capsys):  # noqa: F811
    filters = tmp_path / "filters.yaml"
    filters.write_text(CLOUD)
    assert screen("--filters", filters, "--dry-run") == 0
    assert "personal_information, dlp" in capsys.readouterr().out


def test_the_profiles_are_listed(capsys):
    assert here("profiles") == 0
    listed = capsys.readouterr().out
    assert here("annotate", "--help") == 0
    helped = capsys.readouterr().out
    for profile in PROFILES.values():
        (line,) = (line for line in listed.splitlines() if line.startswith(f"{profile.name} "))
        assert profile.machine in line
        assert profile.purpose in line
        assert line in helped


def test_a_dry_run_here_is_as_before(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("image\nx.jpg\n")
    line = ("screen", "--input", tmp_path / "a.csv", "--output", tmp_path / "out", "--dry-run")
    assert here(*line) == 0
    assert "1 units to do" in capsys.readouterr().out
