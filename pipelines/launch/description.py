"""The description of a Dataflow job as it would be sent, made without asking anyone.

Beam's own runner makes it (`dry_run` ends before the service is called), so that it says what would
be submitted and not what this project believes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, TestOptions
from apache_beam.portability.api import beam_runner_api_pb2

from pipelines.launch.launch import Launch
from pipelines.launch.profiles import RUNNER
from pipelines.remote import beam_flags

# Dataflow refuses a graph of 10 MB, and a request of 20 MB.
LARGEST_GRAPH = 10_000_000


@dataclass(frozen=True)
class JobDescription:
    """job: Dataflow's message of that name, with its environment. graph: Beam's own."""

    job: Any
    graph: beam_runner_api_pb2.Pipeline

    @property
    def pool(self) -> Any:
        """The worker pool; a batch job has one."""
        (pool,) = self.job.environment.worker_pools
        return pool

    @property
    def steps(self) -> list[str]:
        """Every step's full name."""
        components = self.graph.components
        names = (components.transforms[id].unique_name for id in self._below_roots())
        return list(names)

    @property
    def top_steps(self) -> list[str]:
        """The steps that the pipeline is written in."""
        return [step for step in self.steps if "/" not in step]

    @property
    def graph_bytes(self) -> int:
        return self.graph.ByteSize()

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        from google.protobuf import json_format

        return {
            "job": json.loads(json_format.MessageToJson(self.job._pb)),
            "steps": self.steps,
            "graph_bytes": self.graph_bytes,
            "environments": [_plain_environment(each) for each in self._environments()],
        }

    def _environments(self) -> Iterator[beam_runner_api_pb2.Environment]:
        """Those that a step runs in."""
        components = self.graph.components
        ids = {each.environment_id for each in components.transforms.values()}
        return (components.environments[id] for id in sorted(filter(None, ids)))

    def _below_roots(self) -> list[str]:
        """Ids of all steps in the order of the pipeline, its nameless root left out."""
        transforms = self.graph.components.transforms
        order: list[str] = []
        waiting = list(reversed(self.graph.root_transform_ids))
        while waiting:
            id = waiting.pop()
            order.append(id)
            waiting += reversed(transforms[id].subtransforms)
        return [id for id in order if id not in self.graph.root_transform_ids]


def describe(launch: Launch, build: Callable[[beam.Pipeline], Any]) -> JobDescription:
    """The job whose pipeline `build` makes. launch: checked, as Beam asks the network of names.

    Raises ValueError for options that Beam refuses.
    """
    # The service's classes take a second to import.
    from apache_beam.runners.dataflow.internal.apiclient import Environment

    options = PipelineOptions(beam_flags(RUNNER, launch.beam.words), dry_run=True)
    pipeline = beam.Pipeline(options=options)
    build(pipeline)
    result: Any = pipeline.run()
    job = result.job
    job.options.view_as(TestOptions).dry_run = False
    staging = job.options.view_as(GoogleCloudOptions).staging_location
    job.proto.environment = Environment(
        packages=_staged_names(job.proto_pipeline),
        options=job.options,
        environment_version="8",
        proto_pipeline_staged_url=f"{staging}/pipeline.pb",
        proto_pipeline=job.proto_pipeline,
    ).proto
    return JobDescription(job.proto, job.proto_pipeline)


def _plain_environment(environment: beam_runner_api_pb2.Environment) -> dict[str, Any]:
    docker = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
    hints = {name: value.decode() for name, value in environment.resource_hints.items()}
    return {"image": docker.container_image, "resource_hints": hints}


def _staged_names(graph: beam_runner_api_pb2.Pipeline) -> list[str]:
    """What is staged beside the graph: names of the files that the environments depend on."""
    payload = beam_runner_api_pb2.ArtifactStagingToRolePayload
    return [
        payload.FromString(file.role_payload).staged_name
        for environment in graph.components.environments.values()
        for file in environment.dependencies
    ]
