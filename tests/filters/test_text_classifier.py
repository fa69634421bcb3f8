"""An operator's Detoxify checkpoint: real ONNX files and tokenizers, with the package's scores."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import nsfw
from filters.config import FilterConfigError, parse
from filters.contract import BackendDown, Item, OtherScorerError, Subject, Verdict
from filters.onnx import file_digest
from filters.text_classifier import TextClassifier, padded, text_classifier_filter
from filters.text_classifier_config import DROPPED, VARIANTS, detoxify_config

DATA = Path(__file__).parents[1] / "data" / "text_classifier"
MARK = "quixotryl"


def config(folder="original", /, **changes):
    options = {
        "path": DATA / folder / "model.onnx",
        "tokenizer": DATA / folder / "tokenizer.json",
        "variant": folder,
        "max_tokens": 128,
    }
    return detoxify_config(**(options | changes))


def weights(variant="original") -> str:
    return file_digest(DATA / variant / "model.onnx")


def golden(variant) -> dict[str, dict[str, float]]:
    lines = json.loads((DATA / variant / "scores.json").read_text(encoding="utf-8"))
    return {line["text"]: line["scores"] for line in lines}


def english(texts) -> list[Item]:
    return [Item(str(row), text, "en") for row, text in enumerate(texts)]


def numbers(scores) -> np.ndarray:
    return np.array([list(one.values.values()) for one in scores])


@pytest.mark.parametrize("variant", ["original", "unbiased"])
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_scores_equal_those_of_the_package_in_batches_of_any_size(variant, batch):
    expected = golden(variant)
    scores = TextClassifier(config(variant, batch=batch)).score(english(expected))
    assert [list(one.values) for one in scores] == [list(one) for one in expected.values()]
    wanted = [list(one.values()) for one in expected.values()]
    np.testing.assert_allclose(numbers(scores), wanted, rtol=0, atol=1e-5)


@given(st.lists(st.sampled_from(list(golden("unbiased"))), min_size=1, max_size=12), st.data())
@settings(max_examples=30, deadline=None)
def test_a_text_scores_alike_in_any_company_and_place(texts, data):
    scorer = TextClassifier(config("unbiased", batch=data.draw(st.integers(1, 5))))
    wanted = [list(golden("unbiased")[text].values()) for text in texts]
    np.testing.assert_allclose(numbers(scorer.score(english(texts))), wanted, rtol=0, atol=1e-5)


def test_texts_are_filled_up_with_the_tokenizers_own_padding_and_masked():
    feeds = padded([[5, 6, 7], [8]], 1)
    assert feeds["input_ids"].tolist() == [[5, 6, 7], [8, 1, 1]]
    assert feeds["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_what_cannot_be_read_has_no_score_and_disturbs_no_other():
    texts = list(golden("original"))
    items = [
        Item("a", texts[0], "en-GB"),
        Item("b", texts[1], "de"),
        Item("c", None, "en"),
        Item("d", "word " * 200, "en"),
        Item("e", "ja", None),
        Item("f", texts[2], "en"),
    ]
    scores = TextClassifier(config()).score(items)
    assert [one.missing for one in scores] == [
        None,
        "language_de",
        "no_text",
        "text_too_long",
        "language_und",
        None,
    ]
    assert all(not one.values for one in scores[1:5])
    assert scores[5].values == pytest.approx(golden("original")[texts[2]], abs=1e-5)


def test_only_unread_texts_need_no_model_call():
    scores = TextClassifier(config()).score([Item("a", "ein Hund", "de")])
    assert scores[0].missing == "language_de"
    assert TextClassifier(config()).score([]) == []


def test_a_text_of_exactly_the_most_tokens_is_scored():
    text = "the dog runs"
    length = next(n for n in range(1, 99) if not missing(text, n))
    assert missing(text, length - 1) == "text_too_long"
    assert missing(text + " a", length) == "text_too_long"


def missing(text, max_tokens):
    return TextClassifier(config(max_tokens=max_tokens)).score(english([text]))[0].missing


def test_each_variant_reads_the_languages_it_was_trained_on():
    files = {"path": DATA / "unbiased/model.onnx", "tokenizer": DATA / "unbiased/tokenizer.json"}
    scorer = TextClassifier(config("multilingual", **files))
    items = [Item(tag, "texto", tag) for tag in ("en", "es", "fr", "it", "pt", "ru", "tr", "de")]
    assert [one.missing for one in scorer.score(items)] == [None] * 7 + ["language_de"]
    und = TextClassifier(config(languages=["en", "und"])).score([Item("a", "ja")])
    assert und[0].missing is None


def test_the_label_that_reaches_its_threshold_drops():
    text = next(iter(golden("original")))
    chosen = {"threat": 0.99, "insult": 0.6}
    one = text_classifier_filter(config(thresholds=chosen, sha256=weights()), Subject.OUTPUT, "tox")
    decision = one.screen(english([text]))[0]
    assert (decision.verdict, decision.reason, decision.threshold) == (Verdict.DROP, "insult", 0.6)
    assert (decision.filter, decision.subject, decision.scorer) == ("tox", "output", "detoxify")
    assert decision.score == pytest.approx(golden("original")[text]["insult"], abs=1e-5)
    assert decision.version.startswith(f"sha256:{weights()}-")


@pytest.mark.parametrize("variant", VARIANTS)
def test_labels_that_rise_where_a_group_is_named_drop_nothing_by_default(variant):
    thresholds = config(variant, path="m", tokenizer="t").thresholds
    assert set(thresholds) == set(DROPPED)
    assert not {"toxicity", "identity_attack"} & set(thresholds)


def test_scores_of_other_weights_or_another_tokenizer_are_not_decided_on_again():
    text = english(["a dog"])
    stored = text_classifier_filter(config()).screen(text)[0]
    strict = {"insult": 0.001}
    same = text_classifier_filter(config(thresholds=strict, sha256=weights()))
    assert same.redecide(stored).verdict is Verdict.DROP
    for change in (
        {"path": DATA / "unbiased/model.onnx"},
        {"tokenizer": DATA / "unbiased/tokenizer.json"},
        {"activation": "none"},
    ):
        with pytest.raises(OtherScorerError):
            text_classifier_filter(config(**change)).redecide(stored)


def test_a_filter_travels_to_workers_after_use():
    one = text_classifier_filter(config())
    before = one.screen(english(["a dog"]))
    assert pickle.loads(pickle.dumps(one)).screen(english(["a dog"])) == before


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"sha256": "0" * 64}, "the config asks for 0000"),
        ({"tokenizer_sha256": "0" * 64}, "change tokenizer_sha256"),
        ({"path": "none.onnx"}, "none.onnx: no such file"),
        ({"tokenizer": "none.json"}, "none.json: no such file"),
        ({"tokenizer": DATA / "original/scores.json"}, "not a tokenizer.json"),
        ({"path": DATA / "original/scores.json"}, "onnxruntime can't load it"),
        ({"path": DATA / "elsewhere/model.onnx"}, "its weights are in another file"),
        ({"path": nsfw.weights()}, "a classifier of texts has input_ids"),
        ({"variant": "unbiased"}, r"an output \(1, 6\), where 16 scores a text are expected"),
        ({"labels": {9: "insult"}}, "name its own variant or labels"),
    ],
)
def test_what_is_not_the_model_asked_for_stops_the_run(changes, problem):
    one = text_classifier_filter(config(**changes))
    with pytest.raises(BackendDown, match=f"filter toxicity: .*{problem}") as caught:
        one.screen(english([f"a {MARK}"]))
    assert MARK not in "".join(traceback.format_exception(caught.value))


def wordless(tmp_path) -> Path:
    """A tokenizer that fails on every word but `dog`."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"[PAD]": 0, "dog": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


@pytest.mark.parametrize("broken", ["other tokenizer", "no unknown word", "too few positions"])
def test_a_failure_is_an_error_of_that_text_alone_and_says_nothing_of_it(
    broken, tmp_path, caplog, capfd
):
    caplog.set_level(logging.DEBUG)
    changes, bad, good = {
        "other tokenizer": ({"tokenizer": DATA / "unbiased/tokenizer.json"}, MARK + " 狗", None),
        "no unknown word": ({"tokenizer": wordless(tmp_path)}, MARK, "dog"),
        "too few positions": ({"max_tokens": 512}, f"{MARK} " * 20, "dog"),
    }[broken]
    one = text_classifier_filter(config(**changes))
    with pytest.raises(ValueError, match=r"can't (read|score)") as caught:
        one.scorer.score(english([bad]))
    decisions = one.screen(english([bad, good]))
    assert decisions[0].verdict is Verdict.ERROR
    assert decisions[1].verdict is not Verdict.ERROR
    said = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(decisions)
    assert MARK not in said + "".join(capfd.readouterr())


@pytest.mark.parametrize("text", ["\ud800 broken", "\x00", "", "[SEP][PAD]", "@" * 20_000])
def test_odd_texts_have_a_decision(text):
    for variant in ("original", "unbiased"):
        decision = text_classifier_filter(config(variant)).screen(english([text]))[0]
        assert decision.verdict is not Verdict.ERROR


def yaml(**changes) -> str:
    options = {
        "backend": "detoxify",
        "path": str(DATA / "original/model.onnx"),
        "tokenizer": str(DATA / "original/tokenizer.json"),
        "variant": "original",
    }
    return json.dumps({"filters": {"toxicity": options | changes}})


def test_a_config_file_names_it():
    labels = {"0": "rude", "4": "insult"}
    screening = parse(
        yaml(
            subjects=["text", "output"],
            labels=labels,
            thresholds={"rude": 0.1},
            sha256=weights(),
            languages=["en"],
            batch=4,
        ),
        "mine.yaml",
    ).build()
    assert [one.subject for one in (*screening.text, *screening.output)] == ["text", "output"]
    decision = screening.text[0].screen(english(["a dog running on the grass"]))[0]
    assert (decision.verdict, decision.reason) == (Verdict.DROP, "rude")
    assert list(decision.scores) == ["rude", "insult"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"threshold": {}}, "'threshold' is unknown; did you mean thresholds"),
        ({"backend": "detoxfy"}, "'detoxfy' is unknown; did you mean detoxify"),
        ({"variant": "multilingal"}, "'multilingal' is unknown; did you mean multilingual"),
        ({"activation": "sigmod"}, "'sigmod' is unknown; did you mean sigmoid"),
        ({"thresholds": {"insults": 0.5}, "sha256": "0" * 64}, "did you mean insult"),
        ({"thresholds": {"insult": 0.5}}, "belong to the weights .* name sha256 as well"),
        ({"thresholds": {"insult": 50}, "sha256": "0" * 64}, "above 0 and at most 1"),
        ({"thresholds": {"insult": "high"}, "sha256": "0" * 64}, "must be a number"),
        ({"thresholds": {}, "sha256": "0" * 64}, "a policy without thresholds"),
        ({"thresholds": 0.5, "sha256": "0" * 64}, "expected a label and its lowest score"),
        ({"labels": {"0": "happy"}}, "a policy without thresholds"),
        ({"labels": ["insult"]}, "expected an index and its name"),
        ({"labels": {"0": "insult", "1": "insult"}}, "a name of its own"),
        ({"variant": None}, "name a variant"),
        ({"languages": "en"}, r"expected a list such as \[en\]"),
        ({"languages": ["english"]}, "must be a primary subtag"),
        ({"sha256": "abc"}, "must be 64 hexadecimal digits"),
        ({"max_tokens": 0}, "max_tokens 0 must be at least 1"),
        ({"batch": "many"}, "batch 'many' must be at least 1"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(changes, problem):
    with pytest.raises(FilterConfigError, match=problem):
        parse(yaml(**changes), "mine.yaml").build()
