"""Benign pictures to measure image filters on: photographs that packages ship, and drawn ones.

Nothing is downloaded. `packaged_photographs` reads scikit-image's and scikit-learn's own files.
`resource_pictures` reads the WebP pictures of a Qt resource file; Debian's gcompris-qt-data has
some hundreds, photographs of animals, buildings and food and pieces of paintings among them:

    apt-get download gcompris-qt-data && dpkg-deb -x gcompris-qt-data_*.deb gcompris
    ls gcompris/usr/share/gcompris-qt/rcc/*.rcc

`drawn` makes as many different pictures as asked for, the same ones for the same seed.
"""

from __future__ import annotations

import io
import re
import string
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

# Of these a part is a picture of its own; the parts of a texture or a page look alike.
PHOTOGRAPHS = [
    "astronaut",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "hubble_deep_field",
    "immunohistochemistry",
    "moon",
    "rocket",
]
TEXTURES = [
    "brick",
    "grass",
    "gravel",
    "cell",
    "clock",
    "colorwheel",
    "horse",
    "logo",
    "page",
    "retina",
    "text",
]
TILE = 170
SMALLEST = 96


def packaged_photographs() -> dict[str, Image.Image]:
    """Whole pictures by name."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    found = {name: getattr(data, name)() for name in (*PHOTOGRAPHS, *TEXTURES)}
    found["motorcycle"] = data.stereo_motorcycle()[0]
    samples = load_sample_images()
    found |= dict(zip(("china", "flower"), samples.images, strict=True))
    return {name: _rgb(pixels) for name, pixels in found.items()}


def photograph_tiles(side: int = TILE) -> dict[str, Image.Image]:
    """Parts of the photographs that don't overlap, `side` pixels each way, by name and place."""
    found = {}
    for name, image in packaged_photographs().items():
        if name in TEXTURES:
            continue
        for top in range(0, image.height - side + 1, side):
            for left in range(0, image.width - side + 1, side):
                box = (left, top, left + side, top + side)
                found[f"{name}@{left},{top}"] = image.crop(box)
    return found


def resource_pictures(path: Path) -> dict[str, Image.Image]:
    """The WebP pictures in a Qt resource file whose sides are at least 96 pixels, by place."""
    content = path.read_bytes()
    found = {}
    for match in re.finditer(rb"RIFF(.{4})WEBP", content, re.DOTALL):
        size = int.from_bytes(match[1], "little") + 8
        image = Image.open(io.BytesIO(content[match.start() : match.start() + size]))
        if min(image.size) >= SMALLEST:
            found[f"{path.stem}@{match.start()}"] = image.convert("RGB")
    return found


def drawn(count: int, seed: int = 0) -> Iterator[tuple[str, Image.Image]]:
    """Pictures of six kinds in turn, each from a generator of its own."""
    kinds = (clouds, mosaic, shapes, waves, page, chart)
    for index in range(count):
        kind = kinds[index % len(kinds)]
        yield f"{kind.__name__}-{index}", kind(np.random.default_rng([seed, index]))


def skin_fields(count: int, seed: int = 0) -> Iterator[tuple[str, Image.Image]]:
    """Fields in the colours of skin, from dark to light: plain, shaded, rounded, grained."""
    tones = np.array(
        [(61, 36, 26), (112, 70, 46), (161, 110, 75), (198, 150, 117), (240, 205, 180)]
    )
    for index in range(count):
        rng = np.random.default_rng([seed, 1, index])
        place = rng.uniform(0, len(tones) - 1)
        tone = tones[int(place)] + (place % 1) * (tones[int(place) + 1] - tones[int(place)])
        shade = 0.35 * _smooth(rng, 256, 256, rng.uniform(1.5, 3)) * (index % 4 != 0)
        grain = rng.normal(0, rng.uniform(0, 0.06), (256, 256)) * (index % 2)
        pixels = tone * (1 + shade + grain)[..., None]
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        if index % 3 == 0:
            canvas = Image.new("RGB", image.size, _colour(rng))
            mask = Image.new("L", image.size)
            _ellipses(ImageDraw.Draw(mask), rng, 255, image.size)
            canvas.paste(image, mask=mask.filter(ImageFilter.GaussianBlur(3)))
            image = canvas
        yield f"skin-{index}", image


def clouds(rng: np.random.Generator) -> Image.Image:
    """Noise whose spectrum falls as natural scenes' does, in two colours."""
    height, width = _size(rng)
    field = _smooth(rng, height, width, rng.uniform(0.8, 1.8))
    first, second = (np.array(_colour(rng), float) for _ in range(2))
    share = 1 / (1 + np.exp(-2 * field))[..., None]
    return Image.fromarray((first * share + second * (1 - share)).astype(np.uint8))


def mosaic(rng: np.random.Generator) -> Image.Image:
    """Cells around random points."""
    height, width = _size(rng)
    points = rng.uniform(0, 1, (rng.integers(12, 60), 2)) * (height, width)
    colours = rng.integers(0, 256, (len(points), 3), dtype=np.uint8)
    ys, xs = np.mgrid[:height, :width]
    squares = (ys[..., None] - points[:, 0]) ** 2 + (xs[..., None] - points[:, 1]) ** 2
    return Image.fromarray(colours[squares.argmin(axis=-1)])


def shapes(rng: np.random.Generator) -> Image.Image:
    """Ellipses, boxes and triangles on a shaded ground."""
    height, width = _size(rng)
    image = clouds(rng).resize((width, height))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.integers(4, 14)):
        xs, ys = np.sort(rng.uniform(0, width, 2)), np.sort(rng.uniform(0, height, 2))
        box = (xs[0], ys[0], xs[1], ys[1])
        draw: Callable[..., None] = (pen.ellipse, pen.rectangle)[rng.integers(2)]
        draw(box, fill=_colour(rng))
        corners = rng.uniform(0, 1, (3, 2)) * (width, height)
        pen.polygon([tuple(corner) for corner in corners], fill=_colour(rng))
    return image


def waves(rng: np.random.Generator) -> Image.Image:
    """A sum of gratings with random directions under random windows."""
    height, width = _size(rng)
    ys, xs = np.mgrid[:height, :width] / max(height, width)
    field = np.zeros((height, width, 3))
    for _ in range(rng.integers(5, 12)):
        angle, cycles = rng.uniform(0, np.pi), rng.uniform(1, 9)
        phase = xs * np.cos(angle) + ys * np.sin(angle)
        y, x, spread = rng.uniform(0, 1, 3)
        window = np.exp(-((ys - y) ** 2 + (xs - x) ** 2) / (0.05 + 0.3 * spread))
        wave = np.sin(2 * np.pi * (cycles * phase + rng.uniform())) * window
        field += wave[..., None] * rng.uniform(-1, 1, 3)
    return Image.fromarray((255 / (1 + np.exp(-2 * field))).astype(np.uint8))


def page(rng: np.random.Generator) -> Image.Image:
    """Lines of made-up words in several sizes and a framed box."""
    height, width = _size(rng)
    image = Image.new("RGB", (width, height), tuple(rng.integers(200, 256, 3).tolist()))
    pen = ImageDraw.Draw(image)
    ink, y = tuple(rng.integers(0, 120, 3).tolist()), float(rng.uniform(4, 30))
    while y < height:
        size = float(rng.choice([10, 12, 16, 28]))
        letters = rng.choice(list(string.ascii_lowercase + "    "), rng.integers(5, 60))
        pen.text((rng.uniform(4, width / 3), y), "".join(letters), fill=ink, font_size=size)
        y += size * rng.uniform(1.2, 2.5)
    corner = rng.uniform(0, 0.6, 2) * (width, height)
    pen.rectangle((*corner, *(corner + rng.uniform(30, 110, 2))), outline=ink, fill=_colour(rng))
    return image


def chart(rng: np.random.Generator) -> Image.Image:
    """Bars and a line over them."""
    height, width = _size(rng)
    image = Image.new("RGB", (width, height), tuple(rng.integers(220, 256, 3).tolist()))
    pen = ImageDraw.Draw(image)
    count = int(rng.integers(4, 16))
    step = width / count
    for index, share in enumerate(rng.uniform(0.05, 0.95, count)):
        left = index * step
        pen.rectangle((left, height * share, left + step * 0.8, height), fill=_colour(rng))
    steps = rng.normal(0, height / 8, 40).cumsum() + height / 2
    line = [(x * width / 39, float(y)) for x, y in enumerate(np.clip(steps, 0, height))]
    pen.line(line, fill=_colour(rng), width=4)
    return image


def _rgb(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    return Image.fromarray(pixels).convert("RGB")


def _size(rng: np.random.Generator) -> tuple[int, int]:
    height, width = rng.integers(200, 360, 2)
    return int(height), int(width)


def _colour(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(rng.integers(0, 256, 3).tolist())


def _smooth(rng: np.random.Generator, height: int, width: int, falloff: float) -> np.ndarray:
    """float[height,width] of unit variance whose amplitudes fall as frequency to -falloff."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.normal(size=(height, width))) / frequency**falloff
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(height, width))
    return field / field.std()


def _ellipses(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, fill: int, size: tuple[int, int]
) -> None:
    for _ in range(rng.integers(1, 5)):
        centre, radius = rng.uniform(0, 1, 2) * size, rng.uniform(30, 110, 2)
        pen.ellipse((*(centre - radius), *(centre + radius)), fill=fill)
