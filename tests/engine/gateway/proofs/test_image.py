"""Uploaded images: what is kept of them, and what is refused."""

import io
import random
import struct
import zlib
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mallard_engine.gateway.proofs.image import MOST_PIXELS, BadImage, NotAnImage, clean

SECRET = b"Ada Lovelace, 33.3197 -111.8412"
FROM_THE_FORMAT = {
    "jfif",
    "jfif_version",
    "jfif_unit",
    "jfif_density",
    "loop",
    "background",
    "timestamp",
    "duration",
}
FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}


def encoded(
    kind: str, mode: str = "RGB", size: tuple[int, int] = (8, 6), **fields: object
) -> bytes:
    image = Image.new(mode, size)
    image.putpixel((0, 0), 255 if mode in {"L", "P", "1"} else (255,) * len(image.getbands()))
    written = io.BytesIO()
    image.save(written, kind, **fields)
    return written.getvalue()


def reopened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def with_metadata(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[1] = "N"
    fields: dict[str, Any] = {"exif": exif.tobytes(), "icc_profile": SECRET}
    if kind == "PNG":
        info = PngInfo()
        info.add_text("Comment", SECRET.decode())
        fields["pnginfo"] = info
    elif kind == "JPEG":
        fields["comment"] = SECRET
    else:
        fields["xmp"] = SECRET
    return encoded(kind, **fields)


@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_but_the_pixels_is_kept(kind: str) -> None:
    data = with_metadata(kind) + SECRET
    assert SECRET in data
    image = clean(data)
    assert image.media_type == FORMATS[kind]
    assert SECRET not in image.data
    assert b"Exif" not in image.data
    assert reopened(image.data).size == (8, 6)
    assert not reopened(image.data).getexif()
    assert reopened(image.data).info.keys() <= FROM_THE_FORMAT


@pytest.mark.parametrize("kind", FORMATS)
def test_image_is_turned_upright(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90°
    assert reopened(clean(encoded(kind, exif=exif.tobytes())).data).size == (6, 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_pixels_is_taken(mode: str) -> None:
    written = io.BytesIO()
    Image.new(mode, (3, 2)).save(written, "PNG")
    assert reopened(clean(written.getvalue()).data).size == (3, 2)


def test_of_several_pictures_the_first_is_kept() -> None:
    """Phones with several lenses, or with a gain map, write JPEG files with more than one."""
    written = io.BytesIO()
    first, second = Image.new("RGB", (8, 6), "red"), Image.new("RGB", (4, 3), "blue")
    first.save(written, "MPO", save_all=True, append_images=[second])
    assert Image.open(io.BytesIO(written.getvalue())).format == "MPO"
    image = clean(written.getvalue())
    kept = reopened(image.data)
    assert (image.media_type, kept.format, kept.size) == ("image/jpeg", "JPEG", (8, 6))
    assert len(image.data) < len(written.getvalue())


def test_transparency_is_kept() -> None:
    image = reopened(clean(encoded("PNG", "RGBA")).data)
    assert image.mode == "RGBA"
    assert (image.getpixel((0, 0)), image.getpixel((1, 1))) == ((255,) * 4, (0,) * 4)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PPM", "PDF"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(NotAnImage):
        clean(encoded(kind))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"RIFF\0\0\0\0WEBP",
        b"<svg/>",
        b"--boundary",
    ],
)
def test_file_that_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises((NotAnImage, BadImage)):
        clean(data)


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_image_is_refused(kind: str) -> None:
    noise = Image.frombytes("RGB", (64, 64), random.Random(1).randbytes(64 * 64 * 3))
    written = io.BytesIO()
    noise.save(written, kind)
    data = written.getvalue()
    for size in range(12, len(data) - 200, len(data) // 20):
        with pytest.raises((NotAnImage, BadImage)):
            clean(data[:size])


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is as large; its pixels are zeros, of which few bytes say many."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(min(width * height, 1_000_000)), 9)
    parts = (_chunk(b"IHDR", head), _chunk(b"IDAT", pixels), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("width", "height"),
    [(5_001, 5_000), (60_000, 60_000), (2**31 - 1, 1), (16_384, 1), (1, 16_384)],
)
def test_too_many_pixels_are_refused_undecoded(width: int, height: int) -> None:
    assert width * height > MOST_PIXELS or max(width, height) > 16_383
    with pytest.raises(BadImage):
        clean(bomb(width, height))


def test_first_image_of_an_animation_is_kept() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    written = io.BytesIO()
    frames[0].save(written, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    image = reopened(clean(written.getvalue()).data)
    assert getattr(image, "n_frames", 1) == 1
