"""The shapes of every released PaliGemma, and those a checkpoint of another size may have."""

from __future__ import annotations

from dataclasses import dataclass, replace

RESOLUTIONS = (224, 448, 896)

VOCABULARY = 257_152
"""256000 pieces of Gemma's tokenizer, 1024 `<locNNNN>`, 128 `<segNNN>`."""


@dataclass(frozen=True)
class VisionConfig:
    """SigLIP So400m/14 unless told otherwise; image_size and patch_size in pixels."""

    image_size: int = 224
    patch_size: int = 14
    width: int = 1152
    depth: int = 27
    mlp_dim: int = 4304
    num_heads: int = 16

    def __post_init__(self):
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}"
            )
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is no multiple of num_heads {self.num_heads}")

    @property
    def head_dim(self) -> int:
        return self.width // self.num_heads

    @property
    def tokens(self) -> int:
        """Image tokens of one picture: 256 at 224 px, 1024 at 448, 4096 at 896."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class GemmaConfig:
    """A Gemma 1 or 2 decoder.

    query_scale: factor on the queries, head_dim ** -0.5 in all but Gemma 2 27B.
    attention_cap, final_cap: soft caps, cap * tanh(logits / cap); None where there is none.
    post_norms: norms after attention and MLP as well as before, which is what Gemma 2 adds.
    tied: the output layer is the embedding; False where fine-tuning has set them apart.
    """

    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    query_scale: float
    vocab_size: int = VOCABULARY
    attention_cap: float | None = None
    final_cap: float | None = None
    post_norms: bool = False
    tied: bool = True

    def __post_init__(self):
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads {self.num_heads} is no multiple of num_kv_heads {self.num_kv_heads}"
            )


@dataclass(frozen=True)
class PaliGemmaConfig:
    """A vision encoder and the decoder that reads its tokens."""

    vision: VisionConfig
    language: GemmaConfig

    def with_final_cap(self, cap: float | None) -> PaliGemmaConfig:
        """The same model with another soft cap on its logits.

        Gemma 2 was trained with 30, the research release of PaliGemma 2 transfers with none. The
        cap is monotonic: it changes log-probabilities and never the greedy answer.
        """
        return replace(self, language=replace(self.language, final_cap=cap))


GEMMA_2B = GemmaConfig(
    width=2048,
    depth=18,
    mlp_dim=16_384,
    num_heads=8,
    num_kv_heads=1,
    head_dim=256,
    query_scale=256**-0.5,
)

GEMMA2_2B = GemmaConfig(
    width=2304,
    depth=26,
    mlp_dim=9216,
    num_heads=8,
    num_kv_heads=4,
    head_dim=256,
    query_scale=256**-0.5,
    attention_cap=50.0,
    post_norms=True,
)

GEMMA2_9B = replace(GEMMA2_2B, width=3584, depth=42, mlp_dim=14_336, num_heads=16, num_kv_heads=8)

GEMMA2_27B = replace(
    GEMMA2_2B,
    width=4608,
    depth=46,
    mlp_dim=36_864,
    num_heads=32,
    num_kv_heads=16,
    head_dim=128,
    # Gemma 2 27B scales by width / num_heads, which in this size alone isn't head_dim.
    query_scale=144**-0.5,
)

LANGUAGE_MODELS = {
    "paligemma-3b": GEMMA_2B,
    "paligemma2-3b": GEMMA2_2B,
    "paligemma2-10b": GEMMA2_9B,
    "paligemma2-28b": GEMMA2_27B,
}

CONFIGS = {
    f"{name}-{size}": PaliGemmaConfig(VisionConfig(image_size=size), language)
    for name, language in LANGUAGE_MODELS.items()
    for size in RESOLUTIONS
}
"""Every released shape by name and pixels: `CONFIGS["paligemma2-3b-224"]`."""
