"""What `--dry-run` says of jobs on Dataflow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipelines.launch.beam_options import beam_options
from pipelines.launch.description import LARGEST_GRAPH, JobDescription, describe
from pipelines.launch.fitting import check_fits, room_of, weights
from pipelines.launch.launch import ONE_PROCESS, Launch
from pipelines.plan import Foreseen
from pipelines.remote import of_stage
from transforms.errors import UserError
from transforms.plan_file import PLANS, PlanFile, path_in

if TYPE_CHECKING:
    from pipelines.running import Build

# Of the file that lists the units; it is named after them when they are known.
UNITS = "UNITS"


@dataclass(frozen=True)
class Preview:
    """A job that would be submitted. foreseen: what of it this machine can tell."""

    launch: Launch
    foreseen: Foreseen
    job: JobDescription

    def lines(self) -> Iterator[str]:
        """For people."""
        launch, job = self.launch, self.job
        environment = job.job.environment
        if launch.profile:
            yield f"profile {launch.profile.name}: {launch.profile.purpose}"
        yield (
            f"job     {job.job.name}, project {launch.beam.get('project')}, "
            f"{launch.zone or launch.beam.get('region')}"
        )
        yield f"workers {', '.join(_workers(launch, job))}"
        yield f"image   {job.pool.worker_harness_container_image}"
        yield from self.foreseen.about
        yield from _memory(launch, self.foreseen)
        yield f"input   {' '.join(launch.options.input)}: listed when it is submitted"
        yield f"output  {launch.options.output}; the units' list goes to its {PLANS}/"
        yield f"experiments     {', '.join(environment.experiments)}"
        yield f"service options {', '.join(environment.service_options) or 'none'}"
        if launch.filled:
            yield "filled in, and overridden by the same option on the command line:"
            yield from (f"  {word}" for word in launch.filled)
        yield f"steps, in a graph of {job.graph_bytes:,} bytes:"
        yield from (f"  {step}" for step in job.top_steps)


def show(previews: Iterable[Preview], style: str) -> None:
    """Print jobs in the order in which they would be submitted. style: text or json."""
    if style == "json":
        print(json.dumps([each.job.plain() for each in previews], indent=1))
        return
    for each in previews:
        print("\n".join(each.lines()), end="\n\n")
    print("Nothing was submitted, and nothing asked of the network.")


def previews(launch: Launch, foreseen: Foreseen, stages: Mapping[str, Build]) -> list[Preview]:
    """A command's jobs. stages: what builds them, by what their names end in.

    Raises UserError for what doesn't fit the workers, and what Beam or Dataflow refuse.
    """
    check_fits(foreseen.job, launch)
    staged = []
    for stage, build in stages.items():
        words = of_stage(launch.beam.words, stage)
        of = replace(launch, beam=beam_options(launch.command, words))
        staged.append(Preview(of, foreseen, _described(of, foreseen, build)))
    return staged


def _described(launch: Launch, foreseen: Foreseen, build: Build) -> JobDescription:
    units = PlanFile(path_in(foreseen.job.ledger.output, UNITS))
    try:
        job = describe(launch, lambda pipeline: build(pipeline, units, None))
    except ValueError as error:
        raise UserError(str(error)) from error
    if job.graph_bytes > LARGEST_GRAPH:
        raise UserError(
            f"the job's graph has {job.graph_bytes:,} bytes, and Dataflow takes {LARGEST_GRAPH:,}: "
            "shorten what --task and --filters name"
        )
    return job


def _workers(launch: Launch, job: JobDescription) -> Iterator[str]:
    pool = job.pool
    chips = launch.accelerator
    most = pool.autoscaling_settings.max_num_workers
    yield f"{pool.machine_type}, {f'at most {most}' if most else 'as many as Dataflow chooses'}"
    if chips:
        many = f"{chips.chips} of " if chips.chips > 1 else ""
        yield f"{chips} ({many}{chips.chip.name}, {chips.chip.memory * chips.chips} GiB)"
    yield f"disk {pool.disk_size_gb} GB" if pool.disk_size_gb else "Dataflow's disk"
    alone = ONE_PROCESS in job.job.environment.experiments
    threads = pool.num_threads_per_worker
    many = (
        "Dataflow's number of threads" if not threads else f"{threads} thread{'s'[: threads > 1]}"
    )
    yield f"{many} in {'one process' if alone else 'a process for each core'}"


def _memory(launch: Launch, foreseen: Foreseen) -> Iterator[str]:
    needed, room = weights(foreseen.job), room_of(launch)
    if needed and room:
        yield f"memory  {needed:.1f} GiB of weights, of {room.for_weights:.1f} GiB"
