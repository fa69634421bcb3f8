"""The options of `palipipe annotate`. Imports nothing slow: `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pipelines import options, schedule_options
from pipelines.cli import Parser, positive

DESCRIPTION = """\
Annotate image shards with PaliGemma: one row for every image, in Parquet.

  palipipe annotate --input 'shards/*.tar' --output out \\
      --checkpoint paligemma-3b-mix-224.npz --tokenizer tokenizer.model \\
      --task "caption en" --task "detect shoe ; bag"

Run the same command again to go on after an interruption, or to take up new shards."""


def parser() -> Parser:
    """The parser, its options in the groups that `--help` shows."""
    it = Parser("annotate", description=DESCRIPTION)
    options.input_options(it)
    _decoding_options(model_options(it))
    _screened_option(options.limit_options(it))
    _reuse_option(options.output_options(it))
    schedule_options.lock_options(it)
    schedule_options.alert_options(it)
    options.launch_options(it)
    return it


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, tuple[str, ...]]:
    """Options and what is left for Beam; see `options.parse`."""
    it = parser()
    chosen, beam_options = options.parse(it, argv)
    schedule_options.check(it, chosen)
    return chosen, beam_options


def _screened_option(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--screened-before",
        action="store_true",
        help="the input is what palipipe screen kept: filters look at what the model writes alone",
    )


def _reuse_option(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--reuse-answers",
        action="store_true",
        help="an image that an earlier run into this folder annotated, the same bytes asked the "
        "same, keeps those answers wherever it is now",
    )


def model_options(it: Parser) -> argparse._ArgumentGroup:
    """What annotates: the model's files, and how many images it takes at once."""
    group = it.add_argument_group("what annotates it")
    group.add_argument(
        "--checkpoint",
        metavar="PATH",
        help="PaliGemma 1 or 2: an .npz file or a folder with config.json and safetensors; "
        "without it the small model that comes along, which knows drawn scenes of garments alone",
    )
    group.add_argument(
        "--tokenizer",
        metavar="PATH",
        help="SentencePiece model; by default tokenizer.model beside the checkpoint",
    )
    group.add_argument(
        "--mask-decoder",
        metavar="PATH",
        help="vae-oid.npz: turns the 16 tokens of `segment` into masks",
    )
    group.add_argument(
        "--batch-size",
        metavar="N|auto",
        type=_batch_size,
        default=8,
        help="images that go through the model together, on all chips or GPUs of a machine; auto: "
        "as many as fit its memory and speed it up, found out by compiling (default: 8)",
    )
    group.add_argument(
        "--tensor-parallel",
        metavar="N",
        type=positive,
        help="chips or GPUs over which a copy of the model is spread; the machine's others hold "
        "copies that share each batch (default: as few as its weights fit in)",
    )
    return group


def _batch_size(text: str) -> int | None:
    return None if text == "auto" else positive(text)


def _decoding_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--task",
        metavar="PROMPT",
        action="append",
        help='"caption en", "detect shoe ; bag", "answer en {question}": {…} is filled from '
        'the record\'s metadata; may be repeated (default: "caption en")',
    )
    group.add_argument(
        "--max-new-tokens",
        metavar="N",
        type=positive,
        help="longest answer; by default what each task needs",
    )
    group.add_argument(
        "--max-prompt-tokens",
        metavar="N",
        type=positive,
        default=128,
        help="longest prompt; a longer one fails its record, nothing is cut (default: 128)",
    )
    group.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16", "int8"],
        default="auto",
        help="of weights and arithmetic; int8 is for CPUs with AVX-512 and takes about "
        "half of bfloat16's memory and time (default: auto, as the checkpoint is stored)",
    )
    options.resize_argument(group)
    group.add_argument(
        "--final-logit-cap",
        metavar="X",
        type=float,
        help="soft cap on the logits; by default what the checkpoint says",
    )
    group.add_argument(
        "--location-scale",
        type=int,
        choices=[1023, 1024],
        default=1023,
        help="what a location token is divided by: 1023 as the research release's evaluator, "
        "1024 as most demos (default: 1023)",
    )
