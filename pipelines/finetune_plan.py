"""What a run of `finetune` is going to do, worked out and checked before anything is done."""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import posixpath
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from model.annotator import TOKENIZER
from model.checkpoint import load, open_checkpoint, read_config, weights_digest
from model.checkpoint.hugging_face_writer import check_settings
from model.checkpoint.tree import flatten, parameter_shapes
from model.config import PaliGemmaConfig
from model.config_json import read_config_json
from model.paligemma import init_random
from model.tokenizer import Tokenizer, TokenizerError
from model.training.batching import Order, Shapes
from model.training.examples import Examples
from model.training.lora import LoraSpec
from model.training.loss import LocationBlur
from model.training.optimiser import OptimiserSpec
from model.training.selection import trained
from model.training.trainer import TrainerSpec
from transforms.configuration import Configuration, check_claim, plain
from transforms.errors import UserError
from transforms.planning import plan
from transforms.readers import ReaderOptions
from transforms.storage import is_local
from transforms.training_corpus import Corpus, CorpusSpec
from transforms.unit import Unit

WARMUP_SHARE = 0.05


@dataclass(frozen=True)
class TrainingPlan:
    """units: to learn from; held_out: to evaluate on. stored: type of the checkpoint's weights."""

    options: argparse.Namespace
    output: Path
    config: PaliGemmaConfig
    configuration: Configuration
    corpus: CorpusSpec
    units: tuple[Unit, ...]
    held_out: tuple[Unit, ...]
    tokenizer: Tokenizer
    tokenizer_bytes: bytes
    stored: str
    dtype: str

    @property
    def lora(self) -> LoraSpec | None:
        rank = self.options.lora_rank
        return LoraSpec(rank, self.options.lora_alpha or rank) if rank else None

    @property
    def blur(self) -> LocationBlur | None:
        sigma = self.options.blur_locations
        return LocationBlur(sigma, self.tokenizer.first_location) if sigma else None

    @property
    def prepared(self) -> Path:
        return Path(self.options.prepared or self.output / "prepared")

    @property
    def export_dtype(self) -> str:
        return self.stored if self.options.export_dtype == "auto" else self.options.export_dtype

    def starting_params(self) -> dict[str, Any]:
        """Parameters that training begins at, by name."""
        if self.options.from_scratch:
            return flatten(init_random(self.config, self.options.seed))
        return flatten(load(self.options.checkpoint, self.stored)[1])

    def trainer(self, shapes: Shapes, steps: int) -> TrainerSpec:
        options = self.options
        warmup = options.warmup_steps
        if warmup is None:
            warmup = int(steps * WARMUP_SHARE)
        if warmup >= steps:
            raise UserError(f"--warmup-steps {warmup}: there are only {steps} steps")
        return TrainerSpec(
            OptimiserSpec(
                learning_rate=options.learning_rate,
                steps=steps,
                warmup_steps=warmup,
                weight_decay=options.weight_decay,
                beta2=options.beta2,
                clip=options.clip,
            ),
            answer=shapes.answer,
            dtype=self.dtype,
            weighting=options.weigh,
            blur=self.blur,
            freeze=tuple(options.freeze),
            lora=self.lora,
            remat=options.remat,
            shard_weights=options.shard_weights,
            seed=options.seed,
        )

    def steps(self, order: Order) -> int:
        return self.options.steps or math.ceil(self.options.epochs * order.batches_per_epoch)


def make_plan(options: argparse.Namespace) -> TrainingPlan:
    """The plan for the given options.

    Raises UserError or ModelError: an option, an input or a checkpoint is wrong; nothing was
    written.
    """
    if not is_local(options.output):
        raise UserError(f"--output {options.output}: training writes to a local folder")
    config, stored = _start(options)
    trained(parameter_shapes(config), options.freeze)
    check_settings(options.from_scratch or options.checkpoint, config)
    serialized = _tokenizer(options)
    tokenizer = Tokenizer.from_bytes(serialized, options.tokenizer or TOKENIZER)
    tokenizer.require_rows(config.language.vocab_size)
    rows, devices = options.batch_size // options.accumulate, jax.device_count()
    if rows % devices:
        raise UserError(
            f"--batch-size {options.batch_size} in {options.accumulate} parts gives {rows} rows; "
            f"they must be a multiple of the {devices} devices"
        )
    corpus = CorpusSpec(
        reader=ReaderOptions(
            image_field=options.image_field,
            text_field=options.text_field,
            language_field=options.language_field,
        ),
        pairs=tuple(
            zip(options.prefix or ["{prefix}"], options.suffix or ["{suffix}"], strict=True)
        ),
        size=config.vision.image_size,
        resize=options.resize,
        max_pixels=options.max_pixels,
        max_tokens=options.max_tokens,
        tokenizer=hashlib.sha256(serialized).hexdigest(),
    )
    corpus.templates()
    units = tuple(plan(options.input, options.format, corpus.reader))
    held_out = plan(options.held_out, options.format, corpus.reader) if options.held_out else ()
    dtype = options.dtype
    if dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    configuration = _configuration(options, config, corpus, units, tuple(held_out), dtype)
    check_claim(options.output, configuration)
    return TrainingPlan(
        options=options,
        output=Path(os.path.abspath(options.output)),
        config=config,
        configuration=configuration,
        corpus=corpus,
        units=units,
        held_out=tuple(held_out),
        tokenizer=tokenizer,
        tokenizer_bytes=serialized,
        stored=stored,
        dtype=dtype,
    )


def _start(options: argparse.Namespace) -> tuple[PaliGemmaConfig, str]:
    """The shapes that are trained, and the type the weights are stored in."""
    if options.from_scratch:
        config, stored = read_config_json(options.from_scratch), "float32"
    else:
        config = read_config(options.checkpoint)
        with open_checkpoint(options.checkpoint) as opened:
            dtype = opened.stored_dtype("llm/embedder/input_embedding")
        stored = "bfloat16" if str(dtype) == "bfloat16" else "float32"
    if options.final_logit_cap is not None:
        config = config.with_final_cap(options.final_logit_cap or None)
    return config, stored


def _tokenizer(options: argparse.Namespace) -> bytes:
    path = options.tokenizer
    if path is None:
        if options.from_scratch:
            raise UserError("--from-scratch needs --tokenizer, the SentencePiece model to use")
        checkpoint = options.checkpoint
        folder = posixpath.dirname(checkpoint) if ".npz" in checkpoint else checkpoint
        path = posixpath.join(folder, TOKENIZER)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TokenizerError(
            f"{path}: can't be read ({error.strerror}). Name the checkpoint's SentencePiece model "
            "with --tokenizer"
        ) from error


# What has no influence on the weights that come out.
# Nor here what the corpus or the start have in the configuration by their content.
_FREE = frozenset(
    {"output", "prepared", "save_every", "evaluate_every", "exact_match", "log_every"}
    | {"shard_weights", "export_dtype", "threads", "progress", "dtype"}
    | {"checkpoint", "tokenizer", "from_scratch", "input", "held_out", "format"}
    | {"image_field", "text_field", "language_field", "prefix", "suffix"}
    | {"resize", "max_pixels", "max_tokens"}
)


def _configuration(
    options: argparse.Namespace,
    config: PaliGemmaConfig,
    corpus: CorpusSpec,
    units: tuple[Unit, ...],
    held_out: tuple[Unit, ...],
    dtype: str,
) -> Configuration:
    """What the trained weights depend on; files by their content, not by where they lie."""
    return Configuration(
        plain(
            {
                "start": {
                    "weights_sha256": options.checkpoint and weights_digest(options.checkpoint),
                    "config": config,
                },
                "corpus": asdict(corpus),
                "input": corpus.digest(units),
                "held_out": corpus.digest(held_out),
                "dtype": dtype,
                "training": {k: v for k, v in vars(options).items() if k not in _FREE},
            }
        )
    )


def split(corpus: Corpus, share: float) -> tuple[Examples, Examples]:
    """Examples to learn from and to evaluate on; all examples of a picture are on one side."""
    out = np.array([int(digest[:8], 16) / 2**32 < share for digest in corpus.digests])
    is_out = out[corpus.examples.picture]
    select = corpus.examples.select
    return select(np.flatnonzero(~is_out)), select(np.flatnonzero(is_out))
