"""PaliGemma behind Beam's RunInference.

Batches arrive ready-made (`transforms.steps` forms them inside a unit), because Beam's own
batching varies the size, and every new size would be compiled anew.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from transforms import counters
from transforms.errors import WorkError
from transforms.prepare import Example
from transforms.record import RecordError

if TYPE_CHECKING:
    from model.annotator import Annotation, Annotator, AnnotatorSpec
    from model.usage import Usage


@dataclass(frozen=True)
class Batch:
    """Examples of one unit that go through the model together.

    Formed inside the unit, so that what a batch holds, and with it each result to the last bit,
    depends on the unit and not on what else a worker happens to do.
    """

    unit: str
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)


@dataclass(frozen=True)
class AnnotatedBatch:
    """A batch, and for each of its examples an annotation for each task, or why there is none."""

    batch: Batch
    answers: tuple[tuple[Annotation, ...] | RecordError, ...]


_LOG = logging.getLogger(__name__)

# One engine a process: a chip belongs to one process, and a run in waves builds many pipelines
# that must not load the weights again.
_annotators: dict[AnnotatorSpec, Annotator] = {}
_lock = threading.Lock()


def annotator(spec: AnnotatorSpec) -> Annotator:
    """The process's annotator for a spec, loaded and compiled at the first call."""
    from model.annotator import Annotator
    from model.compilation import keep_compiled_programs
    from model.memory import take_the_gpu
    from transforms.checkpoints import BEAM_FILES

    with _lock:
        if spec not in _annotators:
            _annotators.clear()
            keep_compiled_programs()
            take_the_gpu()
            began = time.monotonic()
            _annotators[spec] = Annotator.load(spec, BEAM_FILES)
            _LOG.info("process %d: model loaded in %.1f s", os.getpid(), time.monotonic() - began)
        return _annotators[spec]


def batch_size(of: AnnotatorSpec | int) -> int:
    """Rows of a batch: as given, or as many as the process's annotator was found to hold."""
    return of if isinstance(of, int) else of.batch_size or annotator(of).batch_size


class PaliGemmaHandler(ModelHandler[Batch, AnnotatedBatch, "Annotator"]):
    """Serves batches of examples; one bad row costs one row.

    A batch that fails is halved until the row is found that can't be annotated. When no row of
    a batch can, the engine is at fault and not the pictures, so the work fails instead.
    """

    def __init__(self, spec: AnnotatorSpec):
        super().__init__()
        self._spec = spec

    def load_model(self) -> Annotator:
        return annotator(self._spec)

    def should_skip_batching(self) -> bool:
        return True

    def get_metrics_namespace(self) -> str:
        return counters.NAMESPACE

    def get_num_bytes(self, batch: Batch) -> int:  # type: ignore[override]
        return sum(example.pixels.nbytes for example in batch.examples)

    def run_inference(  # type: ignore[override]
        self,
        batch: Batch,
        model: Annotator,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[AnnotatedBatch]:
        with _lock:
            before = model.used
            answers = bisect(batch.examples, model)
            count_usage(model.used - before)
        described = (_described(a) if isinstance(a, Exception) else tuple(a) for a in answers)
        return [AnnotatedBatch(batch, tuple(described))]


def count_usage(used: Usage) -> None:
    """Add what the model did to the counters of the step."""
    counters.count(counters.MODEL_ROWS, used.rows)
    counters.count(counters.PADDED_ROWS, used.padded_rows)
    counters.count(counters.DECODING_ROW_STEPS, used.row_steps)
    counters.count(counters.DECODED_TOKENS, used.tokens)
    counters.count(counters.RECOMPILATIONS, used.recompilations)
    counters.count_seconds(counters.MODEL_MICROSECONDS, used.seconds)


Answer = Sequence["Annotation"] | Exception


def bisect(examples: Sequence[Example], model: Annotator) -> list[Answer]:
    """An answer for each example, in order: its annotations, or the exception it alone causes.

    Raises:
        WorkError: not one of several examples gets through, so it is the engine that fails and
            not the pictures; they are not given up for it.
    """
    answers = _halve(examples, model)
    if len(answers) != len(examples):
        raise WorkError(
            f"the model gave {len(answers)} answers for {len(examples)} pictures; their unit is "
            "not committed. This is a defect of palipipe: report it"
        )
    engine = [a for a in answers if isinstance(a, Exception) and not _is_of_the_row(a)]
    if len(examples) > 1 and len(engine) == len(examples):
        raise WorkError(
            f"none of a batch of {len(examples)} pictures could be annotated "
            f"({_described(engine[0]).message}). Where memory ran out, give a smaller "
            "--batch-size. What is committed stays"
        ) from engine[0]
    return answers


def _halve(examples: Sequence[Example], model: Annotator) -> list[Answer]:
    pixels = np.stack([example.pixels for example in examples])
    try:
        prompts = [example.prompts for example in examples]
        sizes = [(example.image["height"], example.image["width"]) for example in examples]
        return list(model.annotate(pixels, prompts, sizes))
    except Exception as error:
        if len(examples) == 1:
            return [error]
        middle = len(examples) // 2
        return _halve(examples[:middle], model) + _halve(examples[middle:], model)


def _is_of_the_row(error: Exception) -> bool:
    from model.annotator import RowError

    return isinstance(error, RowError)


def _described(error: Exception) -> RecordError:
    """What the row keeps of an exception: its kind, and a line that quotes nothing of the record.

    A `RowError` is worded by the project; any other exception is the engine's, and its first line
    says what the runtime ran into.
    """
    from model.annotator import RowError

    if isinstance(error, RowError):
        return RecordError(error.stage, error.kind, str(error))
    return RecordError("annotate", type(error).__name__, str(error).split("\n")[0][:200])
