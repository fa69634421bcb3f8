"""Weights as a CPU holds them: the answers of float32, in half and a quarter of the memory."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from test_bits import CONFIG, PIXELS, SPEC
from test_engine import GOLDENS, expected, prompts_of
from test_small import records

from model import cpu_kernels, layers, small
from model.engine import Engine
from model.paligemma import init_random
from model.programs import EngineSpec
from model.sharding import Placement
from model.tokenizer import Tokenizer
from model.weights import DtypeUnavailable, Form, Weights

has_kernels = pytest.mark.skipif(
    cpu_kernels.missing() is not None, reason=f"no CPU kernels: {cpu_kernels.missing()}"
)
HERE = jax.local_devices()[:1]


@has_kernels
@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("name", ["bv_paligemma2_bf16", "hf_paligemma1_bf16", "hf_paligemma1"])
def test_goldens_get_the_tokens_of_float32(name, dtype):
    # The three other goldens part from float32 somewhere: docs/performance.md says which and how.
    folder = GOLDENS / name
    golden = expected(name)
    prompts = prompts_of(golden)
    spec = EngineSpec(
        str(folder if folder.is_dir() else GOLDENS / f"{name}.npz"),
        batch_size=len(prompts),
        prompt_lengths=(max(map(len, prompts)),),
        max_new_tokens=8,
    )
    answers = {}
    for each in ("float32", dtype):
        engine = Engine.load(replace(spec, dtype=each))
        answers[each] = engine.generate(engine.encode_images(golden["images"]), prompts)
    assert answers[dtype].tokens == answers["float32"].tokens
    np.testing.assert_allclose(answers[dtype].log_probs, answers["float32"].log_probs, atol=0.2)


@has_kernels
@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_layers_in_a_loop_answer_as_those_written_out(dtype, monkeypatch):
    golden = expected("hf_paligemma1")
    prompts = prompts_of(golden)
    spec = EngineSpec(
        str(GOLDENS / "hf_paligemma1"),
        dtype=dtype,
        batch_size=len(prompts),
        prompt_lengths=(max(map(len, prompts)),),
        max_new_tokens=8,
    )
    answers = []
    for few in (layers.FEW_LAYERS, 0):
        monkeypatch.setattr(layers, "FEW_LAYERS", few)
        engine = Engine.load(spec)
        answers.append(engine.generate(engine.encode_images(golden["images"]), prompts))
    assert answers[0].tokens == answers[1].tokens
    np.testing.assert_allclose(answers[0].log_probs, answers[1].log_probs, atol=1e-3)


@has_kernels
def test_the_small_model_says_in_other_numbers_what_it_says_in_float32():
    tokenizer = Tokenizer.from_bytes(small.TOKENIZER.read_bytes(), str(small.TOKENIZER))
    pixels = np.stack([record["pixels"] for record in records()])
    prompts = [tokenizer.encode_prompt("caption en")] * len(pixels)
    spec = EngineSpec(str(small.CHECKPOINT), batch_size=len(pixels), max_new_tokens=40)
    captions = {}
    for dtype in ("float32", "bfloat16", "int8"):
        engine = Engine.load(replace(spec, dtype=dtype))
        captions[dtype] = engine.generate(engine.encode_images(pixels), prompts).tokens
    for dtype in ("bfloat16", "int8"):
        same = [
            one == other for one, other in zip(captions[dtype], captions["float32"], strict=True)
        ]
        # Rounding differs between processors, and may turn one that is a near tie.
        assert sum(same) >= len(pixels) - 1


@has_kernels
@pytest.mark.parametrize(("dtype", "share"), [("bfloat16", 0.52), ("int8", 0.28)])
def test_packed_weights_take_half_and_a_quarter_of_float32(dtype, share):
    params = init_random(CONFIG, 0)
    variables = Weights.on(Placement.over(HERE), dtype).variables(params)
    sizes = [sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) for tree in (variables, params)]
    assert sizes[0] < share * sizes[1]


@has_kernels
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_shapes_are_those_of_the_variables(dtype):
    weights = Weights.on(Placement.over(HERE), dtype)
    params = jax.tree.map(lambda leaf: leaf.astype(weights.loaded_as), init_random(CONFIG, 0))
    made = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), weights.variables(params))
    said = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), weights.shapes(CONFIG))
    assert made == said


@has_kernels
def test_other_weights_are_packed_like_the_first():
    first, second = (init_random(CONFIG, seed) for seed in (0, 1))
    engine = Engine(replace(SPEC, dtype="int8"), CONFIG, first)
    engine.replace(second)
    fresh = Engine(replace(SPEC, dtype="int8"), CONFIG, second)
    given, wanted = (
        each.generate(each.encode_images(PIXELS), [[2, 5, 9], [2, 7]]) for each in (engine, fresh)
    )
    assert given.tokens == wanted.tokens
    assert given.log_probs.tolist() == wanted.log_probs.tolist()
    assert engine.used.recompilations == 0


def test_int8_says_what_it_lacks(monkeypatch):
    monkeypatch.setattr(cpu_kernels, "missing", lambda: "this processor lacks AVX-512")
    with pytest.raises(DtypeUnavailable, match=r"int8 can't be used here: .*AVX-512; use bfloat16"):
        Weights.on(Placement.over(HERE), "int8")
    assert Weights.on(Placement.over(HERE), "bfloat16").form is Form.BITS
