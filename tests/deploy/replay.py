"""Reads a Dockerfile with BuildKit's own parser, and carries out its steps without a container.

The steps run in folders below one root, on this machine's Python: what the image has at /opt/x lies
at ROOT/opt/x. All stages share that root, as no two of them write the same place differently.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dockerfile

# Paths that the Dockerfile makes; the base images' own are left as they are.
OWN = re.compile(r"(?<![^:=])(?=/(?:opt|var|build)(?:/|$))")


@dataclass(frozen=True)
class Stage:
    """One FROM and what follows it. base: another stage or an image, arguments filled in."""

    name: str
    base: str
    steps: tuple[dockerfile.Command, ...]

    def of(self, kind: str) -> list[dockerfile.Command]:
        """Its instructions of one kind."""
        return [step for step in self.steps if step.cmd == kind]


def expand(text: str, values: Mapping[str, str]) -> str:
    """``${NAME}`` and ``$NAME`` replaced, by nothing where there is no such name."""
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda m: values.get(m[1] or m[2], ""), text)


def parse(path: Path, arguments: Mapping[str, str]) -> dict[str, Stage]:
    """The stages by name, in order; the last one is the image."""
    given: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    head: tuple[str, str] | None = None
    steps: list[dockerfile.Command] = []

    def close() -> None:
        if head is not None:
            stages[head[0]] = Stage(*head, tuple(steps))
        steps.clear()

    for command in dockerfile.parse_file(str(path)):
        if command.cmd == "FROM":
            close()
            base, *name = command.value
            head = (name[1] if name else str(len(stages)), expand(base, given))
        elif head is None:
            name, _, default = command.value[0].partition("=")
            given[name] = arguments.get(name, default)
        else:
            steps.append(command)
    close()
    return stages


def lineage(stages: Mapping[str, Stage], name: str) -> list[Stage]:
    """A stage and those it is made from, the first one first."""
    stage = stages[name]
    return [*(lineage(stages, stage.base) if stage.base in stages else []), stage]


def environment(stages: Mapping[str, Stage], name: str) -> dict[str, str]:
    """What ENV sets in an image, without what its base image sets."""
    values: dict[str, str] = {}
    for stage in lineage(stages, name):
        for step in stage.of("ENV"):
            values |= _pairs(step, values)
    return values


def _pairs(step: dockerfile.Command, values: Mapping[str, str]) -> dict[str, str]:
    # All of one instruction's values see the environment before it.
    pairs = zip(step.value[::2], step.value[1::2], strict=True)
    return {key: expand(value.strip('"'), values) for key, value in pairs}


def source_and_target(step: dockerfile.Command) -> tuple[str | None, list[str], str]:
    """Of a COPY: the stage that it copies from (None: the build context), sources, target."""
    origin = next((f.partition("=")[2] for f in step.flags if f.startswith("--from=")), None)
    *sources, target = step.value
    return origin, list(sources), target


def in_context(ignore: Path, path: str) -> bool:
    """Whether .dockerignore lets a path into the build context; its last matching line decides."""
    kept = True
    candidates = [path, *map(str, Path(path).parents)][:-1]
    for raw in ignore.read_text().splitlines():
        pattern = raw.split("#")[0].strip()
        if not pattern:
            continue
        exception = pattern.startswith("!")
        pattern = pattern.removeprefix("!").removeprefix("**/")
        if any(fnmatch.fnmatchcase(candidate, pattern) for candidate in candidates):
            kept = exception
    return kept


@dataclass
class Replay:
    """Carries out stages. context: the build context. python: folder of the base's `python`.

    outside: variables of this machine that the steps see, such as where packages come from.
    """

    stages: Mapping[str, Stage]
    context: Path
    root: Path
    python: Path
    arguments: Mapping[str, str]
    outside: Mapping[str, str] = field(default_factory=dict)
    done: dict[str, dict[str, str]] = field(default_factory=dict)

    def build(self, name: str) -> dict[str, str]:
        """Carry out a stage and all that it needs; returns its environment, of paths that exist."""
        if name in self.done:
            return self.done[name]
        stage = self.stages[name]
        inherited = {"PATH": f"{self.python}:/usr/bin:/bin"}
        values = dict(self.build(stage.base) if stage.base in self.stages else inherited)
        folder = self.root
        build_arguments: dict[str, str] = {}
        for step in stage.steps:
            match step.cmd:
                case "ARG":
                    key, _, default = step.value[0].partition("=")
                    build_arguments[key] = self.arguments.get(key, default)
                case "ENV":
                    values |= {k: self.rooted(v) for k, v in _pairs(step, values).items()}
                case "WORKDIR":
                    folder = Path(self.rooted(step.value[0]))
                    folder.mkdir(parents=True, exist_ok=True)
                case "COPY":
                    self._copy(step, folder)
                case "RUN":
                    self._run(step, folder, {**values, **build_arguments})
        self.done[name] = values
        return values

    def rooted(self, value: str) -> str:
        """The same with the image's own absolute paths below the root."""
        return OWN.sub(lambda _: str(self.root), value)

    def _copy(self, step: dockerfile.Command, folder: Path) -> None:
        origin, sources, target = source_and_target(step)
        to = Path(self.rooted(target)) if target.startswith("/") else folder / target
        if origin is not None:
            if self.stages[origin].base not in self.stages and not self.stages[origin].steps:
                return  # a base image's own file, which isn't here
            self.build(origin)
        for source in sources:
            path = Path(self.rooted(source)) if origin else self.context / source
            if path == to:
                continue
            if path.is_dir():
                # Of a folder, Docker copies what is in it.
                ignored = None if origin else self._ignored()
                shutil.copytree(path, to, symlinks=True, dirs_exist_ok=True, ignore=ignored)
            else:
                place = to if target.endswith("/") or to.is_dir() else to.parent
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, to)

    def _ignored(self) -> Callable[[str, list[str]], set[str]]:
        """What .dockerignore keeps out of every folder."""
        lines = (self.context / ".dockerignore").read_text().splitlines()
        anywhere = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
        return shutil.ignore_patterns(*anywhere)

    def _run(self, step: dockerfile.Command, folder: Path, values: Mapping[str, str]) -> None:
        (line,) = step.value
        # What is downloaded here serves the next replay.
        kept = {key: value for key, value in values.items() if key != "PIP_NO_CACHE_DIR"}
        run(["/bin/sh", "-c", line], folder, {**kept, **self.outside})


def run(command: Sequence[str | os.PathLike], folder: Path, values: Mapping[str, str]) -> str:
    """Run a command with these variables alone; returns what it printed. It must succeed."""
    done = subprocess.run(
        command, cwd=folder, env=dict(values), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout
