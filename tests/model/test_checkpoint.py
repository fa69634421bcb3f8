"""Checkpoints of every form that is published, and what is said about those that are no good."""

import hashlib
import importlib.util
import io
import json
import pickle
import shutil
import subprocess
import zipfile
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from model.checkpoint import (
    CheckpointError,
    Storage,
    load,
    read_config,
    save_npz,
    weights_digest,
)
from model.checkpoint.tree import flatten

ROOT = Path(__file__).parents[2]
GOLDENS = ROOT / "tests" / "data" / "goldens"
RESEARCH = GOLDENS / "bv_paligemma2.npz"
HUGGING_FACE = GOLDENS / "hf_paligemma1"
HUGGING_FACE_2 = GOLDENS / "hf_paligemma2"
KERNEL = "params/llm/layers/mlp/linear"


def arrays_of(path, dtype="float32"):
    return {name: np.asarray(leaf) for name, leaf in flatten(load(str(path), dtype)[1]).items()}


def assert_same_weights(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert ours[name].dtype == array.dtype
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


@pytest.fixture(scope="module")
def research():
    with np.load(RESEARCH, allow_pickle=False) as arrays:
        return dict(arrays)


def write_npz(path, arrays, **changes):
    kept = {name: array for name, array in (arrays | changes).items() if array is not None}
    with open(path, "wb") as file:
        np.savez(file, **kept)
    return path


@pytest.fixture
def folder(tmp_path):
    """A copy of a Hugging Face golden to spoil or rewrite."""
    return Path(shutil.copytree(HUGGING_FACE, tmp_path / "folder"))


def rewrite(folder, rename=lambda name: name, drop=(), add=None, config=None):
    """Rewrites a folder's tensors and top-level configuration."""
    tensors = load_file(folder / "model.safetensors")
    kept = {rename(name): t for name, t in tensors.items() if name not in drop}
    save_file(kept | (add or {}), folder / "model.safetensors")
    content = json.loads((folder / "config.json").read_text())
    for key, value in (config or {}).items():
        part, _, inner = key.rpartition(".")
        section = content[part] if part else content
        if value is None:
            section.pop(inner)
        else:
            section[inner] = value
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def complaint(path, storage=None):
    """What loading says is wrong, the file it names included."""
    with pytest.raises(CheckpointError) as error:
        load(str(path), **({"storage": storage} if storage else {}))
    return str(error.value)


# What loads


def test_an_npz_comes_back_as_it_was_written(research):
    assert_same_weights(
        {f"params/{name}": array for name, array in arrays_of(RESEARCH).items()}, research
    )


@pytest.mark.parametrize("stored", ["float16", "float64", "bfloat16"])
def test_any_floating_point_storage_is_converted_to_what_is_asked(tmp_path, research, stored):
    dtype = ml_dtypes.bfloat16 if stored == "bfloat16" else stored
    held = {name: array.astype(dtype) for name, array in research.items()}
    path = write_npz(tmp_path / "weights.npz", held)
    for asked in ("float32", "bfloat16"):
        found = arrays_of(path, asked)
        for name, array in held.items():
            np.testing.assert_array_equal(
                found[name.removeprefix("params/")], array.astype(np.dtype(asked))
            )


def test_an_array_stored_column_by_column_is_read_right(tmp_path, research):
    turned = {name: np.asfortranarray(array) for name, array in research.items()}
    assert turned[KERNEL].flags.f_contiguous
    path = write_npz(tmp_path / "weights.npz", turned)
    assert_same_weights(arrays_of(path), arrays_of(RESEARCH))


def test_parts_are_read_as_the_whole(tmp_path):
    whole = RESEARCH.read_bytes()
    for number, start in enumerate(range(0, len(whole), 100_003)):
        part = tmp_path / f"big.npz.part{number:02d}"
        part.write_bytes(whole[start : start + 100_003])
    expected = arrays_of(RESEARCH)
    assert_same_weights(arrays_of(tmp_path / "big.npz"), expected)
    assert_same_weights(arrays_of(tmp_path / "big.npz.part*"), expected)
    assert weights_digest(str(tmp_path / "big.npz")) == weights_digest(str(RESEARCH))


def test_what_training_keeps_beside_the_weights_is_left_alone(tmp_path, research):
    path = write_npz(tmp_path / "weights.npz", research, **{"opt/count": np.int32(3)})
    assert_same_weights(arrays_of(path), arrays_of(RESEARCH))


def test_saving_is_exact_and_gives_the_same_bytes_each_time(tmp_path):
    _, params = load(str(RESEARCH))
    for name in ("a.npz", "b.npz"):
        save_npz(str(tmp_path / name), params)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert_same_weights(arrays_of(tmp_path / "a.npz"), arrays_of(RESEARCH))
    save_npz(str(tmp_path / "c.npz"), params, "bfloat16")
    assert_same_weights(arrays_of(tmp_path / "c.npz", "bfloat16"), arrays_of(RESEARCH, "bfloat16"))


def as_first_released(name):
    return name.replace("vision_tower.", "vision_tower.vision_model.")


def as_saved_by_4_5x(name):
    renamed = name.replace("language_model.model.", "language_model.")
    return f"model.{renamed}"


@pytest.mark.parametrize(
    "rename",
    [
        as_first_released,
        as_saved_by_4_5x,
        lambda name: as_saved_by_4_5x(as_first_released(name)),
    ],
)
def test_the_layouts_of_other_releases_hold_the_same_weights(folder, rename):
    assert_same_weights(arrays_of(rewrite(folder, rename)), arrays_of(HUGGING_FACE))


EMBEDDING = "language_model.model.embed_tokens.weight"
HEAD = "language_model.lm_head.weight"


def test_a_tied_head_may_stand_beside_the_embedding_or_in_its_stead(folder):
    table = load_file(folder / "model.safetensors")[EMBEDDING]
    expected = arrays_of(HUGGING_FACE)
    assert_same_weights(arrays_of(rewrite(folder, add={HEAD: table})), expected)
    assert_same_weights(arrays_of(rewrite(folder, drop=[EMBEDDING])), expected)


def test_an_untied_head_is_kept_apart(folder):
    table = load_file(folder / "model.safetensors")[EMBEDDING]
    rewrite(folder, add={HEAD: -table}, config={"tie_word_embeddings": False})
    config, params = load(str(folder))
    embedder = params["llm"]["embedder"]
    assert not config.language.tied
    np.testing.assert_array_equal(embedder["output_embedding"], -embedder["input_embedding"])


def test_what_a_configuration_may_omit_or_have_wrong(folder):
    omitted = {"text_config.head_dim": None, "text_config.rms_norm_eps": None, "vocab_size": 7}
    expected = read_config(str(HUGGING_FACE))
    assert read_config(str(rewrite(folder, config=omitted))) == expected
    assert expected.language.vocab_size == 384


def test_scales_and_caps_come_from_the_configuration(tmp_path):
    folder = Path(shutil.copytree(HUGGING_FACE_2, tmp_path / "folder"))
    assert read_config(str(folder)).language.final_cap == 30
    content = json.loads((folder / "config.json").read_text())
    content["text_config"] |= {
        "query_pre_attn_scalar": 144,
        "attn_logit_softcapping": 40.0,
        "final_logit_softcapping": None,
    }
    (folder / "config.json").write_text(json.dumps(content))
    language = read_config(str(folder)).language
    assert (language.query_scale, language.attention_cap) == (144**-0.5, 40)
    assert language.final_cap is None


def test_files_are_reached_by_the_functions_given():
    files = {
        f"memory://hub/{path.name}": path.read_bytes()
        for path in HUGGING_FACE_2.iterdir()
        if path.name != "expected.npz"
    }
    opened = []

    def open_in_memory(path):
        opened.append(path)
        return io.BytesIO(files[path])

    memory = Storage(open_in_memory, lambda pattern: [p for p in files if p == pattern])
    _, params = load("memory://hub/", storage=memory)
    assert_same_weights(
        {name: np.asarray(leaf) for name, leaf in flatten(params).items()},
        arrays_of(HUGGING_FACE_2),
    )
    assert len([path for path in opened if path.endswith(".safetensors")]) == 5
    assert weights_digest("memory://hub", memory) == weights_digest(str(HUGGING_FACE_2))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_jax_takes_the_memory_over_without_a_copy(dtype):
    addresses = {}

    def place(_, array):
        leaf = jax.device_put(array)
        addresses[array.ctypes.data] = leaf.unsafe_buffer_pointer()
        return leaf

    load(str(RESEARCH), dtype, place=place)
    assert addresses
    assert all(host == device for host, device in addresses.items())


def test_loading_takes_little_more_memory_than_the_weights(tmp_path):
    script = ROOT / "benchmarks" / "loading_memory.py"
    spec = importlib.util.spec_from_file_location("loading_memory", script)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    config = benchmark.config_of(240)
    benchmark.write_npz(tmp_path / "weights.npz", config, "float32")
    benchmark.write_safetensors(tmp_path / "folder", config, "bfloat16")
    for path, dtype in [
        (tmp_path / "weights.npz", "float32"),
        (tmp_path / "weights.npz", "bfloat16"),
        (tmp_path / "folder", "bfloat16"),
    ]:
        found = benchmark.measure(path, dtype)
        assert found["weights"] > 100e6
        assert found["taken"] <= 1.2 * found["weights"]


# What doesn't


def test_a_file_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "none.npz"
    assert complaint(path).startswith(f"{path}: no such checkpoint")
    assert "checkpoint" in complaint(tmp_path)  # a folder without config.json


def test_a_missing_array_is_named_with_its_shape(tmp_path, research):
    path = write_npz(tmp_path / "weights.npz", research, **{KERNEL: None})
    assert complaint(path) == (
        f"{path}: has no array llm/layers/mlp/linear; expected PaliGemma's weights"
    )
    norm = "params/llm/final_norm/scale"
    path = write_npz(tmp_path / "weights.npz", research, **{norm: None})
    assert complaint(path).endswith(
        "has no array llm/final_norm/scale; expected one of shape (64,)"
    )


def test_an_array_of_another_shape_is_named_with_both(tmp_path, research):
    norm = "params/llm/layers/post_ffw_norm/scale"
    path = write_npz(tmp_path / "weights.npz", research, **{norm: np.zeros((3, 65), "f4")})
    assert complaint(path).endswith(
        "llm/layers/post_ffw_norm/scale has shape (3, 65); expected (3, 64)"
    )


def test_an_array_too_many_is_named(tmp_path, research):
    path = write_npz(tmp_path / "weights.npz", research, **{"params/llm/lora/a": np.zeros(2, "f4")})
    assert complaint(path).endswith("holds llm/lora/a, which is no part of this PaliGemma")


def test_another_models_npz_is_named_by_what_it_holds(tmp_path):
    path = write_npz(tmp_path / "weights.npz", {"encoder/kernel": np.zeros(3)})
    assert "holds no array under params/; the first array is encoder/kernel" in complaint(path)
    path = write_npz(tmp_path / "weights.npz", {"params/encoder/kernel": np.zeros(3)})
    assert "has no array img/embedding/kernel" in complaint(path)


def test_pickled_objects_are_refused_and_not_run(tmp_path, research):
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    stream = io.BytesIO()
    array = np.empty((3, 64), object)
    np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
    path = write_npz(tmp_path / "weights.npz", research, **{KERNEL: None})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{KERNEL}.npy", stream.getvalue() + pickle.dumps(Trap()))
    assert "llm/layers/mlp/linear holds object; expected float32" in complaint(path)
    assert not ran.exists()


def test_whole_numbers_are_no_weights(tmp_path, research):
    path = write_npz(tmp_path / "weights.npz", research, **{KERNEL: np.zeros((3, 96, 64), "i1")})
    assert "llm/layers/mlp/linear holds int8; expected float32" in complaint(path)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_npz_is_said_to_be(tmp_path, kept):
    whole = RESEARCH.read_bytes()
    path = tmp_path / "weights.npz"
    path.write_bytes(whole[: int(len(whole) * kept)])
    assert f"{path}: truncated, or no .npz at all" in complaint(path)


def test_a_flipped_bit_is_found_and_its_array_named(tmp_path):
    with zipfile.ZipFile(RESEARCH) as archive:
        entry = archive.getinfo("params/llm/layers/mlp/linear.npy")
    spoilt = bytearray(RESEARCH.read_bytes())
    spoilt[entry.header_offset + entry.file_size // 2] ^= 4
    path = tmp_path / "weights.npz"
    path.write_bytes(spoilt)
    assert "llm/layers/mlp/linear is truncated or damaged" in complaint(path)


@pytest.mark.parametrize("kept", [0, 5, 5000, -1])
def test_a_truncated_safetensors_file_is_said_to_be(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    said = complaint(folder)
    assert said.startswith(f"{path}: truncated")


def test_a_tensor_of_another_shape_or_missing_is_named(folder):
    name = "language_model.model.layers.1.mlp.up_proj.weight"
    rewrite(folder, add={name: np.zeros((128, 63), "f4")})
    assert complaint(folder) == f"{folder}: {name} has shape (128, 63); expected (128, 64)"
    rewrite(folder, drop=[name])
    assert complaint(folder) == f"{folder}: has no array {name}; expected one of shape (128, 64)"


def test_an_adapter_that_was_never_merged_is_named(folder):
    name = "language_model.model.layers.0.self_attn.q_proj.lora_A.weight"
    rewrite(folder, add={name: np.zeros((4, 64), "f4")})
    assert complaint(folder).endswith(f"holds {name}, which is no part of this PaliGemma")


def test_quantised_tensors_are_refused(folder):
    name = "language_model.model.norm.weight"
    rewrite(folder, add={name: np.zeros(64, "i1")})
    assert f"{name} holds I8; expected one of F64, F32, F16, BF16" in complaint(folder)


def test_a_folder_that_lacks_a_file_names_it(tmp_path):
    folder = Path(shutil.copytree(HUGGING_FACE_2, tmp_path / "folder"))
    lacking = folder / "model-00003-of-00005.safetensors"
    lacking.unlink()
    assert complaint(folder).startswith(f"{lacking}: no such file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llava"}, "model_type is 'llava'; expected 'paligemma'"),
        ({"text_config": None}, "has no text_config"),
        ({"text_config.hidden_size": None}, "text_config has no whole number hidden_size"),
        ({"text_config.model_type": "llama"}, "text_config is of 'llama'"),
        ({"text_config.rms_norm_eps": 1e-5}, "rms_norm_eps 1e-05; PaliGemma has 1e-06"),
        ({"text_config.rope_theta": 1e6}, "rope_theta 1000000.0; PaliGemma has 10000"),
        (
            {"text_config.rope_parameters": {"rope_type": "yarn"}},
            "rope_type 'yarn', rope_theta 10000; PaliGemma has 'default', 10000",
        ),
        ({"vision_config.image_size": 57}, "image_size 57 is no multiple of patch_size 14"),
    ],
)
def test_a_configuration_of_another_model_is_refused_by_its_setting(folder, change, message):
    said = complaint(rewrite(folder, config=change))
    assert said.startswith(f"{folder / 'config.json'}: ")
    assert message in said


def test_an_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(CheckpointError("a.npz", "is no good")))
    assert (str(error), error.path) == ("a.npz: is no good", "a.npz")


# Digest


def test_the_digest_is_what_sha256sum_says(folder):
    assert weights_digest(str(RESEARCH)) == hashlib.sha256(RESEARCH.read_bytes()).hexdigest()
    command = "sha256sum config.json model.safetensors | sha256sum"
    said = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True)
    assert weights_digest(str(folder)) == said.stdout.split()[0]


def test_the_digest_sees_a_changed_cap_and_a_changed_weight(folder):
    digests = {weights_digest(str(folder))}
    digests.add(weights_digest(str(rewrite(folder, config={"pad_token_id": 1}))))
    digests.add(weights_digest(str(rewrite(folder, add={EMBEDDING: np.ones((448, 64), "f4")}))))
    assert len(digests) == 3


def test_the_digest_of_nothing_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        weights_digest(str(tmp_path / "none"))
