"""Open, check and decode one image file, so that its pixels are what a viewer shows.

An error is one line that names the file. This module imports no torch.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from harness.data.npz import DAMAGED
from harness.errors import RequestError

_GREY_MODES = ("1", "L", "LA")
# Raw modes of Pillow with 16 bits a channel, of which it keeps 8. "BGR;16" is 16 bits a pixel.
_WIDE = re.compile(r"(RGB|L|CMYK)\w*;16[BLN]$")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}


@dataclass(frozen=True, kw_only=True)
class EncodedImage:
    """An image file inside another file, by the name that messages give it."""

    name: str
    data: bytes

    def __str__(self) -> str:
        return self.name

    def read_bytes(self) -> bytes:
        """Return the data, as a path does."""
        return self.data


Picture = Path | EncodedImage


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What must be known of an image before it is decoded among others.

    Attributes:
        size: Height and width as a viewer shows it, in pixels.
        grey: Whether it has one colour channel.
        turned: Whether its EXIF orientation turns or mirrors it.
        transparent: Whether any of its pixels is not opaque.
        frames: Whether it has several frames, of which the first is used.
    """

    size: tuple[int, int]
    grey: bool
    turned: bool
    transparent: bool
    frames: bool


def read_header(file: Picture) -> Header:
    """Return what is known of an image; pixels are decoded only where they may be transparent."""
    with _open_image(file) as image:
        orientation = _orientation(image)
        return Header(
            size=image.size if orientation >= 5 else image.size[::-1],
            grey=image.mode in _GREY_MODES,
            turned=orientation > 1,
            frames=getattr(image, "is_animated", False),
            transparent=image.has_transparency_data
            and image.convert("RGBA").getchannel("A").getextrema()[0] != 255,
        )


def decode_image(file: Picture, channels: int, size: tuple[int, int]) -> np.ndarray:
    """Return an image as uint8, H×W for 1 channel or H×W×3, resized bilinearly where needed.

    The image is turned as its EXIF orientation says, and laid over white where it is transparent.
    `size` is its height and width in pixels.

    Raises:
        RequestError: The file is not an image, is damaged, or has more than 8 bits a channel.
    """
    with _open_image(file, whole=True) as image:
        pixels: Image.Image = image
        orientation = _orientation(image)
        if image.has_transparency_data:
            above = image.convert("RGBA")
            pixels = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
        pixels = pixels.convert("L" if channels == 1 else "RGB")
        if orientation > 1:
            pixels = pixels.transpose(_UPRIGHT[orientation])
    if pixels.size != size[::-1]:
        pixels = pixels.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(pixels)


@contextmanager
def _open_image(file: Picture, *, whole: bool = False) -> Iterator[ImageFile.ImageFile]:
    """Open an image; what goes wrong with it in the block becomes a RequestError.

    With `whole`, the checksums of a PNG and the end of a JPEG are checked, which Pillow's decoders
    leave out.
    """
    try:
        if isinstance(file, Path) and not S_ISREG(file.stat().st_mode):
            raise RequestError(f"{file}: not a regular file")
        data = file.read_bytes() if whole or isinstance(file, EncodedImage) else b""
        source = io.BytesIO(data) if data or not isinstance(file, Path) else file
        with Image.open(source) as image:
            # Pillow's conversion to 8 bits would clip bright pixels rather than scale them.
            if image.mode.startswith(("I", "F")) or _is_wide(image):
                raise RequestError(
                    f"{file}: more than 8 bits a channel (mode {image.mode}); convert it to 8 bits"
                )
            if whole:
                _check_whole(data, image)
            yield image
    except UnidentifiedImageError as error:
        raise RequestError(f"{file}: not an image") from error
    except (*DAMAGED, struct.error, Image.DecompressionBombError) as error:
        raise RequestError(f"{file}: cannot be read as an image ({error})") from error


def _is_wide(image: ImageFile.ImageFile) -> bool:
    """Whether an image is stored with more than 8 bits a channel, of which Pillow keeps 8."""
    arguments = (image.tile and image.tile[0].args) or ""
    mode, *others = [arguments] if isinstance(arguments, str) else arguments
    largest = [number for number in others if isinstance(number, int)]
    return bool(_WIDE.match(str(mode)) or (image.format == "PPM" and max(largest, default=0) > 255))


def _check_whole(data: bytes, image: ImageFile.ImageFile) -> None:
    """Raise OSError where a chunk of a PNG is not as written, or a PNG or JPEG has no end."""
    if image.format == "PNG":
        view, at, kind = memoryview(data), 8, b""
        while kind != b"IEND":
            end = at + 8 + int.from_bytes(view[at : at + 4])
            kind = data[at + 4 : at + 8]
            if end + 4 > len(data):
                raise OSError("the end is missing")
            if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4]):
                raise OSError(f"wrong checksum in chunk {kind!r}")
            at = end + 4
    # Pillow has read the headers, in which a thumbnail may have an end of its own.
    if image.format == "JPEG" and image.fp and data.find(b"\xff\xd9", image.fp.tell()) < 0:
        raise OSError("the end is missing")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1 is upright."""
    # Pillow turns TIFF images itself, and would decode a PNG to look for EXIF data at its end.
    if image.format == "TIFF" or not _EXIF & image.info.keys():
        return 1
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (*DAMAGED, struct.error):
        return 1
    return int(found) if found in _UPRIGHT else 1
