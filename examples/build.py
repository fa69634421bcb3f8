"""Writes the example corpus: the same twelve photographs in each of the five input formats.

Run ``python -m examples.build`` in the project's folder; it needs scikit-image. The pictures'
sources and licences are in ``examples/README.md``.
"""

from __future__ import annotations

import csv
import io
import json
import random
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from transforms.readers.example import encode
from transforms.readers.tfrecord import frame

HERE = Path(__file__).parent
LONG_SIDE = 288
SEED = 2
# scikit-image's name, caption, question
PHOTOGRAPHS = (
    ("astronaut", "an astronaut in an orange suit in front of a flag", "What is the woman?"),
    ("brick", "a wall of bricks", "What is the wall made of?"),
    ("camera", "a man with a camera on a tripod", "What does the man look through?"),
    ("chelsea", "the face of a tabby cat", "What animal is this?"),
    ("clock", "a wall clock, blurred by motion", "What is on the wall?"),
    ("coffee", "a cup of espresso on a red saucer", "What colour is the saucer?"),
    ("coins", "four rows of ancient coins", "How many rows are there?"),
    ("grass", "grass seen from above", "What grows here?"),
    ("gravel", "grey gravel", "What is on the ground?"),
    ("hubble_deep_field", "hundreds of galaxies in deep space", "What are the bright spots?"),
    ("retina", "the retina of a human eye", "Which organ is this?"),
    ("rocket", "a rocket on its launch pad at dusk", "What stands between the towers?"),
)


@dataclass(frozen=True)
class Picture:
    """One record, before it is written in some format; `data` is a file of type `suffix`."""

    name: str
    suffix: str
    data: bytes
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        return f"{self.name}.{self.suffix}"


def write_webdataset(path: Path, pictures: Iterable[Picture]) -> None:
    """A tar, compressed as its name says, the same bytes for the same pictures."""
    mode: Any = {".tgz": "w:gz", ".gz": "w:gz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as tar:
        for picture in pictures:
            for suffix, data in _members(picture):
                member = tarfile.TarInfo(f"{picture.name}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def write_tfrecord(path: Path, pictures: Iterable[Picture]) -> None:
    """Plain TFRecord of tf.train.Example with TFDS's names: image, text, and the metadata's."""
    path.write_bytes(b"".join(frame(example(picture)) for picture in pictures))


def example(picture: Picture) -> bytes:
    """The picture as an encoded tf.train.Example."""
    values = {"image": picture.data, "text": picture.text.encode()}
    for name, value in picture.metadata.items():
        values[name] = value.encode() if isinstance(value, str) else value
    return encode({name: [value] for name, value in values.items()})


def write_parquet(
    path: Path, pictures: Sequence[Picture], rows_per_group: int = 1000, plain: bool = False
) -> None:
    """Images as Hugging Face's struct, or as a column of bytes; text and metadata beside them."""
    images: list[Any] = [picture.data for picture in pictures]
    kind: pa.DataType = pa.binary()
    if not plain:
        images = [{"bytes": data, "path": None} for data in images]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "image": pa.array(images, kind),
        "text": pa.array([picture.text for picture in pictures]),
    }
    for name in pictures[0].metadata:
        columns[name] = pa.array([picture.metadata[name] for picture in pictures])
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group, write_page_checksum=True)


def write_files(folder: Path, pictures: Iterable[Picture]) -> None:
    """Each picture as a file, its text and metadata beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        for suffix, data in _members(picture):
            (folder / f"{picture.name}.{suffix}").write_bytes(data)


def write_list(path: Path, pictures: Sequence[Picture], images: str) -> None:
    """A CSV or JSON lines of the pictures, which lie in the folder `images` seen from the list."""
    rows = [
        {"uri": f"{images}/{picture.file_name}", "text": picture.text, **picture.metadata}
        for picture in pictures
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def photographs() -> Iterator[Picture]:
    """The twelve photographs, scaled down, as JPEG, PNG and WebP by turns in a seeded order."""
    from skimage import data  # only this script needs it

    formats = [("jpg", "JPEG"), ("webp", "WEBP"), ("png", "PNG")] * 4
    random.Random(SEED).shuffle(formats)
    for (name, caption, question), (suffix, encoding) in zip(PHOTOGRAPHS, formats, strict=True):
        picture = Image.fromarray(getattr(data, name)())
        picture.thumbnail((LONG_SIDE, LONG_SIDE))
        if encoding == "PNG":
            picture = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
        encoded = io.BytesIO()
        picture.save(encoded, encoding, **({} if encoding == "PNG" else {"quality": 80}))
        yield Picture(name, suffix, encoded.getvalue(), caption, {"question": question})


def _members(picture: Picture) -> Iterator[tuple[str, bytes]]:
    yield picture.suffix, picture.data
    yield "json", json.dumps(picture.metadata).encode()
    yield "txt", picture.text.encode()


def main() -> None:
    pictures = list(photographs())
    for folder in ("webdataset", "tfrecord", "parquet", "list"):
        (HERE / folder).mkdir(exist_ok=True)
    for shard, part in enumerate((pictures[:6], pictures[6:])):
        number = f"{shard:05d}-of-00002"
        write_webdataset(HERE / "webdataset" / f"photographs-{number}.tar", part)
        write_tfrecord(HERE / "tfrecord" / f"photographs.tfrecord-{number}", part)
        write_parquet(HERE / "parquet" / f"photographs-{number}.parquet", part)
    write_files(HERE / "files", pictures)
    write_list(HERE / "list" / "photographs.csv", pictures, "../files")


if __name__ == "__main__":
    main()
