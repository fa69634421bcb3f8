"""Makes goldens.json: Meta's PDQ of scikit-image's pictures, by pdqhash 0.2.8.

    pip install pdqhash==0.2.8 scikit-image==0.26.0
    python make_pdq_goldens.py

pdqhash compiles C++, so the tests read what it said and don't install it.
"""

import json
from pathlib import Path

import numpy as np
import pdqhash
from skimage import data

NAMES = (
    "astronaut camera chelsea coffee coins rocket immunohistochemistry clock brick grass page text"
)

goldens = {}
for name in NAMES.split():
    pixels = getattr(data, name)()
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    bits, quality = pdqhash.compute(np.ascontiguousarray(pixels))
    goldens[name] = {"hash": np.packbits(bits).tobytes().hex(), "quality": int(quality)}
path = Path(__file__).with_name("goldens.json")
path.write_text(json.dumps(goldens, indent=1) + "\n")
