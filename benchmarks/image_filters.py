"""False positives of the pornography filter on benign pictures, and the image filters' speed.

    python -m benchmarks.image_filters [--extra FILE.rcc ...]

No explicit picture is used, so nothing here says how much pornography the filter finds. Speed is
that of two threads, one picture at a time each way a bundle would; give it a quiet machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.pictures import (
    drawn,
    packaged_photographs,
    photograph_tiles,
    resource_pictures,
    skin_fields,
)
from filters.contract import Filter, Item
from filters.nsfw import DOUBT, DROP, SCORE, nsfw_filter
from filters.perceptual_hash import perceptual_hash_filter
from filters.quality import blank_image_filter

WORKERS = 2
BUNDLE = 16


def items(pictures: dict[str, Image.Image]) -> list[Item]:
    return [Item(name, pixels=np.asarray(image)) for name, image in pictures.items()]


def groups(extra: Sequence[Path]) -> dict[str, list[Item]]:
    """Benign pictures by kind."""
    found = {
        "photographs and pages, whole": packaged_photographs(),
        "parts of photographs": photograph_tiles(),
        "drawn": dict(drawn(300)),
        "skin-coloured fields": dict(skin_fields(300)),
    }
    found |= {path.stem: resource_pictures(path) for path in extra}
    return {kind: items(pictures) for kind, pictures in found.items()}


def print_false_positives(kinds: dict[str, list[Item]]) -> None:
    nsfw = nsfw_filter()
    print(f"\nopen_nsfw on benign pictures: dropped from {DROP}, quarantined from {DOUBT}")
    print(f"{'kind':<30}{'n':>6}{'dropped':>9}{'quarantined':>13}{'median':>9}{'highest':>9}")
    total = np.zeros(3, int)
    for kind, pictures in kinds.items():
        scores = np.array([d.scores[SCORE] for d in nsfw.screen(pictures)])
        row = np.array([len(scores), (scores >= DROP).sum(), (scores >= DOUBT).sum()])
        row[2] -= row[1]
        total += row
        print(
            f"{kind:<30}{row[0]:>6}{row[1]:>9}{row[2]:>13}"
            f"{np.median(scores):>9.4f}{scores.max():>9.4f}"
        )
    print(f"{'together':<30}{total[0]:>6}{total[1]:>9}{total[2]:>13}")


def rate(one_filter: Filter, pictures: list[Item], seconds: float = 6) -> float:
    """Pictures a second by WORKERS threads that screen bundles side by side."""
    bundle = (pictures * BUNDLE)[:BUNDLE]
    one_filter.screen(bundle)
    end = time.perf_counter() + seconds

    def work(_: int) -> int:
        done = 0
        while time.perf_counter() < end:
            one_filter.screen(bundle)
            done += len(bundle)
        return done

    start = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        done = sum(pool.map(work, range(WORKERS)))
    return done / (time.perf_counter() - start)


def print_speed() -> None:
    photographs = [image for name, image in packaged_photographs().items() if name != "retina"]
    sizes: dict[str, Callable[[Image.Image], Image.Image]] = {
        "512 x 512": lambda image: image.resize((512, 512)),
        "1280 x 960": lambda image: image.resize((1280, 960)),
    }
    filters = {
        "open_nsfw": (nsfw_filter(), 20),
        "perceptual hash": (perceptual_hash_filter(), 300),
        "perceptual hash, 12 forms": (perceptual_hash_filter(crop=0.05), None),
        "blank": (blank_image_filter(), None),
    }
    print(f"\nPictures a second, decoded, by {WORKERS} threads")
    print(f"{'filter':<30}" + "".join(f"{size:>12}" for size in sizes) + f"{'goal':>8}")
    for name, (one_filter, goal) in filters.items():
        rates = [
            rate(one_filter, [Item("a", pixels=np.asarray(scale(p))) for p in photographs])
            for scale in sizes.values()
        ]
        print(f"{name:<30}" + "".join(f"{one:>12.0f}" for one in rates) + f"{goal or '':>8}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extra", type=Path, nargs="*", default=[], help="Qt resource files")
    options = parser.parse_args()
    print_false_positives(groups(options.extra))
    print_speed()


if __name__ == "__main__":
    main()
