"""The network against what other implementations computed from the same weights."""

import json
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model import gemma, layers
from model.checkpoint import load, read_config
from model.checkpoint.hugging_face import HuggingFaceCheckpoint
from model.masks import positions_of, prefix_mask
from model.paligemma import PaliGemma

GOLDENS = Path(__file__).parents[1] / "data" / "goldens"
RESEARCH = ["bv_paligemma1", "bv_paligemma2", "bv_paligemma2_bf16", "bv_paligemma1_video"]
HUGGING_FACE = ["hf_paligemma1", "hf_paligemma1_bf16", "hf_paligemma2"]
EOS = 1

# This reference was cast to bfloat16 as a whole, its table of rotary frequencies with it, before
# it computed in float32. transformers that loads a bfloat16 checkpoint keeps the table exact, as
# we do; to compare the weights to 1e-4 the same rounding is done here.
ROUNDED_FREQUENCIES = {"hf_paligemma1_bf16"}
exact_frequencies = gemma.rotary_frequencies

EMBEDDING_PADDING = 64  # rows behind the vocabulary in these files


class Golden:
    """A golden's weights in the network, and its expected numbers by name."""

    def __init__(self, name):
        self.name = name
        folder = GOLDENS / name
        at = folder if folder.is_dir() else GOLDENS / f"{name}.npz"
        file = folder / "expected.npz" if folder.is_dir() else GOLDENS / f"{name}.expected.npz"
        with np.load(file, allow_pickle=False) as arrays:
            self.expected = dict(arrays)
        self.config, self.params = load(str(at))
        self.compiled = {}

    def __getitem__(self, name):
        return self.expected[name]

    def apply(self, method, *args):
        if method not in self.compiled:
            model = PaliGemma(self.config)
            self.compiled[method] = jax.jit(
                lambda params, *args: model.apply({"params": params}, *args, method=method),
                static_argnums=(4,) if method == "prefill" else (),
            )
        return self.compiled[method](self.params, *args)

    @cached_property
    def image_tokens(self):
        return self.apply("encode", self["images"])

    @cached_property
    def greedy(self):
        """Prefill's logits and int32[B, steps] of greedy tokens, one call a step."""
        text, steps = self["prefix_tokens"], self["greedy_tokens"].shape[1]
        text_valid = self.expected.get("prefix_mask", np.ones_like(text, bool))
        first, cache, valid = self.apply("prefill", self.image_tokens, text, text_valid, steps)
        logits, tokens = first, []
        for step in range(steps):
            tokens.append(jnp.argmax(logits, axis=-1))
            logits, cache = self.apply("extend", tokens[-1], step, valid, cache)
        return np.asarray(first), np.stack(tokens, axis=1)


@pytest.fixture(scope="module", params=RESEARCH)
def research(request):
    return Golden(request.param)


@pytest.fixture(scope="module", params=HUGGING_FACE)
def hugging_face(request):
    golden = Golden(request.param)
    with pytest.MonkeyPatch.context() as patch:
        if request.param in ROUNDED_FREQUENCIES:
            patch.setattr(gemma, "rotary_frequencies", rounded_frequencies)
        yield golden


def rounded_frequencies(channels):
    return exact_frequencies(channels).astype(jnp.bfloat16).astype(jnp.float32)


def with_padding_rows(golden):
    """The same model with the embedding's rows behind the vocabulary, which transformers keeps."""
    with HuggingFaceCheckpoint(str(GOLDENS / golden.name)) as checkpoint:
        rows = EMBEDDING_PADDING + golden.config.language.vocab_size
        table = np.empty((rows, golden.config.language.width), np.float32)
        checkpoint.read("llm/embedder/input_embedding", table)
    padded = Golden(golden.name)
    padded.image_tokens = golden.image_tokens
    padded.config = replace(
        golden.config, language=replace(golden.config.language, vocab_size=rows)
    )
    padded.params = {
        **golden.params,
        "llm": {**golden.params["llm"], "embedder": {"input_embedding": table}},
    }
    return padded


def assert_close(found, expected):
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=1e-4)


def assert_same_answers(found, expected):
    """Equal up to and including each row's first end."""
    for row, want in zip(found, expected, strict=True):
        ends = np.flatnonzero(want == EOS)
        length = ends[0] + 1 if len(ends) else len(want)
        assert row[:length].tolist() == want[:length].tolist()


def test_image_tokens_agree_with_the_research_release(research):
    assert_close(research.image_tokens, research["zimg"])


def test_logits_agree_with_the_research_release_wherever_they_mean_something(research):
    images = research["images"]
    args = (research["full_tokens"], research["full_mask"], research["full_mask_ar"])
    logits = np.asarray(research.apply("__call__", images, *args))
    image_tokens = research["zimg"].shape[1]
    meant = np.pad(research["full_mask"], ((0, 0), (image_tokens, 0)), constant_values=True)
    assert_close(logits[meant], research["full_logits"][meant])


@pytest.mark.parametrize("name", ["bv_paligemma1", "bv_paligemma2"])
def test_layers_in_a_loop_agree_too(name, monkeypatch):
    """As in every released model; those here are so shallow that they are written out."""
    monkeypatch.setattr(layers, "FEW_LAYERS", 0)
    golden = Golden(name)
    first, tokens = golden.greedy
    assert_close(first, golden["prefill_last_logits"][:, 0])
    assert_same_answers(tokens, golden["greedy_tokens"])


@pytest.mark.parametrize("name", ["bv_paligemma1", "bv_paligemma2"])
def test_one_place_alone_is_read_as_among_all(name):
    golden = Golden(name)
    network = golden.config.language
    x = jax.random.normal(jax.random.key(0), (3, 9, network.width))
    valid = jnp.arange(9) < jnp.array([[9], [4], [7]])
    text = positions_of(valid), prefix_mask(valid, jnp.zeros_like(valid, jnp.int32))
    cache = gemma.Cache.empty(network, 3, 12, jnp.float32)
    last = jnp.array([8, 3, 2])
    read = partial(gemma.Gemma(network).apply, {"params": golden.params["llm"]}, x, *text, cache)
    (whole, kept), (alone, kept_alone) = read(), read(last=last)
    assert_close(alone[:, 0], whole[jnp.arange(3), last])
    for ours, theirs in zip(kept_alone, kept, strict=True):
        assert_close(ours, theirs)


def test_prefill_and_greedy_tokens_agree_with_the_research_release(research):
    first, tokens = research.greedy
    assert_close(first, research["prefill_last_logits"][:, 0])
    assert_same_answers(tokens, research["greedy_tokens"])


def test_image_tokens_agree_with_transformers(hugging_face):
    assert_close(hugging_face.image_tokens, hugging_face["image_features"])


def test_forced_logits_agree_with_transformers(hugging_face):
    prefix, suffix = hugging_face["prefix_tokens"], hugging_face["suffix_tokens"]
    text = np.concatenate([prefix, suffix], axis=1)
    causal = np.concatenate([np.zeros_like(prefix), np.ones_like(suffix)], axis=1)
    logits = hugging_face.apply(
        "__call__", hugging_face["images"], text, np.ones_like(text, bool), causal
    )
    assert_close(logits[:, -text.shape[1] :], hugging_face["forced_logits"])


def test_prefill_logits_agree_with_transformers(hugging_face):
    assert_close(hugging_face.greedy[0], hugging_face["prefill_last_logits"])


def test_greedy_tokens_agree_with_transformers_given_its_padding_rows(hugging_face):
    """transformers may answer with a padding row; so must we, in order to compare the rest."""
    _, tokens = with_padding_rows(hugging_face).greedy
    assert_same_answers(tokens, hugging_face["greedy_tokens"])


def test_padding_rows_are_never_an_answer(hugging_face):
    _, tokens = hugging_face.greedy
    vocabulary = hugging_face.config.language.vocab_size
    assert tokens.max() < vocabulary
    for row, want in zip(tokens, hugging_face["greedy_tokens"], strict=True):
        padding = np.flatnonzero(want >= vocabulary)
        until = padding[0] if len(padding) else len(want)
        assert row[:until].tolist() == want[:until].tolist()


def test_exact_frequencies_differ_little_from_the_rounded_reference():
    golden = Golden("hf_paligemma1_bf16")
    np.testing.assert_allclose(golden.greedy[0], golden["prefill_last_logits"], rtol=0, atol=3e-3)


@pytest.mark.parametrize("name", RESEARCH)
def test_shapes_of_arrays_give_back_the_configuration(name):
    config = read_config(str(GOLDENS / f"{name}.npz"))
    written = json.loads((GOLDENS / f"{name}.json").read_text())
    assert config.vision.image_size == written["image_size"]
    assert config.vision.patch_size == written["patch_size"]
    for key, value in written["vision"].items():
        assert getattr(config.vision, key) == value
    renamed = {"attn_logits_softcap": "attention_cap", "final_logits_softcap": "final_cap"}
    for key, value in written["llm"].items():
        assert getattr(config.language, renamed.get(key, key)) == (value or None)
