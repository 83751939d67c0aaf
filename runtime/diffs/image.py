"""Pictures: size, mode, and how many pixels differ and where. Read by Pillow, of an animation the first frame.

The size is looked at before a pixel is unpacked. Only formats that are common, and that Pillow reads without other
programs, are tried.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageChops

from mulligan.runtime.diffs.detail import Detail, Line, Unfit, counted

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
MOST_PIXELS = 40_000_000

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Picture:
    image: Image.Image
    format: str
    moves: bool

    def __str__(self) -> str:
        return f"{self.size} {self.format} {self.image.mode}"

    @property
    def size(self) -> str:
        return f"{self.image.width}x{self.image.height}"


def compare(before: bytes | None, after: bytes | None, lines: int) -> Detail:
    old, new = (None if data is None else _read(data) for data in (before, after))
    there = new or old
    assert there is not None
    counts = {"width": there.image.width, "height": there.image.height}
    if old is None or new is None:
        return Detail("image", str(there), counts)
    said = [Line("~", f"{old} → {new}")] if str(old) != str(new) else []
    if old.size != new.size:
        return Detail("image", f"{old.size} → {new.size}", counts, tuple(said))
    changed, box = _difference(old.image, new.image)
    if changed:
        said.append(Line("~", _tell(changed, box, new.image)))
    summary = f"{counted(changed, 'pixel')} changed" if changed else "the same pixels"
    notes = ("of an animation only the first frame is compared",) if old.moves or new.moves else ()
    return Detail("image", summary, counts | {"pixels_changed": changed}, tuple(said), notes=notes)


def _read(data: bytes) -> Picture:
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None  # the bound is ours, below
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Unfit(f"it has {image.width}x{image.height} pixels: too many to unpack")
            image.load()
            return Picture(image.copy(), str(image.format), bool(getattr(image, "is_animated", False)))
    except (Unfit, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken file makes them stumble over
        raise Unfit(f"it cannot be read as an image: {str(error)[:200]}") from error


def _tell(changed: int, box: Box | None, image: Image.Image) -> str:
    pixels = image.width * image.height
    said = f"{changed:,} of {pixels:,} pixels ({100 * changed / pixels:.2g} %)"
    return said if box is None else f"{said}, ({box[0]}, {box[1]}) to ({box[2] - 1}, {box[3] - 1})"


def _difference(old: Image.Image, new: Image.Image) -> tuple[int, Box | None]:
    """How many pixels differ in any channel, and the box around them, where it is known."""
    if old.mode == new.mode and old.mode[0] in "IF":
        return _count(old, new), None
    bands = ImageChops.difference(old.convert("RGBA"), new.convert("RGBA")).split()
    most = bands[0]
    for band in bands[1:]:
        most = ImageChops.lighter(most, band)
    return sum(most.histogram()[1:]), most.getbbox()


def _count(old: Image.Image, new: Image.Image) -> int:
    """Pixels that differ, of more bits than 8, which a conversion would lose."""
    here, there = old.tobytes(), new.tobytes()
    form: Literal["H", "I"] = "H" if len(here) == 2 * old.width * old.height else "I"
    return sum(a != b for a, b in zip(memoryview(here).cast(form), memoryview(there).cast(form), strict=True))
