"""Decoding: every format and mode to upright RGB, every bad picture to one word."""

import contextlib
import io
import pickle
import struct
import threading
import zlib

import numpy as np
import pytest
from corpus import deep, encode, photograph, turned
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from transforms.images import ImageError, decode, probe

LIMIT = 1 << 22
LOSSLESS = ("PNG", "BMP", "TIFF", "PPM")
ENCODED = {
    name: encode(photograph("coffee.png", (96, 64)), name)
    for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
}


@pytest.fixture
def coffee():
    return photograph("coffee.png", (96, 64))


def kind_of(data, limit=LIMIT):
    with pytest.raises(ImageError) as caught:
        decode(data, limit)
    return caught.value.kind


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.parametrize("format", ENCODED)
def test_each_format_is_told_by_its_bytes_and_close_to_the_photograph(coffee, format):
    info, pixels = decode(ENCODED[format], LIMIT)
    assert (info.format, info.width, info.height) == (format, 96, 64)
    difference = np.abs(pixels.astype(int) - np.asarray(coffee))
    assert difference.max() == 0 if format in LOSSLESS else difference.mean() < 12


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone_and_the_size_is_the_displayed_one(coffee, format, orientation):
    data = encode(coffee, format, exif=turned(orientation))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    info, pixels = decode(data, LIMIT)
    np.testing.assert_array_equal(pixels, np.asarray(upright))
    assert (info.width, info.height) == upright.size
    assert probe(data) == info


def test_a_damaged_exif_block_leaves_the_picture_as_it_is(coffee):
    data = encode(coffee, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    np.testing.assert_array_equal(decode(data, LIMIT)[1], decode(encode(coffee, "JPEG"), LIMIT)[1])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_modes_become_rgb_with_grey_replicated_and_alpha_dropped(coffee, mode):
    if mode in ("LA", "RGBA"):
        stored = coffee.convert(mode)
        stored.putalpha(photograph("camera.png", mode="L").resize(coffee.size))
    else:
        stored = coffee.convert(mode)
    info, pixels = decode(encode(stored, "PNG"), LIMIT)
    plain = stored.convert("L" if mode in ("1", "LA") else "RGB").convert("RGB")
    np.testing.assert_array_equal(pixels, np.asarray(plain))
    assert info.mode == mode


def test_a_transparent_palette_is_decoded_without_a_warning(coffee, recwarn):
    data = encode(coffee.convert("P"), "PNG", transparency=bytes(range(256)))
    decode(data, LIMIT)
    assert not recwarn.list


def test_cmyk_is_close_to_the_photograph(coffee):
    info, pixels = decode(encode(coffee.convert("CMYK"), "JPEG", quality=95), LIMIT)
    assert info.mode == "CMYK"
    assert np.abs(pixels.astype(int) - np.asarray(coffee)).mean() < 6


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bits_are_scaled_to_8(coffee, format):
    info, pixels = decode(encode(deep(coffee), format), LIMIT)
    assert info.mode.startswith("I;16")
    np.testing.assert_array_equal(pixels, np.asarray(coffee.convert("L").convert("RGB")))


def test_16_bit_colour_keeps_its_high_byte():
    row = b"\0" + struct.pack(">6H", 65535, 32896, 0, 257, 0, 65535)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    pixels = decode(b"\x89PNG\r\n\x1a\n" + body, LIMIT)[1]
    assert pixels.tolist() == [[[255, 128, 0], [1, 0, 255]]]


@pytest.mark.parametrize(
    ("samples", "grey"),
    [
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 128, 200]], np.float32), [0, 128, 200]),
        (np.array([[-1, 0, 1]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, np.inf, 1]], np.float32), [0, 0, 255]),
        (np.array([[7.5, 7.5, 7.5]], np.float32), [8, 8, 8]),
        (np.array([[0, 1, 255]], np.int32), [0, 1, 255]),
        (np.array([[0, 257, 65535]], np.int32), [0, 1, 255]),
        (np.array([[-5, 70000, 140005]], np.int32), [0, 128, 255]),
    ],
)
def test_deep_samples_are_scaled_by_the_range_they_use(samples, grey):
    pixels = decode(encode(Image.fromarray(samples), "TIFF"), LIMIT)[1]
    assert pixels[0].tolist() == [[value] * 3 for value in grey]


def test_an_animation_gives_its_first_frame(coffee):
    frames = [coffee.rotate(angle) for angle in (90, 180)]
    data = encode(coffee, "GIF", save_all=True, append_images=frames)
    np.testing.assert_array_equal(decode(data, LIMIT)[1], decode(encode(coffee, "GIF"), LIMIT)[1])


def test_a_large_jpeg_is_decoded_reduced_where_that_suffices():
    china = photograph("china.jpg")
    data = encode(china, "JPEG", exif=turned(6))
    info, pixels = decode(data, LIMIT, at_least=(100, 150))
    assert (info.width, info.height) == (427, 640)
    assert pixels.shape == (160, 107, 3)
    assert decode(data, LIMIT, at_least=(2000, 2000))[1].shape == (640, 427, 3)


def test_the_pixels_can_be_written_to(coffee):
    for format, data in ENCODED.items():
        pixels = decode(data, LIMIT)[1]
        assert pixels.flags.writeable, format
        assert pixels.flags.c_contiguous, format


@pytest.mark.parametrize("format", ENCODED)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_cut_picture_is_truncated(format, share):
    data = ENCODED[format]
    kinds = ("truncated_image", "corrupt_image") if format == "AVIF" else ("truncated_image",)
    assert kind_of(data[: int(len(data) * share)]) in kinds


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty_image"),
        (b"<!doctype html><title>404</title>", "not_an_image"),
        (b"\0" * 100, "not_an_image"),
        (b"%PDF-1.7 ...", "unsupported_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported_image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "unsupported_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_image"),
        (b"\x89PNG\r\n\x1a\n" + b"\xff" * 60 + b"IEND", "corrupt_image"),
    ],
)
def test_what_is_no_picture_is_named(data, kind):
    assert kind_of(data) == kind


def test_a_picture_under_a_foreign_name_is_decoded_for_what_it_is():
    assert decode(ENCODED["WEBP"], LIMIT)[0].format == "WEBP"


def test_a_bomb_is_refused_by_its_header():
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    assert kind_of(bomb) == "too_many_pixels"
    assert probe(bomb).width == 60_000
    assert kind_of(ENCODED["JPEG"], limit=96 * 64 - 1) == "too_many_pixels"
    decode(ENCODED["JPEG"], 96 * 64)


def test_pillows_own_pixel_limit_plays_no_part(monkeypatch, coffee):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for format in ("JPEG", "PNG", "WEBP", "BMP"):
        decode(ENCODED[format], LIMIT)


def test_tolerance_for_truncated_pictures_set_elsewhere_is_refused(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(RuntimeError, match="LOAD_TRUNCATED_IMAGES"):
        decode(ENCODED["JPEG"], LIMIT)


def test_the_error_survives_pickling():
    error = pickle.loads(pickle.dumps(ImageError("empty_image", "no bytes")))
    assert (error.kind, error.message) == ("empty_image", "no bytes")


def test_threads_decode_the_same_pixels():
    expected = {name: decode(data, LIMIT)[1] for name, data in ENCODED.items()}
    wrong: list[str] = []

    def work():
        for _ in range(5):
            for name, data in ENCODED.items():
                if not np.array_equal(decode(data, LIMIT)[1], expected[name]):
                    wrong.append(name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_but_image_error(data):
    for attempt in (lambda: decode(data, LIMIT), lambda: probe(data)):
        with contextlib.suppress(ImageError):
            attempt()


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None)
@given(
    format=st.sampled_from(sorted(ENCODED)),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    cut=st.floats(0.2, 1),
)
def test_mutated_pictures_raise_nothing_but_image_error(format, edits, cut):
    data = bytearray(ENCODED[format])
    for place, value in edits:
        data[int(place**2 * (len(data) - 1))] = value  # headers more often than pixels
    try:
        info, pixels = decode(bytes(data[: int(len(data) * cut)]), 1 << 18)
    except ImageError:
        return
    assert pixels.shape == (info.height, info.width, 3)
