"""Which file names are pictures."""

from __future__ import annotations

import re

# The second line's are named as pictures, so records are made of them, but aren't decoded.
_PICTURE = re.compile(
    r"(.*\.)?(jpe?g|jpe|jfif|a?png|webp|gif|bmp|dib|tiff?|avifs?|jp2|j2[kc]|jp[cfx]|p[bgpn]m"
    r"|hei[cf]|jxl|ico|icns|tga|psd|pcx|dds|sgi|eps|svg|xbm|xpm|hdr|exr)",
    re.IGNORECASE | re.DOTALL,
)


def is_picture(suffix: str) -> bool:
    """Whether a suffix such as ``jpg`` or ``seg.PNG`` is a picture's."""
    return _PICTURE.fullmatch(suffix) is not None
