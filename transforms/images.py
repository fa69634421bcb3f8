"""Encoded pictures to RGB arrays, and what their headers say.

The bytes come from anywhere, so the format is told by its first bytes and only formats listed here
are ever handed to Pillow, whose process-wide settings are neither changed nor relied upon.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

_FORMATS: dict[str, tuple[bytes, type[ImageFile.ImageFile]]] = {
    "JPEG": (rb"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    "PNG": (rb"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    "WEBP": (rb"RIFF....WEBP", WebPImagePlugin.WebPImageFile),
    "GIF": (rb"GIF8[79]a", GifImagePlugin.GifImageFile),
    "TIFF": (rb"II[*+]\0|MM\0[*+]", TiffImagePlugin.TiffImageFile),
    "AVIF": (rb"....ftypavi[fs]", AvifImagePlugin.AvifImageFile),
    "JPEG2000": (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n", Jpeg2KImagePlugin.Jpeg2KImageFile),
    "PPM": (rb"P[1-6][\s#]", PpmImagePlugin.PpmImageFile),
    "BMP": (rb"BM", BmpImagePlugin.BmpImageFile),
}
_FOREIGN = {
    "HEIF": rb"....ftyp(hei[cmsx]|hevc|mif1|msf1)",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n",
    "PSD": rb"8BPS",
    "ICO": rb"\0\0\x01\0",
    "EPS": rb"%!PS",
    "PDF": rb"%PDF-",
    "SVG": rb"\s*<svg",
}
_PLAIN_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_ORIENTATION = 0x0112  # the tag's number in EXIF 2.3, table 4


class ImageError(Exception):
    """Bytes that give no picture.

    kind: empty_image, not_an_image, truncated_image, corrupt_image, too_many_pixels or
        unsupported_image.
    message: for people; says nothing of the bytes themselves.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message

    def __reduce__(self):
        return ImageError, (self.kind, self.message)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """format, and mode as stored, by Pillow's names; width and height in pixels as displayed."""

    format: str
    width: int
    height: int
    mode: str


def probe(encoded: bytes) -> ImageInfo:
    """What the header says; no pixel is decoded. Raises ImageError."""
    image = _open(encoded)
    return _info(image, image.size, image.mode)


def decode(
    encoded: bytes, max_pixels: int, at_least: tuple[int, int] | None = None
) -> tuple[ImageInfo, np.ndarray]:
    """The picture as uint8[H, W, 3] in RGB, upright, and what its header says.

    Grey is replicated, alpha dropped, an animation gives its first frame, 16-bit and floating
    samples are scaled to 8 bits.

    max_pixels: a header that promises more is refused before anything is decoded.
    at_least: (width, height) that suffice. A much larger JPEG is then decoded at a half, a quarter
        or an eighth of its size, never below this; `ImageInfo` keeps the full size.

    Raises ImageError, and RuntimeError where another library told Pillow to pass off truncated
    pictures as whole ones.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise RuntimeError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set in this process, so a damaged picture "
            "couldn't be told from a whole one; leave it unset"
        )
    image = _open(encoded)
    size, mode = image.size, image.mode
    if size[0] * size[1] > max_pixels:
        raise ImageError(
            "too_many_pixels", f"{size[0]}x{size[1]} pixels; at most {max_pixels} are decoded"
        )
    try:
        if at_least is not None:
            turned = image.format != "TIFF" and _orientation(image) >= 5
            image.draft(None, at_least[::-1] if turned else at_least)
        image.load()
        info = _info(image, size, mode)
        pixels = _upright(_rgb(image), 1 if image.format == "TIFF" else _orientation(image))
    except Exception as error:
        raise _explained(error, encoded, image) from None
    return info, pixels


def _open(encoded: bytes) -> ImageFile.ImageFile:
    if not encoded:
        raise ImageError("empty_image", "no bytes")
    found = _named(encoded, {name: magic for name, (magic, _) in _FORMATS.items()})
    if found is None:
        foreign = _named(encoded, _FOREIGN)
        if foreign:
            raise ImageError("unsupported_image", f"{foreign} isn't decoded")
        raise ImageError("not_an_image", "the first bytes are of no picture format")
    try:
        image = _FORMATS[found][1](io.BytesIO(encoded))
    except Exception as error:
        raise _explained(error, encoded, found) from None
    if min(image.size) < 1:
        raise ImageError("corrupt_image", f"the {found} header promises no pixel")
    if image.mode not in _PLAIN_MODES and not image.mode.startswith(("I", "F")):
        raise ImageError("unsupported_image", f"{found} of mode {image.mode} isn't decoded")
    return image


def _named(encoded: bytes, magics: dict[str, bytes]) -> str | None:
    head = encoded[:64]
    return next((name for name, magic in magics.items() if re.match(magic, head, re.DOTALL)), None)


def _info(image: ImageFile.ImageFile, size: tuple[int, int], mode: str) -> ImageInfo:
    # Pillow itself turns TIFF upright and says the turned size at once.
    turned = image.format != "TIFF" and _orientation(image) >= 5
    width, height = size[::-1] if turned else size
    return ImageInfo(str(image.format), width, height, mode)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where it is absent, out of range or unreadable.

    Reads what the header held: `Image.getexif` would decode a PNG to look behind its pixels.
    """
    data = image.info.get("exif")
    if not data:
        return 1
    try:
        exif = Image.Exif()
        exif.load(data)
        value = exif.get(_ORIENTATION, 1)
    except Exception:  # a damaged tag says nothing of the pixels, which are judged on their own
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation of uint8[H, W, 3]; contiguous."""
    turned = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, 1),
    }[orientation](pixels)
    return np.ascontiguousarray(turned)


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith(("I", "F")):
        grey = _to_8_bits(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    # Alpha is dropped here; with this left in, Pillow warns that a palette's would be.
    image.info.pop("transparency", None)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _to_8_bits(samples: np.ndarray) -> np.ndarray:
    """Deep grey samples [H, W] to uint8, black staying black and white white.

    16-bit samples use their type's whole range. 32-bit integers and floats have no agreed range:
    up to 1 (floats only), 255 and 65535 are taken for white when all samples lie between 0 and it;
    anything else is stretched from its least to its greatest. What isn't finite counts as 0.
    """
    if samples.dtype.kind == "u" and samples.dtype.itemsize == 2:
        low, high = 0.0, 65535.0
    else:
        whites = (1.0, 255.0, 65535.0) if samples.dtype.kind == "f" else (255.0, 65535.0)
        samples = np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        low, high = float(samples.min()), float(samples.max())
        if low >= 0 and high <= whites[-1]:
            low, high = 0.0, next(white for white in whites if high <= white)
    scaled = (samples.astype(np.float64) - low) / ((high - low) or 1.0) * 255.0
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _explained(error: Exception, encoded: bytes, image: Any) -> ImageError:
    """Pillow's many exceptions as one of ours.

    Only the exception's class is quoted: its text may hold bytes of the picture.
    """
    if isinstance(error, ImageError):
        return error
    name = image if isinstance(image, str) else str(image.format)
    if isinstance(error, Image.DecompressionBombError):
        return ImageError("too_many_pixels", f"a part of the {name} is larger than can be decoded")
    if "truncated" in str(error).lower() or _is_cut(name, encoded, image):
        return ImageError("truncated_image", f"the {name} ends before its last pixel")
    return ImageError("corrupt_image", f"the {name} can't be decoded ({type(error).__name__})")


def _is_cut(name: str, encoded: bytes, image: Any) -> bool:
    """Whether a picture that can't be decoded is one whose end is missing."""
    try:
        match name:
            case "JPEG":
                return b"\xff\xd9" not in encoded
            case "JPEG2000":
                return not encoded.endswith(b"\xff\xd9")
            case "PNG":
                return b"IEND" not in encoded
            case "WEBP":
                return len(encoded) < struct.unpack_from("<I", encoded, 4)[0] + 8
            case "BMP":
                return len(encoded) < struct.unpack_from("<I", encoded, 2)[0]
            case "GIF":
                return not encoded.rstrip(b"\0").endswith(b";")
            case "TIFF":
                return _tiff_end(encoded, image) > len(encoded)
    except struct.error:
        return True
    return False


def _tiff_end(encoded: bytes, image: Any) -> int:
    """Where the TIFF's last strip or tile ends, or its directory if that is later, in bytes.

    Raises struct.error where the directory lies beyond the end.
    """
    order = "<" if encoded[:1] == b"I" else ">"
    directory = struct.unpack_from(order + "I", encoded, 4)[0]
    end = directory + 2 + 12 * struct.unpack_from(order + "H", encoded, directory)[0]
    tags = getattr(image, "tag_v2", {})
    for offsets, counts in ((273, 279), (324, 325)):  # TIFF 6.0: StripOffsets…, TileOffsets…
        spans = zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
        end = max([end, *(start + count for start, count in spans)])
    return end
