"""What the Dockerfile says, held against the lock files, the build context and the profiles."""

import importlib.metadata
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from replay import OWN, environment, in_context, lineage, parse, source_and_target

from pipelines.launch.profiles import PROFILES

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = REPOSITORY / "deploy" / "Dockerfile"
TEXT = DOCKERFILE.read_text()
TOOLS = Path(sys.executable).parent
DIGEST = f"sha256:{'0' * 64}"
PINS = {"BEAM_DIGEST": DIGEST, "LAUNCHER_DIGEST": DIGEST}
ACCELERATORS = sorted({profile.image for profile in PROFILES.values()})


def stages(accelerator="cpu"):
    return parse(DOCKERFILE, {"ACCELERATOR": accelerator, **PINS})


def base_images():
    found = stages()
    return [stage.base for stage in found.values() if stage.base not in found]


def locked(name, package):
    text = (REPOSITORY / "requirements" / f"{name}.txt").read_text()
    return re.search(rf"^{re.escape(package)}==(\S+)", text, re.MULTILINE)[1]


def test_hadolint_has_nothing_to_say():
    done = subprocess.run([TOOLS / "hadolint", DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_base_image_is_pinned_by_a_digest_that_has_no_default():
    assert len(base_images()) == 2
    assert all(base.endswith(f"@{DIGEST}") for base in base_images())
    assert "latest" not in TEXT
    for argument in PINS:
        assert re.search(rf"^ARG {argument}$", TEXT, re.MULTILINE)


def test_the_base_image_has_the_locked_beam_and_the_locks_python():
    (beam,) = (base for base in base_images() if base.startswith("apache/beam"))
    python, version = re.match(r"apache/beam_python([\d.]+)_sdk:([\d.]+)@", beam).groups()
    assert version == locked("base", "apache-beam")
    assert f"--python-version {python}" in (REPOSITORY / "Makefile").read_text()
    assert f'base.name="docker.io/{beam.partition("@")[0]}"' in TEXT


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_every_profile_has_an_image_whose_environment_is_made_for_it(accelerator):
    found = stages(accelerator)
    assert accelerator in found
    names = [stage.name for stage in lineage(found, "image")]
    assert names[:2] == ["beam", "worker"]
    assert names[-2:] == [accelerator, "image"]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_an_image_says_of_the_chips_what_the_profile_asks_for(profile):
    variables = environment(stages(profile.image), "image")
    if profile.accelerator is None:
        assert variables["JAX_PLATFORMS"] == "cpu"
    elif not profile.accelerator.is_tpu:
        # With "cuda,cpu" JAX goes on without a GPU, saying so in a log alone.
        assert variables["JAX_PLATFORMS"] == "cuda"
    else:
        assert variables["JAX_PLATFORMS"] == "tpu,cpu"
        assert variables["TPU_SKIP_MDS_QUERY"] == "1"
        kind, _, chips = variables["TPU_ACCELERATOR_TYPE"].rpartition("-")
        bounds = variables["TPU_CHIPS_PER_HOST_BOUNDS"].split(",")
        assert int(chips) == math.prod(map(int, bounds)) == profile.accelerator.chips
        assert bounds[:2] == profile.accelerator.shape.split("x")
        assert (
            kind
            == {"tpu-v5-lite-podslice": "v5litepod", "tpu-v6e-slice": "v6e"}[
                profile.accelerator.type
            ]
        )


def test_all_that_is_copied_exists_and_is_let_into_the_build_context():
    copied = [
        source
        for stage in stages().values()
        for step in stage.of("COPY")
        for origin, sources, _ in [source_and_target(step)]
        if origin is None
        for source in sources
    ]
    assert all((REPOSITORY / source).exists() for source in copied)
    ignore = REPOSITORY / ".dockerignore"
    assert all(in_context(ignore, source) for source in copied)
    assert not any(in_context(ignore, other) for other in (".git", ".venv", "tests", "a.so"))
    tops = re.findall(r'"(\w+)\*"', (REPOSITORY / "setup.py").read_text())
    assert tops
    assert set(tops) <= set(copied)


def test_installs_are_of_locked_files_by_hash_and_of_nothing_else():
    installs = [
        step.value[0]
        for stage in stages().values()
        for step in stage.of("RUN")
        if "install " in step.value[0] and "pip" in step.value[0]
    ]
    assert len(installs) == 4
    for line in installs:
        assert "--no-deps" in line
        assert "--require-hashes" in line or "--no-index" in line


def test_steps_name_no_paths_that_the_replay_would_miss():
    lines = [step.value[0] for stage in stages().values() for step in stage.of("RUN")]
    assert lines
    assert not any(OWN.search(line) for line in lines)


def test_no_secret_is_an_argument_or_a_variable():
    names = re.findall(r"^(?:ARG|ENV) (\w+)", TEXT, re.MULTILINE)
    assert not [name for name in names if re.search("TOKEN|SECRET|PASSWORD|KEY|CREDENTIAL", name)]


def test_the_accelerators_locks_go_with_the_locked_jax():
    jax = locked("base", "jax")
    assert locked("gpu", "jax-cuda12-plugin") == locked("gpu", "jax-cuda12-pjrt") == jax
    assert importlib.metadata.version("jax") == jax
    wanted = (Requirement(text) for text in importlib.metadata.requires("jax"))
    (libtpu,) = (r for r in wanted if r.name == "libtpu" and r.marker.evaluate({"extra": "tpu"}))
    assert locked("tpu", "libtpu") in libtpu.specifier


def test_the_entry_point_is_beams_and_the_templates_entry_is_in_the_image():
    found = stages()
    (entry,) = found["image"].of("ENTRYPOINT")
    assert entry.value == ("/opt/apache/beam/boot",)
    file = Path(environment(found, "image")["FLEX_TEMPLATE_PYTHON_PY_FILE"])
    copied = [source_and_target(step) for step in found["image"].of("COPY")]
    assert (None, [f"deploy/{file.name}"], f"{file.parent}/") in copied
