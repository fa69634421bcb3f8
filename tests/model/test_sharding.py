"""The same answers on several devices as on one, each holding its part of the weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import sharded_engines

from model.checkpoint.tree import flatten
from model.config import CONFIGS
from model.decoding import EOS
from model.errors import ModelError
from model.paligemma import abstract_params
from model.sharding import DATA, MODEL, SPLIT_AXIS, Placement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found():
    """What engines on two and four devices answered, by case."""
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, sharded_engines.__file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = map(json.loads, done.stdout.splitlines())
    return dict(zip(sharded_engines.CASES, lines, strict=True))


def golden_of(case):
    path = sharded_engines.GOLDENS / f"{case[0]}.expected.npz"
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def cut(tokens):
    """A golden's row before its EOS."""
    ends = np.flatnonzero(tokens == EOS)
    return tokens[: ends[0]].tolist() if len(ends) else tokens.tolist()


EXACT = [case for case in sharded_engines.CASES if not case[0].endswith("bf16")]


@pytest.mark.parametrize("case", EXACT, ids=str)
def test_answers_are_the_references_however_the_devices_share_the_work(case, found):
    golden, answers = golden_of(case), found[case]
    np.testing.assert_allclose(answers["image_tokens"], golden["zimg"], atol=1e-4)
    kind = "beam3_tokens" if case[3] == "beam" else "greedy_tokens"
    assert answers["tokens"] == [cut(row) for row in golden[kind]]
    if case[3] == "greedy":
        ends = [len(row) + 1 for row in answers["tokens"]]
        expected = [row[:end].sum() for row, end in zip(golden["greedy_logp"], ends, strict=True)]
        np.testing.assert_allclose(answers["log_probs"], expected, atol=1e-4)


def test_bfloat16_is_split_too(found):
    case = ("bv_paligemma2_bf16", 2, 2, "greedy")
    golden = golden_of(case)
    first = [row[0] for row in found[case]["tokens"]]
    assert first == golden["greedy_tokens"][:, 0].tolist()
    np.testing.assert_allclose(found[case]["log_probs"], golden["greedy_logp"].sum(1), atol=0.3)


@pytest.mark.parametrize("case", sharded_engines.CASES, ids=str)
def test_every_device_works_and_nothing_is_compiled_after_loading(case, found):
    assert found[case]["devices"] == case[1]
    assert found[case]["recompilations"] == 0


def test_a_device_holds_its_part_of_the_weights(found):
    shares = {case: answers["share_of_weights"] for case, answers in found.items()}
    apart = shares["bv_paligemma2", 4, 2, "greedy", "apart"]
    shares = {case[:3]: share for case, share in shares.items() if "apart" not in case}
    assert shares["bv_paligemma1", 4, 1] == 1
    # One head for keys and values, and two in the vision tower, can't be split in four.
    assert shares["bv_paligemma1", 4, 4] < 0.5
    assert shares["bv_paligemma2", 2, 2] < 0.6
    assert shares["bv_paligemma2", 4, 2] == shares["bv_paligemma2", 2, 2] == apart


def placement(data, model):
    """Of devices that needn't exist to be asked about."""
    return Placement(jax.sharding.AbstractMesh((data, model), (DATA, MODEL)))


@pytest.mark.parametrize(
    ("name", "chips", "at_most"),
    [
        ("paligemma2-3b-224", 2, 0.51),
        ("paligemma2-10b-224", 4, 0.26),
        ("paligemma2-28b-224", 8, 0.13),
        ("paligemma-3b-224", 8, 0.14),
    ],
)
def test_weights_of_released_models_are_split_evenly(name, chips, at_most):
    whole = own = 0
    for path, leaf in flatten(abstract_params(CONFIGS[name])).items():
        sharding = placement(1, chips).of_parameter(path, leaf.shape)
        whole += leaf.size
        own += np.prod(sharding.shard_shape(leaf.shape))
    assert own / whole < at_most


def test_every_rule_is_of_a_parameter_that_exists():
    placed = placement(1, 2)
    names = flatten(abstract_params(CONFIGS["paligemma2-3b-224"]))
    split = {n for n, leaf in names.items() if MODEL in placed.of_parameter(n, leaf.shape).spec}
    assert len(split) == 3 * 2 + 1 + 2 + 1 + 1 + 5
    assert len(SPLIT_AXIS) == 12


def test_a_single_head_of_keys_and_values_is_on_every_device():
    name = "llm/layers/attn/kv_einsum/w"
    assert placement(1, 2).of_parameter(name, (18, 2, 1, 2048, 256)).is_fully_replicated
    assert not placement(1, 2).of_parameter(name, (26, 2, 4, 2304, 256)).is_fully_replicated


def test_devices_that_cannot_be_grouped_are_refused():
    with pytest.raises(ModelError, match="--tensor-parallel 3 with 1 chips"):
        Placement.over(jax.local_devices()[:1], 3)
