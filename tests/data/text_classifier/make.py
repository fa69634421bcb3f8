"""Makes two tiny Detoxify checkpoints with random weights, exports them and records their scores.

In the environment that `filters/data/export_detoxify.py` names, from the root of the project::

    python tests/data/text_classifier/make.py

`original` is a BERT with WordPiece and 6 outputs, `unbiased` a RoBERTa with byte-level BPE and 16:
the two ways in which inputs, padding and positions differ. The scores are those of the package
detoxify itself, a text at a time. `elsewhere` is a model whose weights are in a second file.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from detoxify import Detoxify
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaTokenizer,
)

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2] / "filters" / "data"))

from export_detoxify import export  # noqa: E402

TEXTS = (
    "a dog running on the grass",
    "two people",
    "You worthless idiot, nobody asked you!",
    "a gay couple kissing at a wedding in front of the old town hall, with friends and family",
    "Ein Hund läuft über die Wiese",
    "собака бежит по траве",
    "草地上奔跑的狗 🐕",
    "",
    "the quick brown fox jumps over the lazy dog " * 6,
)
ORIGINAL = ["toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack"]
UNBIASED = [
    "toxicity",
    "severe_toxicity",
    "obscene",
    "identity_attack",
    "insult",
    "threat",
    "sexual_explicit",
]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    # Large, so that random weights give scores that differ from text to text.
    "initializer_range": 0.6,
}


def original(folder: Path) -> dict:
    letters = sorted(set("".join(TEXTS).lower()) - {" "})
    words = sorted({word for word in TEXTS[0].split() + TEXTS[-1].split() if len(word) > 1})
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*specials, *letters, *(f"##{letter}" for letter in letters), *words]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    BertTokenizer(vocab=vocabulary, do_lower_case=True).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary), max_position_embeddings=128, num_labels=6, **SIZES
    )
    config.save_pretrained(folder)
    model = BertForSequenceClassification(config)
    return checkpoint(folder, model, "BertTokenizer", ORIGINAL)


def unbiased(folder: Path) -> dict:
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        TEXTS,
        vocab_size=400,
        min_frequency=1,
        show_progress=False,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    )
    vocabulary, merges = tokenizer.save_model(str(folder))
    RobertaTokenizer(vocab=vocabulary, merges=merges).save_pretrained(folder)
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=130, num_labels=16, **SIZES
    )
    config.save_pretrained(folder)
    model = RobertaForSequenceClassification(config)
    return checkpoint(folder, model, "RobertaTokenizer", UNBIASED)


def checkpoint(folder: Path, model: torch.nn.Module, tokenizer: str, classes: list[str]) -> dict:
    """As Detoxify writes it: what to build, what to call the outputs, and the weights."""
    arguments = {
        "num_classes": model.config.num_labels,
        "model_type": str(folder),
        "model_name": type(model).__name__,
        "tokenizer_name": tokenizer,
    }
    config = {"arch": {"args": arguments}, "dataset": {"args": {"classes": classes}}}
    return {"config": config, "state_dict": model.state_dict()}


def elsewhere(folder: Path) -> None:
    """Two scores that follow the largest token id."""
    folder.mkdir(exist_ok=True)
    helper = onnx.helper
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["levels"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["levels"], ["largest"], axes=[1], keepdims=1),
        helper.make_node("MatMul", ["largest", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "elsewhere",
        [helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["B", "T"])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["B", 2])],
        [onnx.numpy_helper.from_array(np.array([[0.1, -0.1]], np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (folder / "weights.bin").unlink(missing_ok=True)  # it would be appended to
    onnx.save_model(
        model,
        folder / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )


def main() -> None:
    elsewhere(HERE / "elsewhere")
    for variant, make in (("original", original), ("unbiased", unbiased)):
        torch.manual_seed(20)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            torch.save(make(folder), folder / "tiny.ckpt")
            export(folder / "tiny.ckpt", HERE / variant)
            detoxify = Detoxify(checkpoint=str(folder / "tiny.ckpt"))
            scores = [detoxify.predict(text) for text in TEXTS]
        golden = [{"text": text, "scores": one} for text, one in zip(TEXTS, scores, strict=True)]
        (HERE / variant / "scores.json").write_text(
            json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
