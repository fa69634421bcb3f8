"""PaliGemma 3B by transformers, as a process that is asked for timings.

Run by benchmarks.cpu_engine and benchmarks.gpu_engine with a Python that has torch and
transformers, and torch's name of the device. Reads lines of `batch new_tokens` and answers each
with the seconds that one call of `generate` took.
"""

import sys
import time

import torch
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

IMAGE_TOKEN = 257_152
IMAGE_TOKENS = 256
PROMPT_TOKENS = 8

CONFIG = {
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 224,
        "projection_dim": 2048,
        "vision_use_head": False,
    },
    "text_config": {
        "model_type": "gemma",
        "hidden_size": 2048,
        "intermediate_size": 16384,
        "num_hidden_layers": 18,
        "num_attention_heads": 8,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "vocab_size": 257_216,
        "hidden_activation": "gelu_pytorch_tanh",
    },
    "image_token_index": IMAGE_TOKEN,
    "projection_dim": 2048,
    "hidden_size": 2048,
}


def model(device: str) -> PaliGemmaForConditionalGeneration:
    """Random bfloat16 weights, small enough for every sum to stay finite."""
    config = PaliGemmaConfig(**CONFIG, attn_implementation="sdpa")
    with torch.device("meta"):
        empty = PaliGemmaForConditionalGeneration(config)
    filled = empty.to(torch.bfloat16).to_empty(device=device)
    block = torch.randn(1 << 22, device=device) * 0.02
    for weight in filled.parameters():
        flat = weight.data.view(-1)
        for start in range(0, flat.numel(), block.numel()):
            piece = flat[start : start + block.numel()]
            piece.copy_(block[: piece.numel()])
    frequencies = 10_000 ** -(torch.arange(0, 256, 2) / 256)
    for name, buffer in filled.named_buffers():
        if name.endswith("position_ids"):
            buffer.copy_(torch.arange(buffer.shape[-1]).expand(buffer.shape))
        elif name.endswith("inv_freq"):
            buffer.copy_(frequencies)
        elif name.endswith("embed_scale"):
            buffer.fill_(2048**0.5)
        else:
            raise SystemExit(f"a buffer of which nothing is known: {name}")
    filled.tie_weights()
    return filled.eval()


def wait(device: torch.device) -> None:
    """For what was asked of a GPU, which answers before it is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(network: PaliGemmaForConditionalGeneration, batch: int, new_tokens: int) -> float:
    """For one call of `generate`, encoding of the pictures included."""
    prompt = torch.randint(3, 1000, (batch, PROMPT_TOKENS))
    ids = torch.cat([torch.full((batch, IMAGE_TOKENS), IMAGE_TOKEN), prompt], dim=1)
    ids = ids.to(network.device)
    pixels = (torch.rand(batch, 3, 224, 224) * 2 - 1).to(network.device, torch.bfloat16)
    wait(network.device)
    began = time.perf_counter()
    with torch.inference_mode():
        written = network.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=pixels,
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            do_sample=False,
        )
    wait(network.device)
    if written.shape[1] != ids.shape[1] + new_tokens:
        raise SystemExit(f"{written.shape[1] - ids.shape[1]} tokens were written")
    return time.perf_counter() - began


if __name__ == "__main__":
    torch.manual_seed(0)
    network = model(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        print(seconds(network, *map(int, line.split())), flush=True)
