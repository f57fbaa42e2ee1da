"""Decodes and re-encodes an uploaded image, so that only its pixels are kept.

The encoder writes what it is given: no EXIF, no position, no comment, no profile, nothing after the
end of the image, and nothing that is a valid file of another kind at the same time. The bytes
decide which format it is. The size is checked before any pixel is decoded.
"""

import io
from dataclasses import dataclass
from typing import Final

# 75 MB as pixels. Phones take photos of 12 million; more would not fit into the bytes allowed.
MOST_PIXELS: Final = 25_000_000
_MOST_SIDE: Final = 16_383  # the most that WebP can have
_JPEG_QUALITY: Final = 85
_MEDIA_TYPES: Final = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
# What phones with several lenses or a gain map write (CIPA DC-007): a JPEG with further images
# behind the first. The decoder has a name of its own for it.
_MULTI_PICTURE: Final = "MPO"


class NotAnImage(Exception):
    """The bytes are in none of the formats that are taken."""


class BadImage(Exception):
    """The image cannot be decoded, or is too large. The text says which."""


@dataclass(frozen=True, slots=True)
class CleanImage:
    """An image without anything but its pixels."""

    media_type: str
    data: bytes


def clean(data: bytes) -> CleanImage:
    """Return the re-encoded image. Takes up to a second of CPU: call it in a thread.

    The orientation that a phone notes in the metadata is applied. Of an animation or of
    several pictures the first is kept.

    Raises:
        NotAnImage: it is none of JPEG, PNG and WebP.
        BadImage: it cannot be decoded, or has more than `MOST_PIXELS`.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415 - few nodes need it

    try:
        with Image.open(io.BytesIO(data), formats=tuple(_MEDIA_TYPES)) as image:
            name, (width, height) = str(image.format), image.size
            name = "JPEG" if name == _MULTI_PICTURE else name
            _check_size(width, height)
            image.load()
            upright = ImageOps.exif_transpose(image)
            has_alpha = name != "JPEG" and upright.has_transparency_data
            pixels = upright.convert("RGBA" if has_alpha else "RGB")
            pixels.info.clear()
            written = io.BytesIO()
            pixels.save(written, name, quality=_JPEG_QUALITY)
    except UnidentifiedImageError:
        raise NotAnImage from None
    except BadImage:
        raise
    except Exception as error:
        raise BadImage("the image cannot be decoded") from error
    return CleanImage(_MEDIA_TYPES[name], written.getvalue())


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS or max(width, height) > _MOST_SIDE:
        raise BadImage(f"{width} × {height} pixels are too many")
