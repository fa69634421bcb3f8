"""A Dataflow job as it is going to be: what the user says, and what a profile fills in."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.cli import VERSION
from pipelines.launch.accelerators import ACCELERATORS, OPTION, Accelerator, parts
from pipelines.launch.beam_options import BeamOptions, beam_options
from pipelines.launch.profiles import GPU_IMAGE, PROFILES, Profile

ONE_PROCESS = "no_use_multiple_sdk_containers"
REGISTRY = "{region}-docker.pkg.dev/{project}/palipipe/palipipe-{variant}:{version}"


@dataclass(frozen=True)
class Launch:
    """A command's job on Dataflow.

    profile: None where all is said by Beam's options. filled: the words that the profile adds.
    beam: all of Beam's options, those words included. annotates: whether a model runs.
    """

    command: str
    options: argparse.Namespace
    profile: Profile | None
    filled: tuple[str, ...]
    beam: BeamOptions
    annotates: bool

    @property
    def accelerator_option(self) -> str | None:
        """``worker_accelerator=…`` as it will be."""
        return _accelerator_option(self.beam)

    @property
    def accelerator(self) -> Accelerator | None:
        """What a worker has; None for none, and for one that isn't known here."""
        return _accelerator(self.accelerator_option)

    @property
    def zone(self) -> str | None:
        return self.beam.get("worker_zone") or self.beam.get("zone")

    @property
    def image(self) -> str | None:
        return image_of(self.beam)

    @property
    def machine(self) -> str | None:
        return self.beam.get("machine_type")


def prepared(
    command: str, options: argparse.Namespace, words: Sequence[str], annotates: bool
) -> Launch:
    """The job of a command line. words: those of Beam's options."""
    given = beam_options(command, words)
    profile = PROFILES[options.profile] if options.profile else None
    filled: tuple[str, ...] = ()
    if profile is not None:
        filled = tuple(_filled(profile, given, annotates))
        if options.threads is None:
            options = argparse.Namespace(**{**vars(options), "threads": profile.decoding_threads})
    if given.get("job_name") is None:
        filled = (f"--job_name={_job_name(command, options.output)}", *filled)
    beam = beam_options(command, (*words, *filled))
    return Launch(command, options, profile, filled, beam, annotates)


def _filled(profile: Profile, given: BeamOptions, annotates: bool) -> Iterator[str]:
    """What the profile adds to what is given, as words of a command line."""
    values = {
        "machine_type": profile.machine,
        "disk_size_gb": profile.disk,
        "number_of_worker_harness_threads": profile.harness_threads,
        "sdk_location": "container",
    }
    for name, value in values.items():
        if given.get(name) is None:
            yield f"--{name}={value}"
    if given.get("save_main_session") is None:
        yield "--no_save_main_session"
    if image_of(given) is None and (image := _image(profile, given)):
        yield f"--sdk_container_image={image}"
    # A chip belongs to one process, and so does the memory that a model's weights fill.
    experiments = given.listed("experiments")
    if (profile.accelerator or annotates) and ONE_PROCESS.removeprefix("no_") not in experiments:
        yield f"--experiments={ONE_PROCESS}"
    if profile.accelerator and not _accelerator_option(given):
        yield f"--dataflow_service_options={profile.accelerator.option}"


def _accelerator_option(beam: BeamOptions) -> str | None:
    """Of several the last, as Dataflow has it."""
    given = [o for o in beam.listed("dataflow_service_options") if o.startswith(OPTION)]
    return given[-1] if given else None


def _accelerator(option: str | None) -> Accelerator | None:
    if option is None:
        return None
    said = parts(option)
    shape = said.get("topology", said.get("count"))
    found = (a for a in ACCELERATORS if (a.type, a.shape) == (said.get("type"), shape))
    return next(found, None)


def image_of(beam: BeamOptions) -> str | None:
    """The workers' image, by its option or by the one that it had before."""
    return beam.get("sdk_container_image") or beam.get("worker_harness_container_image")


def _image(profile: Profile, given: BeamOptions) -> str | None:
    """The image as deploy/build.sh builds and pushes it; None where it has none for the chips."""
    project, region = given.get("project"), given.get("region")
    variant = _variant(profile, _accelerator(_accelerator_option(given)))
    if not project or not region or not variant:
        return None
    return REGISTRY.format(
        region=region,
        project=project.replace(":", "/"),  # of a project that belongs to a domain
        variant=variant,
        version=VERSION,
    )


def _variant(profile: Profile, chips: Accelerator | None) -> str | None:
    """Which image is for the chips that are asked for in place of the profile's, if any are."""
    if chips is None or chips == profile.accelerator:
        return profile.image
    if not chips.is_tpu:
        return GPU_IMAGE
    # A TPU's image says how many chips its worker has.
    return next((p.image for p in PROFILES.values() if p.accelerator == chips), None)


def _job_name(command: str, output: str) -> str:
    """One name for an output folder: Dataflow refuses a second active job of the same name."""
    return f"palipipe-{command}-{hashlib.sha256(output.encode()).hexdigest()[:8]}"
