"""The largest batch that fits, and what to say when the one asked for doesn't; no weight is read.

A batch is tried by compiling its programs, whose needs the compiler knows. Needs grow evenly with
the batch, so that a few tries find the largest.
"""

from __future__ import annotations

import posixpath
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import jax

from model.config import PaliGemmaConfig
from model.errors import ModelError
from model.memory import GIB, bytes_on_each, capacity, needed
from model.programs import EngineSpec, Programs, compile_programs
from model.sharding import Placement
from model.weights import Weights

STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Rows for a copy of the model that are tried. Each try is a compilation; finer gains little."""

ENOUGH = 256
ENOUGH_ON_CPU = 8
"""Rows for a copy from which on a device gains nothing. In the time in which it reads one weight,
a TPU v5e or an H100 multiplies with it 240 to 300 times; a CPU is past that at 8."""

SHARE_FOR_WEIGHTS = 0.75
"""Of a device's memory that weights fill before a copy is spread over more devices."""

OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
"""What a compiler that knows its chip's memory says of a program that can't fit."""


class DoesNotFit(ModelError):  # noqa: N818 (it reads as what happened)
    """A batch, or a model, that the devices' memory can't hold. The message says what can."""


@dataclass(frozen=True)
class Fitted:
    """What fits. spec: with numbers for its batch and its devices."""

    spec: EngineSpec
    placement: Placement
    programs: Programs


def fitted(spec: EngineSpec, config: PaliGemmaConfig, devices: Sequence[jax.Device]) -> Fitted:
    """Where a model goes and what is compiled for it.

    Raises DoesNotFit, and ModelError where the devices can't share the batch evenly.
    """
    room = capacity(devices[0])
    trial = Trial(spec, config, placed(spec, config, devices, room), room)
    asked = spec.batch_size or trial.enough
    programs, need = trial.of(asked)
    if programs is not None:
        return trial.fitted(asked, programs)
    largest = trial.largest(below=asked)
    if spec.batch_size is None and largest is not None:
        return largest
    raise DoesNotFit(_explanation(trial, asked, need, largest, devices))


def placed(
    spec: EngineSpec, config: PaliGemmaConfig, devices: Sequence[jax.Device], room: int | None
) -> Placement:
    """As the spec says; otherwise each copy on as few devices as leave room beside the weights."""
    if spec.tensor_parallel is not None or room is None:
        return Placement.over(devices, spec.tensor_parallel or 1)
    for number in _divisors(len(devices)):
        placement = Placement.over(devices, number)
        if Trial(spec, config, placement, room).weights <= SHARE_FOR_WEIGHTS * room:
            return placement
    return Placement.over(devices, len(devices))


@dataclass(frozen=True)
class Trial:
    """A model on some devices, for which batches are tried. room: bytes of each, if known."""

    spec: EngineSpec
    config: PaliGemmaConfig
    placement: Placement
    room: int | None

    @property
    def enough(self) -> int:
        """Rows that are worth trying for."""
        on_cpu = self.placement.device.platform == "cpu"
        return (ENOUGH_ON_CPU if on_cpu else ENOUGH) * self.placement.copies

    @property
    def weights(self) -> int:
        """Bytes on each device."""
        return bytes_on_each(self._shapes)

    def of(self, rows: int) -> tuple[Programs | None, int | None]:
        """The programs for a batch and the bytes they need on each device.

        No programs where that is more than there is; no bytes where the compiler wouldn't say.
        """
        if rows % self.placement.copies:
            raise ModelError(
                f"--batch-size {rows} for {self.placement.copies} copies of the model, which share "
                "it evenly; expected a multiple"
            )
        if self.room is not None and self.weights > self.room:
            return None, None
        spec = replace(self.spec, batch_size=rows)
        try:
            programs = compile_programs(spec, self.config, self._shapes, self._held)
        except jax.errors.JaxRuntimeError as error:
            if OUT_OF_MEMORY not in str(error):
                raise
            return None, None
        need = needed(programs)
        too_much = self.room is not None and need > self.room
        return (None if too_much else programs), need

    def largest(self, below: int) -> Fitted | None:
        """With the largest batch that fits, of those that are tried; None where none does."""
        compiled: dict[int, Programs] = {}

        def need(rows: int) -> int | None:
            programs, need = self.of(rows)
            if programs is None:
                return None
            compiled[rows] = programs
            return need

        steps = [step * self.placement.copies for step in STEPS]
        steps = steps[: bisect_right(steps, below - 1)]
        rows = largest_that_fits(need, steps, self.weights, self.room or 0)
        return self.fitted(rows, compiled[rows]) if rows else None

    def fitted(self, rows: int, programs: Programs) -> Fitted:
        spec = replace(self.spec, batch_size=rows, tensor_parallel=self.placement.tensor_parallel)
        return Fitted(spec, self.placement, programs)

    @property
    def _held(self) -> Weights:
        return Weights.on(self.placement, self.spec.dtype)

    @property
    def _shapes(self) -> dict:
        return self._held.shapes(self.config)


def largest_that_fits(
    need: Callable[[int], int | None], steps: Sequence[int], fixed: int, room: int
) -> int:
    """The largest of `steps`, in ascending order, that has a need; 0 where none has.

    need: bytes of so many rows, None where they don't fit. fixed: bytes at no rows, from which the
    next try is guessed along a straight line. room: bytes there are.
    """
    fits, fails, guess = -1, len(steps), 0
    while fails - fits > 1:
        bytes_needed = need(steps[guess])
        if bytes_needed is None:
            fails = guess
        else:
            fits = guess
            a_row = max(1, bytes_needed - fixed) / steps[fits]
            line = bisect_right(steps, (room - fixed) / a_row) - 1
        if fits < 0:
            break
        guess = min(max(line, fits + 1), fails - 1)
    return steps[fits] if fits >= 0 else 0


def _explanation(
    trial: Trial,
    asked: int,
    need: int | None,
    largest: Fitted | None,
    devices: Sequence[jax.Device],
) -> str:
    model = posixpath.basename(trial.spec.checkpoint.rstrip("/"))
    room = trial.room or 0
    if trial.weights > room:
        needs = f"{model} has {_gib(trial.weights)} of weights"
    else:
        needs = f"{model} at batch {asked} needs " + (_gib(need) if need else f"over {_gib(room)}")
    where = "the machine" if trial.placement.device.platform == "cpu" else "a chip"
    remedies = " or ".join(_remedies(trial, asked, largest, devices))
    return f"{needs} and {where} has {_gib(room)}: {remedies or 'no batch of it fits'}"


def _remedies(
    trial: Trial, asked: int, largest: Fitted | None, devices: Sequence[jax.Device]
) -> Iterator[str]:
    if largest is not None:
        yield f"largest batch {largest.spec.rows} (--batch-size {largest.spec.rows})"
    for number in _divisors(len(devices)):
        wider = number > trial.placement.tensor_parallel
        if wider and asked % (len(devices) // number) == 0:
            spread = replace(trial, placement=Placement.over(devices, number))
            if spread.of(asked)[0] is not None:
                yield f"--tensor-parallel {number}"
                return
    if largest is None and trial.spec.dtype == "float32":
        yield "--dtype bfloat16, which takes half"


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
