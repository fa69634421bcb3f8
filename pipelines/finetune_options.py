"""The options of `palipipe finetune`. Imports nothing slow: `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pipelines.cli import Parser, positive
from pipelines.options import (
    MAX_PIXELS,
    field_arguments,
    input_argument,
    parse_here,
    progress_argument,
    resize_argument,
    threads_argument,
)

DESCRIPTION = """\
Fine-tune PaliGemma, or train one from nothing, on pictures with questions and answers.

  palipipe finetune --input 'train/*.jsonl' --held-out 'test/*.jsonl' --output tuned \\
      --checkpoint paligemma-3b-pt-224.npz --tokenizer tokenizer.model --epochs 3

Each line of such a list is {"image": "a.jpg", "prefix": "caption en", "suffix": "a red shoe"}.
Run the same command again to go on after an interruption."""


def parser() -> Parser:
    """The parser, its options in the groups that `--help` shows."""
    it = Parser("finetune", description=DESCRIPTION)
    _example_options(it)
    _model_options(it)
    _training_options(it)
    _run_options(it)
    return it


def _example_options(it: Parser) -> None:
    group = it.add_argument_group("what is learned from")
    input_argument(group)
    group.add_argument(
        "--held-out",
        metavar="GLOB",
        nargs="+",
        action="extend",
        default=[],
        help="more of the kind, to evaluate on and never to learn from",
    )
    group.add_argument(
        "--held-out-share",
        metavar="X",
        type=_share,
        default=0.0,
        help="or this share of the pictures of --input, chosen by their digests (default: 0)",
    )
    group.add_argument(
        "--prefix",
        metavar="PROMPT",
        action="append",
        help='what is asked, as --task of annotate: "caption en", "answer en {question}" '
        '(default: "{prefix}", the field of that name)',
    )
    group.add_argument(
        "--suffix",
        metavar="TEXT",
        action="append",
        help='what is to be answered: "{answer}", "{text}" (default: "{suffix}"); repeat --prefix '
        "and --suffix in pairs to learn several things of each picture",
    )
    group.add_argument(
        "--max-tokens",
        metavar="N",
        type=positive,
        default=256,
        help="prompt, answer and its end together; longer examples are left out and counted, "
        "never cut (default: 256)",
    )
    field_arguments(group)
    resize_argument(group)
    group.add_argument(
        "--max-pixels",
        metavar="N",
        type=positive,
        default=MAX_PIXELS,
        help=f"larger pictures are left out and counted (default: {MAX_PIXELS:,})",
    )


def _model_options(it: Parser) -> None:
    group = it.add_argument_group("what learns")
    start = group.add_mutually_exclusive_group(required=True)
    start.add_argument(
        "--checkpoint",
        metavar="PATH",
        help="begin at a PaliGemma 1 or 2: an .npz file or a Hugging Face folder",
    )
    start.add_argument(
        "--from-scratch",
        metavar="CONFIG",
        help="begin at random weights of the shapes in a JSON file (see docs/finetuning.md)",
    )
    group.add_argument(
        "--tokenizer",
        metavar="PATH",
        help="SentencePiece model; by default tokenizer.model beside the checkpoint",
    )
    group.add_argument(
        "--freeze",
        metavar="PATTERN",
        action="append",
        default=[],
        help="parameters that stay as they are: 'img/*' is the vision tower; may be repeated",
    )
    group.add_argument(
        "--lora-rank",
        metavar="R",
        type=positive,
        help="train low-rank adapters of the decoder alone; merged into what is written",
    )
    group.add_argument(
        "--lora-alpha",
        metavar="X",
        type=_above_zero,
        help="adapters count alpha / rank times (default: the rank)",
    )
    group.add_argument(
        "--final-logit-cap",
        metavar="X",
        type=float,
        help="soft cap on the logits, 0 for none; by default what the checkpoint says",
    )


def _training_options(it: Parser) -> None:
    group = it.add_argument_group("how it learns")
    length = group.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", metavar="N", type=positive, help="of the optimiser")
    length.add_argument("--epochs", metavar="X", type=_above_zero, help="times all examples")
    group.add_argument(
        "--batch-size",
        metavar="N",
        type=positive,
        default=32,
        help="examples of a step (default: 32)",
    )
    group.add_argument(
        "--accumulate",
        metavar="K",
        type=positive,
        default=1,
        help="go through a batch in so many parts, for less memory (default: 1)",
    )
    group.add_argument(
        "--learning-rate",
        metavar="X",
        type=_above_zero,
        default=1e-5,
        help="at its highest (default: 1e-5; from scratch try 1e-3, for adapters 1e-4)",
    )
    group.add_argument(
        "--warmup-steps",
        metavar="N",
        type=_not_negative,
        help="that the learning rate rises for, before it falls as a cosine (default: 5 %% of all)",
    )
    group.add_argument(
        "--weight-decay", metavar="X", type=float, default=0.0, help="AdamW's (default: 0)"
    )
    group.add_argument(
        "--beta2", metavar="X", type=_share, default=0.999, help="AdamW's (default: 0.999)"
    )
    group.add_argument(
        "--clip",
        metavar="X",
        type=_above_zero,
        default=1.0,
        help="longer gradients are shortened to this norm (default: 1)",
    )
    group.add_argument(
        "--weigh",
        choices=["token", "example"],
        default="token",
        help="what counts the same in the loss, whatever an answer's length (default: token)",
    )
    group.add_argument(
        "--blur-locations",
        metavar="SIGMA",
        type=_above_zero,
        help="labels of location tokens leave a share to those nearby, as a normal distribution of "
        "so many locations; for models from scratch (default: the right one has it all)",
    )
    group.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16"],
        default="auto",
        help="of the arithmetic; trained weights and optimiser are float32 in any case "
        "(default: bfloat16 on an accelerator, float32 on a CPU)",
    )
    group.add_argument(
        "--remat",
        action="store_true",
        help="compute layers again for their gradients: less memory, a third more time",
    )
    group.add_argument(
        "--shard-weights",
        action="store_true",
        help="each device holds a part of the weights, for models that don't fit on one",
    )
    group.add_argument(
        "--buckets",
        metavar="N",
        type=positive,
        default=1,
        help="text lengths that are compiled; more waste less on padding where lengths differ "
        "(default: 1)",
    )
    group.add_argument(
        "--seed", metavar="N", type=_not_negative, default=0, help="of order and random weights"
    )


def _run_options(it: Parser) -> None:
    group = it.add_argument_group("how it runs")
    group.add_argument("--output", metavar="FOLDER", required=True, help="a local folder")
    group.add_argument(
        "--prepared",
        metavar="FOLDER",
        help="where decoded pictures are kept, for several runs to share "
        "(default: prepared in the output)",
    )
    group.add_argument(
        "--save-every",
        metavar="N",
        type=positive,
        default=500,
        help="steps after which a killed run loses nothing (default: 500)",
    )
    group.add_argument(
        "--evaluate-every",
        metavar="N",
        type=positive,
        default=500,
        help="steps between evaluations on what is held out (default: 500)",
    )
    group.add_argument(
        "--exact-match",
        metavar="N",
        type=_not_negative,
        default=0,
        help="held-out examples that are also answered and compared (default: 0)",
    )
    group.add_argument(
        "--log-every",
        metavar="N",
        type=positive,
        default=20,
        help="steps between lines of the log (default: 20)",
    )
    group.add_argument(
        "--export-dtype",
        choices=["auto", "float32", "bfloat16"],
        default="auto",
        help="of the weights that are written (default: as the checkpoint was stored)",
    )
    threads_argument(group)
    progress_argument(group)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; exits with 2 and the nearest option on a mistake."""
    it = parser()
    options = parse_here(it, argv)
    if options.steps and (options.warmup_steps or 0) >= options.steps:
        it.error(f"--warmup-steps {options.warmup_steps}: there are only {options.steps} steps")
    if options.lora_alpha and not options.lora_rank:
        it.error("--lora-alpha needs --lora-rank")
    if options.lora_rank and options.freeze:
        it.error("--lora-rank trains adapters alone; --freeze has no meaning with it")
    if options.held_out and options.held_out_share:
        it.error("--held-out and --held-out-share say the same; give one")
    if options.exact_match and not (options.held_out or options.held_out_share):
        it.error("--exact-match needs --held-out or --held-out-share")
    if options.batch_size % options.accumulate:
        it.error(f"--batch-size {options.batch_size} isn't a multiple of --accumulate")
    if len(options.prefix or "1") != len(options.suffix or "1"):
        it.error("--prefix and --suffix come in pairs; one of them is given more often")
    return options


def _above_zero(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not at least 0 and below 1")
    return value


def _not_negative(text: str) -> int:
    return 0 if text == "0" else positive(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
