"""Single images: they reach the network as a viewer shows them, or are refused in words."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from harness.data.image import EncodedImage, decode_image, read_header
from harness.errors import RequestError
from tests.harness.data.own_images import complaint, load, notes, pixels_of, save, write_folder

# Rows of an upright image, and how each EXIF orientation stores it (EXIF 2.32, 4.6.4).
UPRIGHT = np.array([[10, 60, 110], [160, 210, 250]], np.uint8)
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT),
    7: UPRIGHT[::-1, ::-1].T,
    8: np.rot90(UPRIGHT, -1),
}


def decode(path, channels=3):
    return decode_image(path, channels, read_header(path).size)


@pytest.mark.parametrize("kind", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"lossless": True} if kind == "webp" else {}
    stored = np.ascontiguousarray(STORED[orientation])
    path = save(stored, tmp_path / f"x.{kind}", exif=exif, **options)
    header = read_header(path)
    assert header.size == (2, 3)
    # Pillow turns a TIFF itself.
    assert header.turned == (orientation > 1 and kind != "tif")
    assert np.array_equal(decode(path)[..., 0], UPRIGHT)


def test_an_orientation_that_is_none(tmp_path):
    for value in (0, 9, 4711):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = value
        path = save(UPRIGHT, tmp_path / "x.jpg", exif=exif)
        assert read_header(path).size == (2, 3)
    path = save(UPRIGHT, tmp_path / "x.png", exif=b"Exif\0\0 no TIFF at all")
    assert not read_header(path).turned
    assert np.array_equal(decode(path, 1), UPRIGHT)


def half_clear():
    """Return an RGBA image: opaque black, clear black, and half of each."""
    return np.array([[[0, 0, 0, 255], [0, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)


# Black over white where alpha is 255, 0 and 128: 255 * (255 - 128) / 255 = 127.
OVER_WHITE = [0, 255, 127]


@pytest.mark.parametrize("kind", ["png", "webp", "tif"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transparency_is_laid_over_white(tmp_path, mode, kind, channels):
    image = Image.fromarray(half_clear())
    if (mode, kind) == ("LA", "webp"):
        pytest.skip("WebP has no grey")
    options = {"lossless": True, "exact": True} if kind == "webp" else {}
    path = save(image.convert(mode), tmp_path / f"x.{kind}", **options)
    assert read_header(path).transparent
    assert decode(path, channels).reshape(3, channels)[:, 0].tolist() == OVER_WHITE


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
def test_a_transparent_colour_is_laid_over_white(tmp_path, mode):
    image = Image.fromarray(np.array([[0, 255, 0]], np.uint8)).convert(mode)
    clear = {"1": 0, "L": 0, "RGB": (0, 0, 0), "P": image.getpixel((0, 0))}[mode]
    path = save(image, tmp_path / "x.png", transparency=clear)
    assert read_header(path).transparent
    assert decode(path)[..., 0].tolist() == [[255, 255, 255]]


def test_a_palette_with_an_alpha_for_each_colour(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([0, 0, 0] * 3)
    path = save(image, tmp_path / "x.png", transparency=bytes([255, 0, 128]))
    assert decode(path)[..., 1].tolist() == [OVER_WHITE]


def test_an_opaque_alpha_channel_changes_nothing(tmp_path):
    image = Image.fromarray(np.full((2, 2, 3), 9, np.uint8)).convert("RGBA")
    assert not read_header(save(image, tmp_path / "x.png")).transparent


@pytest.mark.parametrize(
    ("mode", "kind", "colour", "seen"),
    [
        ("1", "png", 1, (255, 255, 255)),
        ("1", "tif", 1, (255, 255, 255)),
        ("L", "bmp", 77, (77, 77, 77)),
        ("CMYK", "tif", (255, 0, 0, 0), (0, 255, 255)),
        ("CMYK", "jpg", (255, 0, 0, 0), (0, 255, 255)),
    ],
)
def test_other_modes(tmp_path, mode, kind, colour, seen):
    path = save(Image.new(mode, (8, 8), colour), tmp_path / f"x.{kind}")
    assert np.abs(decode(path)[4, 4].astype(int) - seen).max() <= 2


def png_of_16_bits(colour_type, channels):
    """Return a PNG of one pixel with 16 bits a channel, which Pillow cannot write."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 16, colour_type, 0, 0, 0)
    data = zlib.compress(b"\0" + b"\x12\x34" * channels)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


WIDE = {
    "grey.png": png_of_16_bits(0, 1),
    "rgb.png": png_of_16_bits(2, 3),
    "grey alpha.png": png_of_16_bits(4, 2),
    "rgba.png": png_of_16_bits(6, 4),
    "rgb.ppm": b"P6 1 1 65535\n" + bytes(6),
    "rgb text.ppm": b"P3 1 1 1023\n1000 2 3\n",
    "grey.pgm": b"P5 1 1 1023\n" + bytes(2),
}


@pytest.mark.parametrize("name", WIDE)
def test_more_than_8_bits_a_channel(tmp_path, name):
    (tmp_path / name).write_bytes(WIDE[name])
    with pytest.raises(RequestError, match="more than 8 bits a channel.*convert it to 8 bits"):
        read_header(tmp_path / name)


def test_a_16_bit_rgb_tiff(tmp_path):
    tags = [(256, 4, 1), (257, 4, 1), (258, 3, 16), (259, 3, 1), (262, 3, 2), (273, 4, 200)]
    tags += [(277, 3, 3), (278, 4, 1), (279, 4, 6)]
    entries = b"".join(
        struct.pack("<HHII", tag, kind, 3, 180)
        if tag == 258
        else struct.pack("<HHII", tag, kind, 1, v)
        for tag, kind, v in tags
    )
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    data = head.ljust(180, b"\0") + struct.pack("<3H", 16, 16, 16)
    (tmp_path / "x.tif").write_bytes(data.ljust(200, b"\0") + bytes(6))
    with pytest.raises(RequestError, match="more than 8 bits"):
        read_header(tmp_path / "x.tif")


def encoded(kind, image=None, **options):
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    (image or Image.fromarray(noise)).save(out, kind, **options)
    return out.getvalue()


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


PNG, JPEG = encoded("PNG"), encoded("JPEG")
DAMAGED = {
    "a bit of the pixels": (
        flipped(PNG, PNG.index(b"IDAT") + 200),
        "wrong checksum in chunk b'IDAT'",
    ),
    "a checksum": (flipped(PNG, len(PNG) - 13), "wrong checksum in chunk b'IDAT'"),
    "the end chunk's checksum": (flipped(PNG, len(PNG) - 1), "wrong checksum in chunk b'IEND'"),
    "no end chunk": (PNG[:-12], "the end is missing"),
    "half a PNG": (PNG[: len(PNG) // 2], "the end is missing"),
    "no end of a JPEG": (JPEG[:-2], "the end is missing"),
    "half a JPEG": (encoded("JPEG", quality=100)[:-300], "the end is missing"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_image(case):
    data, words = DAMAGED[case]
    with pytest.raises(RequestError) as caught:
        decode_image(EncodedImage(name="x", data=data), 3, (16, 16))
    assert str(caught.value) == f"x: cannot be read as an image ({words})"


@pytest.mark.parametrize("kind", ["BMP", "PPM", "TIFF", "WEBP", "GIF"])
def test_an_image_of_another_kind_cut_short(kind):
    data = encoded(kind)
    with pytest.raises(RequestError, match="^x: "):
        decode_image(EncodedImage(name="x", data=data[: len(data) * 2 // 3]), 3, (16, 16))


@pytest.mark.parametrize(
    "data", [PNG + b"more", JPEG + b"\xff\xda motion", encoded("JPEG", progressive=True)]
)
def test_what_comes_after_the_end_does_not_matter(data):
    assert decode_image(EncodedImage(name="x", data=data), 3, (16, 16)).shape == (16, 16, 3)


def test_a_pipe_does_not_hang(tmp_path):
    import os

    root = write_folder(tmp_path / "images")
    os.mkfifo(root / "train" / "ant" / "pipe.png")
    assert complaint(root).endswith("pipe.png: not a regular file")


@pytest.mark.parametrize("grey", ["first", "middle", "last"])
def test_one_grey_image_does_not_take_the_colours_of_the_others(tmp_path, grey):
    red = np.zeros((4, 4, 3), np.uint8) + np.array([200, 0, 0], np.uint8)
    number = {"first": 0, "middle": 1, "last": 3}[grey]
    for part in ("train", "test"):
        for index in range(4):
            is_grey = part == "train" and index == number
            image = red[..., 0] if is_grey else red
            save(image, tmp_path / part / "ab"[index // 2] / f"{index}.png")
    data = load(tmp_path)
    assert data.channels == 3
    assert pixels_of(data.train)[:, :, 0, 0].tolist() == [
        [200, 200, 200] if index == number else [200, 0, 0] for index in range(4)
    ]
    assert "1 image(s) grey, read as RGB" in notes(data)


def test_what_was_done_to_images_is_said_and_in_the_digest(tmp_path):
    root = write_folder(tmp_path / "images")
    before = load(root)
    assert before.source.notes == ()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    save(Image.open(root / "train/ant/0.png"), root / "train/ant/0.png", exif=exif)
    save(Image.new("LA", (4, 4), (0, 0)), root / "test/bee/1.png")
    save(
        Image.new("L", (4, 4)),
        root / "test/bee/0.png",
        save_all=True,
        append_images=[Image.new("L", (4, 4), 9)],
    )
    data = load(root)
    assert notes(data) == (
        "1 image(s) laid over white; 1 image(s) turned by EXIF orientation; "
        "1 image(s) of several frames: the first is used"
    )
    assert pixels_of(data.test)[-1].min() == 255


def test_text_in_a_png_is_no_orientation(tmp_path):
    info = PngInfo()
    info.add_text("Comment", "orientation 6")
    assert not read_header(save(UPRIGHT, tmp_path / "x.png", pnginfo=info)).turned
