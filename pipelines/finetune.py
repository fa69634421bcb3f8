"""`palipipe finetune`: pictures with questions and answers in, a checkpoint out.

Reads top to bottom: plan, prepare the corpus, train from where an earlier run was, export.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines import finetune_options
from pipelines.cli import EXIT_INTERRUPTED, exit_code

if TYPE_CHECKING:
    from model.training.examples import Examples
    from pipelines.finetune_plan import TrainingPlan
    from transforms.training_corpus import Corpus
    from transforms.unit import Unit


def main(argv: Sequence[str] | None = None) -> int:
    options = finetune_options.parse(sys.argv[1:] if argv is None else argv)
    return exit_code("finetune", lambda: finetune(options))


def finetune(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code.

    Raises:
        UserError, WorkError: see `transforms.errors`. ModelError: a checkpoint or tokenizer.
    """
    # JAX and Beam take seconds to import, which a mistyped option shouldn't have to wait for.
    from model.compilation import keep_compiled_programs
    from pipelines.finetune_plan import make_plan, split
    from transforms.configuration import claim
    from transforms.storage import naming_the_remedy

    plan = make_plan(options)
    claim(str(plan.output), plan.configuration)
    keep_compiled_programs()
    try:
        with naming_the_remedy(str(plan.output)):
            corpus = _prepare(plan, plan.units, "learned from")
            learned, held_out = split(corpus, options.held_out_share)
            if plan.held_out:
                held_out = _prepare(plan, plan.held_out, "held out").examples
            _train(plan, learned, held_out)
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from the last save.", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _prepare(plan: TrainingPlan, units: Sequence[Unit], label: str) -> Corpus:
    from pipelines.finetune_log import progress
    from pipelines.local import measure
    from transforms.training_corpus import prepare

    by, amount = measure(units)
    total, unit = sum(map(amount, units)), "B" if by == "bytes" else "pictures"
    with progress(plan.options.progress, f"reading what is {label}", total, unit=unit) as shown:
        corpus = prepare(
            plan.prepared,
            units,
            plan.corpus,
            plan.tokenizer,
            plan.options.threads or os.cpu_count() or 1,
            lambda records, size: shown.advance(size if by == "bytes" else records),
        )
    pictures, examples = len(corpus.digests), len(corpus.examples)
    print(f"{label}: {examples:,} examples about {pictures:,} pictures", flush=True)
    for reason, count in corpus.skipped.items():
        print(f"  left out: {count:,} {reason}", flush=True)
    return corpus


def _train(plan: TrainingPlan, learned: Examples, held_out: Examples) -> None:
    from model.training.batching import Order, Shapes
    from model.training.trainer import Trainer
    from pipelines.finetune_export import export
    from pipelines.finetune_loop import Loop

    shapes = Shapes.of([each for each in (learned, held_out) if len(each)], plan.options.buckets)
    order = Order(learned.length, shapes, plan.options.batch_size, plan.options.seed)
    spec = plan.trainer(shapes, plan.steps(order))
    trainer = Trainer(spec, plan.config, plan.starting_params())
    print(
        f"training: {trainer.trained_parameters:,} parameters, {spec.optimiser.steps:,} steps, "
        f"{order.batches_per_epoch:,} an epoch, in {plan.dtype} on {trainer.devices}",
        flush=True,
    )
    Loop(plan, trainer, order, shapes, learned, held_out).run()
    for path in export(plan, trainer):
        print(f"wrote {path}")
