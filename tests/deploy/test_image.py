"""The image's environment, made by the Dockerfile's own steps, is that of a worker that works.

There is no container here: the steps run below a folder, on a Python of the image's version that
sees nothing of this project's environment.
"""

import os
import shlex
import sys
import tempfile
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment
from replay import Replay, parse, run
from runs import CACHE, commits, rows

from pipelines import annotate_options
from pipelines.annotate_plan import make_plan
from pipelines.running import committing

REPOSITORY = Path(__file__).parents[2]
# Of what lies outside the image's environment a worker sees this much.
SYSTEM = {"HOME": "/nonexistent", "LANG": "C.UTF-8"}
PACKAGES = {key: value for key, value in os.environ.items() if key.startswith("PIP_")} | {
    "PIP_CACHE_DIR": str(CACHE.parent / "pip")
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the image's Python is 3.11"),
]


@pytest.fixture(scope="module")
def replay():
    """The TPU image's stages, which hold the CPU image's; carried out when asked for."""
    with tempfile.TemporaryDirectory(prefix="image-") as root:
        arguments = {"ACCELERATOR": "tpu-v5e", "RUN_AS": f"{os.getuid()}:{os.getgid()}"}
        stages = parse(REPOSITORY / "deploy" / "Dockerfile", arguments)
        base = Path(sys.base_prefix) / "bin"
        yield Replay(stages, REPOSITORY, Path(root), base, arguments, PACKAGES)


@pytest.fixture(scope="module")
def image(replay):
    """The variables of a worker's container, on its CPU."""
    return {**replay.build("image"), **SYSTEM, "JAX_PLATFORMS": "cpu"}


@pytest.fixture
def elsewhere(tmp_path):
    """A working folder from which nothing of the repository is imported."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def test_the_command_runs_and_is_the_installed_one(image, elsewhere):
    assert "usage: palipipe COMMAND" in run(["palipipe", "--help"], elsewhere, image)
    where = "import pipelines, apache_beam; print(pipelines.__file__, apache_beam.__file__)"
    found = run(["python", "-c", where], elsewhere, image).split()
    assert all(Path(path).is_relative_to(image["VIRTUAL_ENV"]) for path in found)


def test_the_templates_entry_is_where_the_launcher_looks_and_starts(image, elsewhere):
    entry = image["FLEX_TEMPLATE_PYTHON_PY_FILE"]
    line = ["sh", "-c", f"python {shlex.quote(entry)} --command=none; test $? -eq 2"]
    run(line, elsewhere, image)
    assert "--max-new-tokens" in run(["palipipe", "annotate", "--help"], elsewhere, image)


def test_the_harness_that_boot_starts_connects_and_annotates(image, elsewhere, tmp_path):
    """As boot does it: this module, these variables; here a runner's gRPC services are on loopback.

    The pipeline's steps arrive as references, and so what they refer to is the image's.
    """
    output = tmp_path / "out"
    shards = REPOSITORY / "examples" / "webdataset" / "*.tar"
    line = f"--input {shards} --output {output} --filters off --max-new-tokens 6"
    options, _ = annotate_options.parse(line.split())
    plan = make_plan(options)
    variables = {**image, "SEMI_PERSISTENT_DIRECTORY": str(elsewhere), "RUNNER_CAPABILITIES": ""}
    given = " ".join(f"{key}={shlex.quote(value)}" for key, value in variables.items())
    # The runner adds its own to the variables of this process, of which the worker sees no others.
    beams = " ".join(
        f'{name}="${name}"'
        for name in (
            "CONTROL_API_SERVICE_DESCRIPTOR",
            "LOGGING_API_SERVICE_DESCRIPTOR",
            "PIPELINE_OPTIONS",
            "WORKER_ID",
        )
    )
    harness = "python -m apache_beam.runners.worker.sdk_worker_main"
    pids = elsewhere / "pids"
    worker = SubprocessSDKEnvironment(
        f"cd {elsewhere} && echo $$ >> {pids} && exec env -i {given} {beams} {harness}"
    )
    runner = FnApiRunner(default_environment=worker)
    with beam.Pipeline(runner=runner, options=PipelineOptions([])) as pipeline:
        committing(plan.job)(pipeline, plan.pending, None)
    assert pids.read_text().strip() != str(os.getpid())
    assert len(commits(output)) == len(plan.pending) > 0
    found = rows(output)
    assert len(found) == 12
    assert {row["outcome"] for row in found} == {"kept"}
    assert all(row["annotations"] for row in found)


@pytest.mark.parametrize(
    ("accelerator", "topology"),
    [
        ("tpu-v5e", "v5e:1x1"),
        ("tpu-v5e-2x2", "v5e:2x2"),
        ("tpu-v5e-2x4", "v5e:2x4"),
        ("tpu-v6e", "v6e:1x1"),
    ],
)
def test_the_tpus_own_compiler_runs_with_what_the_image_says_of_the_chips(
    replay, image, elsewhere, accelerator, topology
):
    program = f"""
import os
import jax, jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
bounds = [int(side) for side in os.environ["TPU_CHIPS_PER_HOST_BOUNDS"].split(",")]
devices = topologies.get_topology_desc(
    platform="tpu", topology_name="{topology}", chips_per_host_bounds=bounds
).devices
where = NamedSharding(Mesh(devices, "x"), PartitionSpec())
shape = jax.ShapeDtypeStruct((128, 128), jnp.bfloat16)
jax.jit(jnp.matmul, in_shardings=(where, where)).lower(shape, shape).compile()
print(len(devices))
"""
    variables = {**replay.build(accelerator), **SYSTEM, "JAX_PLATFORMS": "cpu"}
    chips = int(variables["TPU_ACCELERATOR_TYPE"].rpartition("-")[2])
    assert int(run(["python", "-c", program], elsewhere, variables)) == chips


def test_a_worker_without_the_chip_of_its_image_fails_and_does_not_use_its_cores(
    replay, image, elsewhere
):
    """As on this machine, which has no TPU."""
    variables = {**replay.build("tpu-v5e"), **SYSTEM}
    line = "! python -c 'import jax; print(jax.devices())' 2> said && grep 'No jellyfish' said"
    run(["sh", "-c", line], elsewhere, variables)
