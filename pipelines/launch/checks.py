"""What can't run, found before anything is submitted; each problem says what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipelines.launch import names
from pipelines.launch.accelerators import ACCELERATORS, DRIVER, OPTION, Accelerator, parts
from pipelines.launch.launch import ONE_PROCESS, Launch
from pipelines.launch.paths import bad_paths
from pipelines.launch.profiles import PROFILES, RUNNER
from transforms.errors import UserError

# Options that build or stage on the launcher what the workers' image has.
STAGING = (
    "requirements_file",
    "setup_file",
    "extra_packages",
    "files_to_stage",
    "prebuild_sdk_container_engine",
)


def check(launch: Launch) -> None:
    """Raises UserError with everything that is wrong with a job, a line each."""
    found = [problem for look in CHECKS for problem in look(launch)]
    if len(found) == 1:
        raise UserError(found[0])
    if found:
        raise UserError("\n".join(["this job can't run:", *(f"  {each}" for each in found)]))


def missing(launch: Launch) -> Iterator[str]:
    beam = launch.beam
    wanted = {
        "project": "the project that owns the job",
        "region": "where it runs, such as us-central1",
        "temp_location": "a folder for what the job stages, such as gs://BUCKET/tmp",
    }
    for option, what in wanted.items():
        if not beam.get(option):
            yield f"--{option} is missing: {what}"
    stages = any(beam.get(option) for option in STAGING)
    # A profile names it after the project and its region.
    named = launch.profile is None or (beam.get("project") and beam.get("region"))
    if named and not launch.image and not stages:
        yield (
            "--sdk_container_image is missing: the image that workers run; deploy/README.md "
            "builds one for each --profile, which names it"
        )


def bad_names(launch: Launch) -> Iterator[str]:
    rules: dict[str, Callable[[str], str | None]] = {
        "project": names.bad_project,
        "region": names.bad_region,
        "worker_zone": names.bad_zone,
        "job_name": names.bad_job_name,
        "temp_location": names.bad_folder,
        "staging_location": names.bad_folder,
        "sdk_container_image": names.bad_image,
    }
    for option, rule in rules.items():
        value = launch.beam.get(option)
        if value and (why := rule(value)):
            yield f"--{option}={value}: {why}"


def place(launch: Launch) -> Iterator[str]:
    chips = launch.accelerator
    if launch.zone and launch.beam.get("worker_region"):
        yield "--worker_region: --worker_zone says more; leave it out"
    if chips is None or not chips.scarce:
        return
    # A flex template's job gets its zone from the request that launches it.
    if not launch.zone and not launch.beam.get("template_location"):
        yield (
            f"--worker_zone is missing: {chips.chip.name} is had in certain zones alone; name the "
            "one where you have quota or a reservation, such as us-central1-a"
        )
    services = launch.beam.listed("dataflow_service_options")
    if launch.machine and launch.machine.startswith("a3-") and not any(map(_obtains, services)):
        yield (
            f"{launch.machine} isn't had on demand: reserve it and add "
            "--dataflow_service_options=automatically_use_created_reservation, or add the service "
            "option of the provisioning model that it is to be had by"
        )


def _obtains(service: str) -> bool:
    return "reservation" in service or "provisioning" in service


def accelerators(launch: Launch) -> Iterator[str]:
    option = launch.accelerator_option
    if option is None:
        if launch.machine and (carried := _carried_by(launch.machine)):
            yield f"--machine_type={launch.machine}: carries {carried[0]}; {_written(carried[0])}"
        return
    said = parts(option)
    chips = launch.accelerator
    if chips is None:
        known = ", ".join(str(each) for each in ACCELERATORS)
        yield f"--dataflow_service_options={option}: not one of {known}"
        return
    if vars(launch.options).get("dtype") == "int8":
        yield f"--dtype int8: is for CPUs, and {chips} takes bfloat16; leave it out"
    if not chips.is_tpu and DRIVER not in said:
        yield f"--dataflow_service_options={option}: add ;{DRIVER}:5xx, workers have none"
    if launch.machine is None:
        yield f"--machine_type is missing: {chips} goes with {chips.machines[0]}"
    elif launch.machine not in chips.machines:
        others = _carried_by(launch.machine)
        instead = f", or for that machine {_written(others[0])}" if others else ""
        yield (
            f"--machine_type={launch.machine}: {chips} goes with "
            f"{' or '.join(chips.machines)}; write that{instead}"
        )


def _carried_by(machine: str) -> list[Accelerator]:
    return [each for each in ACCELERATORS if machine in each.machines]


def _written(chips: Accelerator) -> str:
    """How to ask for an accelerator: by its profile, or else by its option."""
    for profile in PROFILES.values():
        if profile.accelerator == chips:
            return f"--profile {profile.name}"
    return f"--dataflow_service_options='{chips.option}'"


def spread(launch: Launch) -> Iterator[str]:
    chips, options = launch.accelerator, vars(launch.options)
    wanted, rows = options.get("tensor_parallel"), options.get("batch_size")
    if chips is None or not wanted:
        return
    if chips.chips % wanted:
        divisors = [str(n) for n in range(1, chips.chips + 1) if chips.chips % n == 0]
        yield (
            f"--tensor-parallel {wanted}: a worker's chips are {chips.chips} ({chips}); "
            f"write {' or '.join(divisors)}"
        )
    elif rows and rows % (copies := chips.chips // wanted):
        yield (
            f"--batch-size {rows}: {copies} copies of the model share it; write a multiple of "
            f"{copies}, or auto"
        )


def modes(launch: Launch) -> Iterator[str]:
    beam = launch.beam
    experiments = beam.listed("experiments")
    services = beam.listed("dataflow_service_options")
    several = ONE_PROCESS.removeprefix("no_")
    if several in experiments and (launch.accelerator_option or ONE_PROCESS in experiments):
        yield (
            f"--experiments={several}: an accelerator belongs to one process; "
            f"write --experiments={ONE_PROCESS}"
        )
    if launch.accelerator_option is None:
        return
    if "enable_prime" in [*experiments, *services]:
        yield f"enable_prime: Prime chooses machines itself; leave it out, or {OPTION[:-1]}"
    if beam.get("resource_hints"):
        yield (
            "--resource_hint: leave it out; all workers have the accelerator, and a step with "
            "hints of its own would part the model from the pictures"
        )


def staging(launch: Launch) -> Iterator[str]:
    if launch.profile is None:
        return
    for option in STAGING:
        if launch.beam.get(option):
            yield (
                f"--{option}: the image has all that workers run; build it in (deploy/README.md) "
                f"and leave this out, or leave out --profile and say --runner {RUNNER}"
            )


def submission(launch: Launch) -> Iterator[str]:
    if launch.beam.get("dry_run"):
        yield "--dry_run: Beam's own; write --dry-run"
    for option in ("update", "streaming"):
        if launch.beam.get(option):
            yield f"--{option}: this is a batch job; leave it out"


CHECKS: tuple[Callable[[Launch], Iterator[str]], ...] = (
    missing,
    bad_names,
    place,
    accelerators,
    spread,
    modes,
    staging,
    submission,
    bad_paths,
)
