"""Real photographs in many formats, modes and sizes, and the same ones in each input format."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import sklearn.datasets
from PIL import Image

from examples.build import (
    Picture,
    write_files,
    write_list,
    write_parquet,
    write_tfrecord,
    write_webdataset,
)
from transforms.planning import plan
from transforms.readers import ReaderOptions, read
from transforms.record import Record

SKIMAGE = Path(skimage.data.__file__).parent
SKLEARN = Path(sklearn.datasets.__file__).parent / "images"
FORMATS = ("webdataset", "tfrecord", "parquet", "files", "list")
ORIENTATION = 0x0112


def photograph(name: str, size: tuple[int, int] | None = None, mode: str = "RGB") -> Image.Image:
    """One that scikit-image or scikit-learn ships, by file name; at most `size` large."""
    folder = SKLEARN if (SKLEARN / name).exists() else SKIMAGE
    image = Image.open(folder / name).convert("RGB")
    if size:
        image.thumbnail(size)
    return image.convert(mode)


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, format, **options)
    return encoded.getvalue()


def deep(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, whose high byte is the picture's grey and whose low byte is too."""
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def real_pictures() -> list[Picture]:
    """Twenty-two records: every format and mode that is decoded, from 1 to 640 pixels a side."""
    small = (160, 120)
    china, flower = photograph("china.jpg", small), photograph("flower.jpg", (97, 61))
    coffee, cat = photograph("coffee.png", small), photograph("chelsea.png", (90, 90))
    astronaut = photograph("astronaut.png", (128, 128))
    alpha = astronaut.copy()
    alpha.putalpha(photograph("camera.png", alpha.size, "L").resize(alpha.size))
    floating = Image.fromarray(np.asarray(cat.convert("L"), np.float32) / 255)
    encoded: list[tuple[str, bytes]] = [
        ("jpg", (SKLEARN / "china.jpg").read_bytes()),
        ("jpg", (SKIMAGE / "rocket.jpg").read_bytes()),
        ("png", (SKIMAGE / "coins.png").read_bytes()),
        ("gif", (SKIMAGE / "no_time_for_that_tiny.gif").read_bytes()),
        ("jpeg", encode(china, "JPEG", progressive=True)),
        ("jpg", encode(flower, "JPEG", exif=turned(6))),
        ("jpg", encode(coffee.convert("CMYK"), "JPEG")),
        ("jpg", encode(coffee.convert("L"), "JPEG")),
        ("png", encode(astronaut, "PNG")),
        ("png", encode(alpha, "PNG")),
        ("png", encode(alpha.convert("LA"), "PNG")),
        ("png", encode(flower.convert("P"), "PNG")),
        ("png", encode(flower.convert("1"), "PNG")),
        ("png", encode(deep(cat), "PNG")),
        ("png", encode(china.resize((1, 1)), "PNG")),
        ("webp", encode(cat, "WEBP", lossless=True)),
        ("gif", encode(flower, "GIF")),
        ("bmp", encode(china, "BMP")),
        ("tiff", encode(coffee, "TIFF", compression="tiff_lzw")),
        ("tif", encode(deep(astronaut), "TIFF")),
        ("tif", encode(floating, "TIFF")),
        ("avif", encode(flower, "AVIF")),
    ]
    return [
        Picture(
            f"{number:04d}",
            suffix,
            data,
            f"caption {number}, naïve 写真",
            {"question": f"what is it, {number}?", "number": number, "score": number / 4},
        )
        for number, (suffix, data) in enumerate(encoded)
    ]


def write_corpus(folder: Path, pictures: list[Picture], format: str) -> str:
    """Writes the pictures in an input format, as two shards where it has shards.

    Returns the pattern that names them.
    """
    target = folder / format
    target.mkdir(parents=True)
    half = len(pictures) // 2
    parts = enumerate((pictures[:half], pictures[half:]))
    if format == "webdataset":
        for shard, part in parts:
            write_webdataset(target / f"{shard}.tar", part)
        return f"{target}/*.tar"
    if format == "tfrecord":
        for shard, part in parts:
            write_tfrecord(target / f"a.tfrecord-{shard:05d}-of-00002", part)
        return f"{target}/a.tfrecord-*"
    if format == "parquet":
        for shard, part in parts:
            write_parquet(target / f"{shard}.parquet", part, rows_per_group=3)
        return f"{target}/*.parquet"
    write_files(target / "images", pictures)
    if format == "files":
        return f"{target}/images"
    write_list(target / "list.jsonl", pictures, "images")
    return f"{target}/list.jsonl"


def records_of(pattern: Any, format: str | None = None, **options: Any) -> list[Record]:
    """Every record of a pattern's units, as a run would read them."""
    chosen = ReaderOptions(**options)
    units = plan([str(pattern)], format, chosen)
    return [record for unit in units for record in read(unit, chosen)]


def problems(records: list[Record]) -> list[str | None]:
    """Each record's kind of error; None where its image could be had."""
    for record in records:
        assert (record.encoded is None) == (record.error is not None)
    return [record.error.kind if record.error else None for record in records]
