"""Pictures: size, mode, and how many pixels differ and where. Read by Pillow, of an animation the first frame.

The size is looked at before a pixel is unpacked. Only formats that are common, and that Pillow reads without other
programs, are tried.
"""

from __future__ import annotations

import io
import warnings

from PIL import Image, ImageChops

from mulligan.runtime.diffs.detail import Detail, Line, Unfit

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
MOST_PIXELS = 40_000_000


def compare(before: bytes | None, after: bytes | None, lines: int) -> Detail:
    old, new = (None if data is None else _read(data) for data in (before, after))
    said: list[Line] = []
    if old is None or new is None:
        there = old or new
        assert there is not None
        return Detail("image", _describe(there), {"width": there.width, "height": there.height})
    if _describe(old) != _describe(new):
        said.append(Line("~", f"{_describe(old)} → {_describe(new)}"))
    counts = {"width": new.width, "height": new.height}
    if old.size != new.size:
        return Detail("image", f"{_size(old)} → {_size(new)}", counts, tuple(said))
    changed, box = _difference(old, new)
    share = 100 * changed / (new.width * new.height)
    counts |= {"pixels_changed": changed}
    if box is not None:
        corners = f"({box[0]}, {box[1]}) to ({box[2] - 1}, {box[3] - 1})"
        said.append(Line("~", f"{changed:,} of {new.width * new.height:,} pixels ({share:.2g} %), {corners}"))
    summary = f"{changed:,} {'pixel' if changed == 1 else 'pixels'} changed" if changed else "the same pixels"
    return Detail("image", summary, counts, tuple(said))


def _read(data: bytes) -> Image.Image:
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None  # the bound is ours, below
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Unfit(f"it has {image.width}x{image.height} pixels: too many to unpack")
            image.load()
            return _named(image)
    except (Unfit, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken file makes them stumble over
        raise Unfit(f"it cannot be read as an image: {str(error)[:200]}") from error


def _named(image: Image.Image) -> Image.Image:
    """A copy that still knows its format."""
    copy = image.copy()
    copy.format = image.format
    return copy


def _describe(image: Image.Image) -> str:
    return f"{_size(image)} {image.format} {image.mode}"


def _size(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"


def _difference(old: Image.Image, new: Image.Image) -> tuple[int, tuple[int, int, int, int] | None]:
    """How many pixels differ in any channel, and the box around them."""
    bands = ImageChops.difference(old.convert("RGBA"), new.convert("RGBA")).split()
    most = bands[0]
    for band in bands[1:]:
        most = ImageChops.lighter(most, band)
    return sum(most.histogram()[1:]), most.getbbox()
