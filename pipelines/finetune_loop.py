"""The loop of `palipipe finetune`: step, log, evaluate, save, from where an earlier run was."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from model.training.batching import Batch, Order, Shapes, assemble
from model.training.exact_match import ExactMatch
from model.training.examples import Examples
from model.training.state import restore_state, save_state, saved_states
from model.training.trainer import Metrics, Trainer
from pipelines.finetune_log import Log, Progress, draw_losses, progress
from pipelines.finetune_plan import TrainingPlan
from transforms.errors import WorkError
from transforms.threads import ahead

AHEAD = 4
"""Batches that are put together before they are wanted."""


class Loop:
    """Runs a trainer over its steps; what it writes is in the plan's output folder."""

    def __init__(
        self,
        plan: TrainingPlan,
        trainer: Trainer,
        order: Order,
        shapes: Shapes,
        learned: Examples,
        held_out: Examples,
    ):
        self._plan = plan
        self._options = plan.options
        self._trainer = trainer
        self._order = order
        self._learned = learned
        self._held_out = held_out
        self._steps = trainer.spec.optimiser.steps
        self._evaluation = Order(held_out.length, shapes, plan.options.batch_size, None)
        self._match = self._exact_match()
        self._pending: list[tuple[Metrics, int]] = []

    def run(self) -> None:
        """Raises WorkError where the loss is no number any more."""
        step = self._restore()
        self._log = Log(self._plan.output / "log.jsonl", step)
        if step >= self._steps:
            return
        with progress(self._options.progress, "training", self._steps, step) as shown:
            self._since = time.monotonic()
            for batch in ahead(self._batches(step), AHEAD):
                self._pending.append((self._trainer.step(batch), batch.rows))
                step += 1
                self._after(step, shown)
                shown.advance(1)
                if step == self._steps:
                    return

    def _restore(self) -> int:
        """Takes up the last saved state there is; returns its step."""
        saved = saved_states(self._plan.output / "state")
        if not saved:
            return 0
        self._trainer.state = restore_state(saved[-1], self._trainer.state)
        step = int(self._trainer.state.step)
        print(f"going on from step {step:,}", flush=True)
        return step

    def _batches(self, step: int) -> Iterator[Batch]:
        for length, numbers in self._order.from_step(step):
            yield assemble(self._learned, length, numbers, self._options.accumulate)

    def _after(self, step: int, shown: Progress) -> None:
        """What is due after a step. The last step is logged, evaluated and saved in any case."""

        def due(every: int) -> bool:
            return step % every == 0 or step == self._steps

        save, evaluate = due(self._options.save_every), due(self._options.evaluate_every)
        if due(self._options.log_every) or save:
            self._note(step, shown)
        if evaluate and len(self._held_out):
            self._evaluate(step)
        if save:
            save_state(self._plan.output / "state", self._trainer.state)
        if save or evaluate:
            draw_losses(self._log.lines, self._plan.output / "loss.png")
            self._since = time.monotonic()

    def _note(self, step: int, shown: Progress) -> None:
        """A line in the log for the steps since the last one."""
        metrics = jax.device_get([metrics for metrics, _ in self._pending])
        seconds = time.monotonic() - self._since
        loss = float(np.mean([each.loss for each in metrics]))
        if not np.isfinite(loss):
            raise WorkError(
                f"the loss is {loss} before step {step}: training diverged. Nothing was saved "
                "since the last save; start in a new folder with a lower --learning-rate"
            )
        rate = self._trainer.learning_rate(step - 1)
        speed = sum(rows for _, rows in self._pending) / max(seconds, 1e-9)
        self._log.write(
            step,
            epoch=round(step / self._order.batches_per_epoch, 4),
            loss=loss,
            learning_rate=rate,
            gradient_norm=float(np.mean([each.gradient_norm for each in metrics])),
            examples_per_second=round(speed, 2),
        )
        shown.tell(f"loss {loss:.4f}, rate {rate:.2e}, {speed:,.1f} examples/s")
        self._pending.clear()
        self._since = time.monotonic()

    def _evaluate(self, step: int) -> None:
        values: dict[str, Any] = {"held_out_loss": self._trainer.evaluate(self._held_out_batches())}
        if self._match is not None:
            values["exact_match"] = self._match.share(self._trainer.params())
        self._log.write(step, **values)
        told = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in values.items())
        print(f"step {step:,}: {told}", file=sys.stderr, flush=True)

    def _held_out_batches(self) -> Iterator[Batch]:
        for length, numbers in self._evaluation.epoch(0):
            yield assemble(self._held_out, length, numbers, self._options.accumulate)

    def _exact_match(self) -> ExactMatch | None:
        count = min(self._options.exact_match, len(self._held_out))
        if not count:
            return None
        examples = self._held_out.select(np.arange(count))
        plan = self._plan
        return ExactMatch(plan.config, plan.tokenizer, examples, plan.dtype)
