"""What training writes, read by this project and by transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
import transformers_golden as golden

from model.checkpoint import CheckpointError, load, save_hugging_face
from model.checkpoint.hugging_face_writer import PADDING_ROWS, check_settings
from model.checkpoint.safetensors import SafetensorsFile
from model.paligemma import PaliGemma

CONFIGS = golden.configs()


@pytest.mark.parametrize("name", golden.NAMES)
def test_transformers_reads_the_folder_with_the_same_logits(name: str, tmp_path: Path):
    """The recorded logits are of a file with these very bytes."""
    config, params = CONFIGS[name], golden.weights(CONFIGS[name])
    save_hugging_face(tmp_path, config, params, "float32")
    recorded = np.load(golden.GOLDEN)
    assert golden.digest(tmp_path) == str(recorded[f"{name}/sha256"])
    asked = golden.inputs()
    tokens = asked["tokens"]
    answer = np.broadcast_to(np.arange(tokens.shape[1]) >= golden.PROMPT, tokens.shape)
    logits = jax.jit(PaliGemma(config).apply)(
        {"params": params}, asked["images"], tokens, np.ones_like(answer), answer.astype(np.int32)
    )
    ours = logits[:, config.vision.tokens :]
    np.testing.assert_allclose(ours, recorded[f"{name}/logits"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", golden.NAMES)
def test_a_written_folder_gives_back_config_and_weights(name: str, tmp_path: Path):
    config, params = CONFIGS[name], golden.weights(CONFIGS[name])
    save_hugging_face(tmp_path, config, params, "float32")
    read_config, read = load(str(tmp_path))
    assert read_config == config
    jax.tree.map(np.testing.assert_array_equal, read, params)


def test_a_folder_in_bfloat16_is_rounded_once(tmp_path: Path):
    config, params = CONFIGS["gemma2"], golden.weights(CONFIGS["gemma2"])
    save_hugging_face(tmp_path, config, params, "bfloat16")
    _, read = load(str(tmp_path), "bfloat16")
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(np.asarray(a), b.astype(ml_dtypes.bfloat16)),
        read,
        params,
    )


def test_rows_behind_the_vocabulary_are_as_unlikely_as_padding(tmp_path: Path):
    config, params = CONFIGS["gemma1"], golden.weights(CONFIGS["gemma1"])
    save_hugging_face(tmp_path, config, params, "float32")
    with open(tmp_path / "model.safetensors", "rb") as stream:
        file = SafetensorsFile("model.safetensors", stream)
        name = next(name for name in file.tensors if name.endswith("embed_tokens.weight"))
        table = np.empty(file.tensors[name].shape, np.float32)
        file.read(name, table)
    assert len(table) == config.language.vocab_size + PADDING_ROWS
    assert (table[config.language.vocab_size :] == table[0]).all()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"attention_cap": 50.0}, "attention_cap is 50.0"),
        ({"query_scale": 0.3}, "query_scale is 0.3"),
        ({"final_cap": 30.0}, "final_cap is 30.0"),
    ],
)
def test_settings_that_no_format_can_hold_are_refused_by_name(change: dict, named: str):
    config = CONFIGS["gemma1"]
    odd = replace(config, language=replace(config.language, **change))
    with pytest.raises(CheckpointError, match=named):
        check_settings("odd.json", odd)
