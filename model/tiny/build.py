"""Makes the files of the tiny checkpoint again: `python -m model.tiny.build`.

The tokenizer's bytes are the same wherever it is made; the weights may differ in the last bit
between processors, and no test expects more.
"""

from __future__ import annotations

import jax

from model.checkpoint import save_npz
from model.config import GemmaConfig, PaliGemmaConfig, VisionConfig
from model.paligemma import init_random
from model.tiny import CHECKPOINT, TOKENIZER
from model.tiny.captions import sentences
from model.tokenizer import EOS, SPECIAL_PIECES
from model.tokenizer_training import train_tokenizer

# 4 control pieces, 256 bytes, the characters and the commonest words of the captions.
PIECES = 640

SEED = 0

# PaliGemma 1 in miniature: one key and value head, the head's width its query scale.
CONFIG = PaliGemmaConfig(
    vision=VisionConfig(image_size=112, width=48, depth=2, mlp_dim=96, num_heads=4),
    language=GemmaConfig(
        width=64,
        depth=2,
        mlp_dim=128,
        num_heads=4,
        num_kv_heads=1,
        head_dim=16,
        query_scale=16**-0.5,
        vocab_size=PIECES + len(SPECIAL_PIECES),
    ),
)

# As initialised for training, a network repeats the prompt's last token whatever the picture: the
# residual stream outweighs what layers add to it. With these factors, found by trial, answers
# differ from picture to picture and from prompt to prompt, and some of them end; so a test sees
# when rows are mixed up. More words than locations come of it too.
_LOUDER = {
    "['img']['head']['kernel']": 8.0,
    "['query']['kernel']": 4.0,
    "['q_einsum']['w']": 4.0,
    "['attn_vec_einsum']['w']": 16.0,
    "['mlp']['linear']": 16.0,
}
_FIRST_WORD = 4 + 256
_LOUDER_WORDS = 1.5
_LOUDER_EOS = 3.0


def weights() -> dict:
    """Random float32 parameters of CONFIG."""

    def louder(path: tuple, value: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path)
        return value * next((f for end, f in _LOUDER.items() if name.endswith(end)), 1.0)

    params = jax.tree_util.tree_map_with_path(louder, init_random(CONFIG, SEED))
    embedder = params["llm"]["embedder"]
    embedding = embedder["input_embedding"]
    embedding = embedding.at[_FIRST_WORD:PIECES].multiply(_LOUDER_WORDS)
    embedder["input_embedding"] = embedding.at[EOS].multiply(_LOUDER_EOS)
    return params


def tokenizer() -> bytes:
    """A serialised SentencePiece model of Gemma's kind; the same bytes each time."""
    return train_tokenizer(sentences(), PIECES)


if __name__ == "__main__":
    TOKENIZER.write_bytes(tokenizer())
    save_npz(str(CHECKPOINT), weights())
