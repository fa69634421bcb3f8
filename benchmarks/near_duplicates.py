"""Recall of near-duplicates by alteration, their precision, and the join of a million hashes.

    python -m benchmarks.near_duplicates [--extra FILE.rcc ...]

1,000 different pictures (parts of photographs, those of `--extra`, and drawn ones to make up the
number) and ten altered copies of each are gone through as one corpus. A picture whose hash has
quality under 50 isn't compared, and its copies count as missed.
"""

from __future__ import annotations

import argparse
import io
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from benchmarks.pictures import drawn, photograph_tiles, resource_pictures
from filters.duplicates import Duplicate, Fingerprints, find_duplicates
from filters.hash_join import DEFAULT_THRESHOLD, NearDuplicateIndex
from filters.perceptual_hash import MIN_QUALITY, hash_forms, hash_pixels

ORIGINAL = "0-original"
CROP = 0.05


def crop(image: Image.Image, left: float, top: float) -> Image.Image:
    """Without CROP of each side, of which the shares `left` and `top` are cut on those sides."""
    width, height = image.size
    cut_x, cut_y = round(width * CROP), round(height * CROP)
    x, y = round(cut_x * left), round(cut_y * top)
    return image.crop((x, y, x + width - cut_x, y + height - cut_y))


def jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file).convert("RGB")


def watermark(image: Image.Image) -> Image.Image:
    image = image.copy()
    place = (image.width * 0.5, image.height * 0.88)
    ImageDraw.Draw(image).text(place, "(c) example", fill="white", font_size=image.height * 0.07)
    return image


def anywhere(image: Image.Image) -> Image.Image:
    left, top = np.random.default_rng(image.size).uniform(0, 1, 2)
    return crop(image, left, top)


ALTERATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG at quality 30": jpeg,
    "half size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "brightness x 1.3": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "brightness x 0.7": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "5 % crop, all around": lambda image: crop(image, 0.5, 0.5),
    "5 % crop, to a corner": lambda image: crop(image, 1, 0),
    "5 % crop, anywhere": anywhere,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "a line of text over it": watermark,
}


def base_pictures(count: int, extra: list[Path]) -> dict[str, Image.Image]:
    found = photograph_tiles()
    for path in extra:
        found |= resource_pictures(path)
    found = dict(list(found.items())[:count])
    print(f"{len(found)} photographs and paintings or parts of them, {count - len(found)} drawn")
    return found | dict(drawn(count - len(found)))


def corpus(pictures: dict[str, Image.Image]) -> Iterator[tuple[str, Image.Image]]:
    """(id, picture): ids of originals come first, so that they survive."""
    for name, image in pictures.items():
        yield f"{ORIGINAL}|{name}", image
    for alteration, alter in ALTERATIONS.items():
        for name, image in pictures.items():
            yield f"{alteration}|{name}", alter(image)


def fingerprints(pictures: dict[str, Image.Image]) -> Fingerprints:
    def hashes(entry: tuple[str, Image.Image]) -> tuple[str, int, np.ndarray]:
        pixels = np.asarray(entry[1])
        return entry[0], hash_pixels(pixels).quality, hash_forms(pixels, CROP)

    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        ids, quality, forms = zip(*pool.map(hashes, corpus(pictures)), strict=True)
    print(f"{len(ids)} pictures altered and hashed in {time.perf_counter() - start:.0f} s")
    everything = np.stack(forms)
    # No two files are taken for equal here: what is measured is the perceptual hash.
    files = np.zeros((len(ids), 32), np.uint8)
    files[:, :8] = np.arange(len(ids), dtype=np.uint64)[:, None].view(np.uint8)
    return Fingerprints(ids, files, everything[:, 0], np.array(quality), everything)


def without_forms(found: Fingerprints) -> Fingerprints:
    return Fingerprints(found.ids, found.sha256, found.pdq, found.quality)


def print_recall(found: Fingerprints, count: int, threshold: int) -> None:
    low = sum(
        quality < MIN_QUALITY
        for name, quality in zip(found.ids, found.quality, strict=True)
        if name.startswith(ORIGINAL)
    )
    print(f"\nAt {threshold} bits; {low} of {count} originals have quality under {MIN_QUALITY}")
    methods = {
        "the hash alone": find_duplicates(without_forms(found), threshold),
        "mirrored and cropped forms": find_duplicates(found, threshold),
    }
    print(f"{'recall':<26}" + "".join(f"{method:>28}" for method in methods))
    for alteration in ALTERATIONS:
        shares = [right(method, alteration) / count for method in methods.values()]
        print(f"{alteration:<26}" + "".join(f"{share:>28.3f}" for share in shares))
    shares = [right(method) / count / len(ALTERATIONS) for method in methods.values()]
    print(f"{'together':<26}" + "".join(f"{share:>28.3f}" for share in shares))
    shares = [right(method) / len(method) for method in methods.values()]
    print(f"{'precision':<26}" + "".join(f"{share:>28.5f}" for share in shares))
    for duplicate in methods["mirrored and cropped forms"]:
        if not same(duplicate):
            print(f"  wrong, {duplicate.distance} bits: {duplicate.id} and {duplicate.survivor}")


def right(found: list[Duplicate], alteration: str = "") -> int:
    return sum(same(one) and one.id.startswith(alteration) for one in found)


def same(duplicate: Duplicate) -> bool:
    return duplicate.id.split("|")[1] == duplicate.survivor.split("|")[1]


def print_join(size: int, threshold: int) -> None:
    """Random hashes: those of pictures are as even, but for pictures that are near."""
    hashes = np.random.default_rng(0).integers(0, 256, (size, 32), dtype=np.uint8)
    start = time.perf_counter()
    index = NearDuplicateIndex.build(hashes, threshold)
    built = time.perf_counter()
    index.pairs()
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{size:,} hashes at {threshold} bits: {index.bands.count} bands, built in "
        f"{built - start:.1f} s, joined in {done - built:.1f} s by one thread; "
        f"{peak:.2f} GB at most so far"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extra", type=Path, nargs="*", default=[], help="Qt resource files")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--threshold", type=int, default=DEFAULT_THRESHOLD)
    parser.add_argument("--join", type=int, default=1_000_000, help="hashes to join")
    options = parser.parse_args()
    for threshold in sorted({23, options.threshold}):
        print_join(options.join, threshold)
    pictures = base_pictures(options.count, options.extra)
    print_recall(fingerprints(pictures), options.count, options.threshold)


if __name__ == "__main__":
    main()
