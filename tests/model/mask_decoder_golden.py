"""Random weights for the mask decoder, and what PyTorch makes of them.

`python tests/model/mask_decoder_golden.py` writes the golden; it needs PyTorch and NumPy alone
(PyTorch 1.13.1 was used). The tests make the same weights again and need no PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "data" / "mask_decoder" / "pytorch.npz"


def random_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """float32 arrays of those shapes, of a size that keeps every layer's output near 1.

    RandomState, unlike default_rng, promises the same numbers in every version of NumPy.
    """
    random = np.random.RandomState(7)
    return {name: _array(random, shapes[name]) for name in sorted(shapes)}


def _array(random: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    fan_in = np.prod(shape[1:]) if len(shape) == 4 else 4
    return (random.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)


def _write_golden() -> None:
    import torch
    from torch import nn

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(128, 128, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(128, 128, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(128, 128, 1),
            )

        def forward(self, x):
            return x + self.net(x)

    upsampling = []
    for channels in ((128, 128), (128, 64), (64, 32), (32, 16)):
        upsampling += [nn.ConvTranspose2d(*channels, 4, stride=2, padding=1), nn.ReLU()]
    decoder = nn.Sequential(
        nn.Conv2d(512, 128, 1), nn.ReLU(), Residual(), Residual(), *upsampling, nn.Conv2d(16, 1, 1)
    )
    layers = {f"decoder.{name}": tuple(w.shape) for name, w in decoder.state_dict().items()}
    weights = random_weights({"_vq_vae._embedding": (128, 512), **layers})
    decoder.load_state_dict(
        {name: torch.from_numpy(weights[f"decoder.{name}"]) for name in decoder.state_dict()}
    )
    codes = np.random.RandomState(8).randint(0, 128, size=(2, 16))
    vectors = torch.from_numpy(weights["_vq_vae._embedding"])[torch.from_numpy(codes)]
    with torch.no_grad():
        masks = decoder(vectors.reshape(-1, 4, 4, 512).permute(0, 3, 1, 2))[:, 0]
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(GOLDEN, codes=codes, masks=masks.numpy(), names=np.array(sorted(weights)))


if __name__ == "__main__":
    _write_golden()
