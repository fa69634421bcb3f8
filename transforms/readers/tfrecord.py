"""TFRecord shards of ``tf.train.Example``, plain or gzip.

A record is framed as ``uint64 length, uint32 masked CRC32C of length, data, uint32 masked CRC32C
of data``, little-endian (tensorflow/core/lib/io/record_writer.h). Feature names default to those
of TensorFlow Datasets: ``image``, or ``image/encoded`` as the TF object detection sets have it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

import google_crc32c

from transforms.errors import UnitError, UserError
from transforms.readers.example import features
from transforms.readers.naming import Naming
from transforms.readers.options import ReaderOptions
from transforms.readers.problem import ProblemError
from transforms.readers.streams import ShardStream, open_shard
from transforms.readers.values import decoded, from_bytes, jsonable, note, take_text
from transforms.record import Record
from transforms.unit import Unit

IMAGE_FEATURES = ("image", "image/encoded")
_HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")
_MASK = 0xA282EAD8
_LOOKED_AT = 20


def masked(crc: int) -> int:
    """The CRC as it is stored: rotated right by 15 bits, plus a constant."""
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """One record as a shard holds it."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (
            length,
            _CRC.pack(masked(google_crc32c.value(length))),
            data,
            _CRC.pack(masked(google_crc32c.value(data))),
        )
    )


def frames(stream: ShardStream, limit: int) -> Iterator[bytes | ProblemError]:
    """Each record's data, or what is wrong with it.

    After bad_checksum or too_large_bytes the next record follows; truncated_shard and
    corrupt_shard come last.
    """
    while header := stream.read(_HEADER.size):
        if not _is_header(header):
            yield _end(stream, len(header) < _HEADER.size, "a record's length has a bad checksum")
            return
        length = _HEADER.unpack(header)[0]
        crc, size, data = 0, 0, bytearray()
        for chunk in stream.skip(length):
            crc = google_crc32c.extend(crc, chunk)
            size += len(chunk)
            if length <= limit:
                data += chunk
        trailer = stream.read(_CRC.size)
        if size < length or len(trailer) < _CRC.size:
            yield _end(stream, True, "")
            return
        if masked(crc) != _CRC.unpack(trailer)[0]:
            yield ProblemError("bad_checksum", "the record's data don't match their CRC32C")
        elif length > limit:
            yield ProblemError("too_large_bytes", f"the record holds more than {limit} bytes")
        else:
            yield bytes(data)
    if stream.damage:
        yield _end(stream, True, "")


def _is_header(header: bytes) -> bool:
    if len(header) < _HEADER.size:
        return False
    return masked(google_crc32c.value(header[:8])) == _HEADER.unpack(header[: _HEADER.size])[1]


def _end(stream: ShardStream, is_cut: bool, problem: str) -> ProblemError:
    if stream.damage:
        return ProblemError("truncated_shard", f"{stream.damage}; what follows is lost")
    if is_cut:
        return ProblemError("truncated_shard", "the shard is cut; what follows is lost")
    return ProblemError("corrupt_shard", f"{problem}; the rest is lost")


def _open(uri: str) -> ShardStream:
    """Raises UnitError where the file doesn't begin as a TFRecord; an empty one has no records."""
    stream = open_shard(uri, is_plain=_is_header)
    head = stream.peek(_HEADER.size)
    if (head and not _is_header(head)) or stream.damage:
        stream.close()
        problem = stream.damage or "isn't a TFRecord file: its first record has a bad header"
        raise UnitError(uri, problem, "Make the shard again, or leave it out")
    return stream


def check(uri: str, options: ReaderOptions) -> None:
    """Raises UserError if a named feature, or the image, is in none of the first records."""
    with _open(uri) as stream:
        first = [
            data
            for data in islice(frames(stream, options.max_record_bytes), _LOOKED_AT)
            if isinstance(data, bytes)
        ]
    examples = [names for data in first if (names := _names(data)) is not None]
    if first and not examples:
        raise UserError(f"{uri}: its first records aren't tf.train.Example messages")
    there = set().union(*examples)
    if not there:
        return
    wanted = [options.text_field, options.language_field, options.key_field, options.image_field]
    missing = [name for name in wanted if name and name not in there]
    if not options.image_field and not there.intersection(IMAGE_FEATURES):
        missing.append(" or ".join(IMAGE_FEATURES))
    if missing:
        raise UserError(
            f"{uri}: no feature {', '.join(missing)} in its first records, which have "
            f"{', '.join(sorted(there))}. Name the image's with --image-field"
        )


def _names(data: bytes) -> set[str] | None:
    """The features' names; None where the data are no Example."""
    try:
        return set(features(data))
    except ProblemError:
        return None


def read(unit: Unit, options: ReaderOptions) -> Iterator[Record]:
    """The shard's records in order; see `transforms.readers.read`."""
    naming = Naming(unit.uri, unit.first_index, positional=options.key_field is None)
    with _open(unit.uri) as stream:
        for data in frames(stream, options.max_record_bytes):
            if isinstance(data, bytes):
                yield _record(data, naming, options)
            else:
                yield naming.failure(data.kind, data.message)


def _record(data: bytes, naming: Naming, options: ReaderOptions) -> Record:
    try:
        values = features(data)
    except ProblemError as problem:
        return naming.failure(problem.kind, problem.message)
    key = _key(values, options)
    image = next((values.pop(name) for name in _image_features(options) if name in values), [])
    texts = {*options.text_fields(), *options.language_fields()}
    metadata = {name: _plain(items, name in texts) for name, items in sorted(values.items())}
    text, language = take_text(metadata, options)
    known: dict[str, Any] = {"key": key, "text": text, "language": language, "metadata": metadata}
    if not image or not isinstance(image[0], bytes):
        return naming.failure("no_image", "its image feature is absent or holds no bytes", **known)
    for number, other in enumerate(image[1:], start=1):
        metadata[f"image[{number}]"] = note(hashlib.sha256(other).hexdigest(), len(other))
    return naming.record(image[0], **known)


def _image_features(options: ReaderOptions) -> tuple[str, ...]:
    return (options.image_field,) if options.image_field else IMAGE_FEATURES


def _key(values: dict[str, list[Any]], options: ReaderOptions) -> str | None:
    """The key feature's value, where it has one."""
    for item in values.get(options.key_field or "", ()):
        return decoded(item) if isinstance(item, bytes) else str(item)
    return None


def _plain(items: list[Any], are_texts: bool) -> Any:
    """One value as itself, none as null, several as a list."""
    from_raw = decoded if are_texts else from_bytes
    plain = [from_raw(item) if isinstance(item, bytes) else jsonable(item) for item in items]
    return plain[0] if len(plain) == 1 else plain or None
