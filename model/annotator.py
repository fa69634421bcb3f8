"""Pictures and prompts in, parsed annotations out: tokenizer, engine and parser as one.

spec, facts = describe(AnnotatorSpec(tasks=("caption en", "detect shoe"), checkpoint=…))
annotator = Annotator.load(spec)
answers = annotator.annotate(pixels, prompts, sizes)
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import numpy as np

from model import rle, small, tiny
from model.boxes import CODES_PER_MASK, LOCATION_SCALE, Box, check_location_scale
from model.checkpoint import LOCAL, Storage, open_checkpoint, read_config, weights_digest
from model.checkpoint.tree import parameter_shapes
from model.engine import Engine, EngineSpec, Generation
from model.grammar import Grammar, anything, joined, one_of, well_formed_objects
from model.mask_codec import MaskDecoder, paste
from model.parse import Parsed, parse
from model.tasks import Kind, Prompt, Task, TaskError
from model.tokenizer import Tokenizer, TokenizerError
from model.usage import Usage

TOKENIZER = "tokenizer.model"

# Prompts of a fixed text are rounded up to this many tokens, so that tasks share programs.
PROMPT_STEP = 8
# Prompts that are filled in run in the shortest of these that holds the longest of a batch.
PROMPT_LENGTHS = (16, 32, 64, 128, 256, 512)


class Files(NamedTuple):
    """Paths of a model. mask_decoder: None where masks stay codes."""

    checkpoint: str
    tokenizer: str
    mask_decoder: str | None


CARRIED = {
    small.NAME: Files(str(small.CHECKPOINT), str(small.TOKENIZER), str(small.MASK_DECODER)),
    tiny.NAME: Files(str(tiny.CHECKPOINT), str(tiny.TOKENIZER), None),
}
"""The models that come along, by the names that are taken in place of a checkpoint's path."""


@dataclass(frozen=True)
class AnnotatorSpec:
    """What answers, and how.

    tasks: as a user writes them.
    checkpoint: a path, or a name of CARRIED; None for the small model.
    tokenizer: None for `tokenizer.model` beside the checkpoint.
    dtype: auto (as the checkpoint is stored), float32 or bfloat16.
    batch_size: None for as many rows as fit. tensor_parallel: see `EngineSpec`.
    max_new_tokens: None for what each task needs. max_prompt_tokens: longer prompts fail.
    mask_decoder: `vae-oid.npz`; without it masks stay codes in the raw text. The small model has
        its own.
    location_scale: what a location is divided by, 1023 or 1024.
    """

    tasks: tuple[str, ...]
    checkpoint: str | None = None
    tokenizer: str | None = None
    dtype: str = "auto"
    batch_size: int | None = 8
    tensor_parallel: int | None = None
    max_new_tokens: int | None = None
    max_prompt_tokens: int = 128
    final_logit_cap: float | None = None
    mask_decoder: str | None = None
    location_scale: int = LOCATION_SCALE


@dataclass(frozen=True)
class ModelFacts:
    """What the ledger says of a model. image_size in pixels; digests are SHA-256 in hexadecimal."""

    name: str
    parameters: int
    image_size: int
    weights_sha256: str
    tokenizer_sha256: str
    mask_decoder_sha256: str | None
    random_weights: bool


@dataclass(frozen=True, slots=True)
class Mask:
    """counts: COCO's compressed run lengths of a bool[height, width] in column order."""

    label: str
    height: int
    width: int
    counts: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """One task's answer to one picture.

    text: without boxes. raw: as written. log_probability: natural, through the end of the answer.
    status: see `model.parse.Status`.
    """

    task: str
    prompt: Prompt
    text: str
    raw: str
    log_probability: float
    status: str
    boxes: tuple[Box, ...] = ()
    masks: tuple[Mask, ...] = ()


class RowError(Exception):
    """One picture that can't be annotated, its neighbours being none the worse.

    stage: prompt or annotate. kind: a stable word. The message quotes nothing of the record.
    """

    def __init__(self, stage: str, kind: str, message: str):
        super().__init__(message)
        self.stage = stage
        self.kind = kind

    def __reduce__(self):
        return RowError, (self.stage, self.kind, str(self))


def describe(spec: AnnotatorSpec, storage: Storage = LOCAL) -> tuple[AnnotatorSpec, ModelFacts]:
    """The spec with its defaults filled in, and what it stands for; loads no weight.

    Raises CheckpointError, TokenizerError or TaskError for what doesn't exist or doesn't fit.
    """
    checkpoint, tokenizer_path, mask_decoder = _files(spec)
    check_location_scale(spec.location_scale)
    with open_checkpoint(checkpoint, storage) as opened:
        config = opened.config
        stored = opened.stored_dtype("llm/embedder/input_embedding")
    serialized = _read(tokenizer_path, storage)
    tokenizer = Tokenizer.from_bytes(serialized, tokenizer_path)
    tokenizer.require_rows(config.language.vocab_size)
    prompt_lengths(spec, tokenizer)
    dtype = _dtype(stored) if spec.dtype == "auto" else spec.dtype
    name = _carried_name(spec) or posixpath.basename(checkpoint.rstrip("/"))
    return replace(spec, dtype=dtype), ModelFacts(
        name=name,
        parameters=sum(map(prod, parameter_shapes(config).values())),
        image_size=config.vision.image_size,
        weights_sha256=weights_digest(checkpoint, storage),
        tokenizer_sha256=hashlib.sha256(serialized).hexdigest(),
        mask_decoder_sha256=mask_decoder
        and hashlib.sha256(_read(mask_decoder, storage)).hexdigest(),
        random_weights=name == tiny.NAME,
    )


def _carried_name(spec: AnnotatorSpec) -> str | None:
    name = spec.checkpoint or small.NAME
    return name if name in CARRIED else None


def _files(spec: AnnotatorSpec) -> Files:
    """Those that come along are found anew on every machine."""
    name = _carried_name(spec)
    if name is None:
        assert spec.checkpoint is not None
        tokenizer = spec.tokenizer or _beside(spec.checkpoint)
        return Files(spec.checkpoint, tokenizer, spec.mask_decoder)
    checkpoint, tokenizer, mask_decoder = CARRIED[name]
    return Files(checkpoint, spec.tokenizer or tokenizer, spec.mask_decoder or mask_decoder)


def _beside(checkpoint: str) -> str:
    """Where a checkpoint's tokenizer is: in its folder, or beside its file."""
    folder = posixpath.dirname(checkpoint) if ".npz" in checkpoint else checkpoint.rstrip("/")
    return posixpath.join(folder, TOKENIZER)


def _read(path: str, storage: Storage) -> bytes:
    try:
        with storage.open(path) as file:
            return file.read()
    except OSError as error:
        raise TokenizerError(
            f"{path}: can't be read ({error.strerror or type(error).__name__}). Name the file "
            "that belongs to the checkpoint with --tokenizer, or --mask-decoder for the masks'"
        ) from error


def _dtype(stored: np.dtype) -> str:
    """What to compute in by default: half precision as bfloat16, whose range has no overflows."""
    return "float32" if stored.itemsize >= 4 else "bfloat16"


def prompt_lengths(spec: AnnotatorSpec, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The prompt lengths, in tokens, for which programs are compiled.

    Raises TaskError for a task whose own words are longer than allowed.
    """
    lengths: set[int] = set()
    for text in spec.tasks:
        task = Task.parse(text)
        if task.fields:
            lengths |= {n for n in PROMPT_LENGTHS if n < spec.max_prompt_tokens}
            lengths.add(spec.max_prompt_tokens)
            continue
        length = len(tokenizer.encode_prompt(task.prompt({})))
        if length > spec.max_prompt_tokens:
            raise TaskError(
                f'task "{text}" has {length} tokens; at most {spec.max_prompt_tokens} are '
                "allowed. Raise --max-prompt-tokens"
            )
        lengths.add(-(-length // PROMPT_STEP) * PROMPT_STEP)
    return tuple(sorted(lengths))


class Annotator:
    """A loaded model that answers in parsed annotations. Made by `load`.

    engine, tokenizer: what it answers with.
    """

    def __init__(
        self,
        spec: AnnotatorSpec,
        engine: Engine,
        tokenizer: Tokenizer,
        mask_decoder: MaskDecoder | None = None,
    ):
        self._tasks = tuple(Task.parse(task) for task in spec.tasks)
        self._names = spec.tasks
        self._spec = spec
        self.engine = engine
        self.tokenizer = tokenizer
        self._mask_decoder = mask_decoder
        self._limits = [_limit(spec, task, tokenizer) for task in self._tasks]
        bound = engine.spec.grammar is not None
        self._starts = [number if bound else 0 for number in range(len(self._tasks))]

    @classmethod
    def load(cls, spec: AnnotatorSpec, storage: Storage = LOCAL) -> Annotator:
        """Reads the checkpoint and compiles every shape. spec: as `describe` filled it in.

        Raises CheckpointError or TokenizerError.
        """
        checkpoint, tokenizer_path, mask_decoder = _files(spec)
        tokenizer = Tokenizer.from_bytes(_read(tokenizer_path, storage), tokenizer_path)
        tasks = [Task.parse(task) for task in spec.tasks]
        engine_spec = EngineSpec(
            checkpoint=checkpoint,
            dtype=spec.dtype,
            batch_size=spec.batch_size,
            tensor_parallel=spec.tensor_parallel,
            prompt_lengths=prompt_lengths(spec, tokenizer),
            max_new_tokens=max(_limit(spec, task, tokenizer) for task in tasks),
            final_cap=spec.final_logit_cap,
            grammar=grammar_of(tasks, tokenizer, checkpoint, storage),
        )
        decoder = None
        if mask_decoder is not None:
            decoder = MaskDecoder.from_bytes(_read(mask_decoder, storage), mask_decoder)
            # Compiled now, like everything else.
            decoder.decode(np.zeros((1, CODES_PER_MASK), np.int32))
        return cls(spec, Engine.load(engine_spec, storage), tokenizer, decoder)

    @property
    def batch_size(self) -> int:
        """Rows of a batch."""
        return self.engine.spec.rows

    @property
    def used(self) -> Usage:
        """What the engine has done since loading."""
        return self.engine.used

    def annotate(
        self,
        pixels: np.ndarray,
        prompts: Sequence[Sequence[Prompt]],
        sizes: Sequence[tuple[int, int]],
    ) -> list[list[Annotation] | RowError]:
        """Answers for n pictures, each picture being encoded once for all its prompts.

        pixels: uint8[n, S, S, 3], n ≤ batch_size. prompts: for each picture one for each task.
        sizes: (height, width) of the pictures as displayed, which masks are drawn for.
        Returns, in order, a list of one annotation a task, or what is wrong with that row alone.
        """
        tokens = [[self.tokenizer.encode_prompt(p.text) for p in row] for row in prompts]
        answers: list[list[Annotation] | RowError | None] = [self._too_long(row) for row in tokens]
        rows = [number for number, answer in enumerate(answers) if answer is None]
        if rows:
            image_tokens = self.engine.encode_images(pixels[rows])
            generations = [
                self.engine.generate(
                    image_tokens,
                    [tokens[row][number] for row in rows],
                    max_new_tokens=self._limits[number],
                    start=self._starts[number],
                )
                for number in range(len(self._tasks))
            ]
            for place, row in enumerate(rows):
                answers[row] = self._answers(generations, place, prompts[row], sizes[row])
        return [answer for answer in answers if answer is not None]

    def _too_long(self, tokens: Sequence[Sequence[int]]) -> RowError | None:
        longest = max(map(len, tokens))
        if longest <= self._spec.max_prompt_tokens:
            return None
        return RowError(
            "prompt",
            "prompt_too_long",
            f"a prompt has {longest} tokens; at most {self._spec.max_prompt_tokens} are allowed "
            "(--max-prompt-tokens)",
        )

    def _answers(
        self,
        generations: Sequence[Generation],
        place: int,
        prompts: Sequence[Prompt],
        size: tuple[int, int],
    ) -> list[Annotation] | RowError:
        if not all(generation.finite[place] for generation in generations):
            return RowError("annotate", "not_finite", "the network's numbers overflowed")
        return [
            self._annotation(number, generation, place, prompt, size)
            for number, (generation, prompt) in enumerate(zip(generations, prompts, strict=True))
        ]

    def _annotation(
        self, number: int, generation: Generation, place: int, prompt: Prompt, size: tuple[int, int]
    ) -> Annotation:
        raw = self.tokenizer.decode(generation.tokens[place])
        parsed = parse(
            raw,
            wants_objects=self._tasks[number].finds_objects,
            truncated=not generation.ended[place],
            location_scale=self._spec.location_scale,
        )
        return Annotation(
            task=self._names[number],
            prompt=prompt,
            text=parsed.text,
            raw=raw,
            log_probability=float(generation.log_probs[place]),
            status=parsed.status.value,
            boxes=parsed.boxes,
            masks=self._masks(parsed, size),
        )

    def _masks(self, parsed: Parsed, size: tuple[int, int]) -> tuple[Mask, ...]:
        if self._mask_decoder is None or not parsed.segments:
            return ()
        height, width = size
        codes = np.array([segment.codes for segment in parsed.segments], np.int32)
        decoded = self._mask_decoder.decode(codes)
        return tuple(
            Mask(
                segment.box.label,
                height,
                width,
                rle.encode(paste(values, segment.box, height, width)),
            )
            for segment, values in zip(parsed.segments, decoded, strict=True)
        )


def _limit(spec: AnnotatorSpec, task: Task, tokenizer: Tokenizer) -> int:
    """The most tokens of an answer; one that is chosen gets what it takes, and its end."""
    if task.choices:
        return max(len(tokenizer.encode(choice)) for choice in task.choices) + 1
    return spec.max_new_tokens or task.max_new_tokens


def grammar_of(
    tasks: Sequence[Task], tokenizer: Tokenizer, checkpoint: str, storage: Storage
) -> Grammar | None:
    """What the tasks' answers are bound to, a start for each; None where none is bound."""
    if not any(task.is_bound for task in tasks):
        return None
    vocabulary = read_config(checkpoint, storage).language.vocab_size

    def of(task: Task) -> Grammar:
        if task.choices:
            return one_of(task.choices, tokenizer, vocabulary)
        if task.only_objects:
            return well_formed_objects(tokenizer, vocabulary, task.kind is Kind.SEGMENT)
        return anything(vocabulary)

    return joined([of(task) for task in tasks])
