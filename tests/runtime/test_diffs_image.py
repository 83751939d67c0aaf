"""Pictures, compared by size and pixels; and all else, by size."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from mulligan.runtime.diffs.parsing import Parsing


def picture(
    size: tuple[int, int] = (40, 30),
    *,
    mode: str = "RGB",
    dots: tuple[tuple[int, int], ...] = (),
    form: str = "PNG",
) -> bytes:
    image = Image.new(mode, size)
    for dot in dots:
        image.putpixel(dot, 255 if mode == "L" else (255,) * len(mode))
    file = io.BytesIO()
    image.save(file, form, **({"lossless": True} if form == "WEBP" else {}))
    return file.getvalue()


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP", "GIF"])
def test_pixels_that_changed_are_counted_and_placed(parsing: Parsing, form: str) -> None:
    detail = parsing.compare("a", picture(form=form), picture(form=form, dots=((3, 4), (10, 20))), 100)
    assert (detail.kind, detail.summary) == ("image", "2 pixels changed")
    assert detail.counts["pixels_changed"] == 2
    assert "2 of 1,200 pixels (0.17 %), (3, 4) to (10, 20)" in [line.text for line in detail.lines]


def test_another_size_is_told(parsing: Parsing) -> None:
    detail = parsing.compare("a.png", picture(), picture((50, 30)), 100)
    assert detail.counts == {"width": 50, "height": 30}
    assert "40" in detail.summary and "50" in detail.summary


def test_another_mode_or_format_of_the_same_pixels_is_told(parsing: Parsing) -> None:
    detail = parsing.compare("a.png", picture(mode="L"), picture(mode="RGB", form="BMP"), 100)
    assert detail.summary == "the same pixels"
    assert "PNG L → " in detail.lines[0].text and detail.lines[0].text.endswith("BMP RGB")


def test_pixels_of_16_bits_that_differ_in_the_last_are_counted(parsing: Parsing) -> None:
    before, after = (Image.new("I;16", (8, 8), 1000) for _ in range(2))
    after.putpixel((3, 3), 1001)
    contents = []
    for image in (before, after):
        image.save(file := io.BytesIO(), "PNG")
        contents.append(file.getvalue())
    assert parsing.compare("a.png", contents[0], contents[1], 100).counts["pixels_changed"] == 1


def test_of_an_animation_it_is_said_that_only_its_first_frame_is_compared(parsing: Parsing) -> None:
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 100, 200)]
    frames[0].save(file := io.BytesIO(), "GIF", save_all=True, append_images=frames[1:])
    frames[0].save(other := io.BytesIO(), "GIF", save_all=True, append_images=frames[1:2])
    detail = parsing.compare("a.gif", file.getvalue(), other.getvalue(), 100)
    assert detail.notes == ("of an animation only the first frame is compared",)


def test_a_new_picture_is_told_by_its_size(parsing: Parsing) -> None:
    assert parsing.compare("a.png", None, picture(), 100).counts == {"width": 40, "height": 30}


def test_a_broken_picture_is_told_by_its_bytes(parsing: Parsing) -> None:
    whole = picture()
    detail = parsing.compare("a.png", whole, whole[:40], 100)
    assert (detail.kind, detail.counts) == ("binary", {"bytes_before": len(whole), "bytes_after": 40})
    assert detail.notes[0].startswith("not compared as image: it cannot be read as an image")


def test_a_name_does_not_make_a_kind(parsing: Parsing) -> None:
    assert parsing.compare("a.png", b"just text\n", b"other text\n", 100).kind == "text"
    assert parsing.compare("a.txt", picture(), picture(dots=((1, 1),)), 100).kind == "image"
    assert parsing.compare("a.png", picture(), b"just text\n", 100).kind == "binary"


def test_binary_contents_of_one_size_are_said_to_differ(parsing: Parsing) -> None:
    detail = parsing.compare("a.bin", b"\0\1", b"\0\2", 100)
    assert detail.summary == "2 bytes, of which some differ"


def test_a_parsing_process_that_was_killed_is_started_again(parsing: Parsing) -> None:
    assert parsing.compare("a", b"a\n", b"b\n", 100).kind == "text"
    process = parsing._process
    assert process is not None
    process.kill()
    process.wait()
    lost = parsing.compare("a", b"a\n", b"b\n", 100)
    assert (lost.kind, lost.notes) == (
        "binary",
        ("not compared as text: the process that reads it was lost",),
    )
    assert parsing.compare("a", b"a\n", b"b\n", 100).kind == "text"


@pytest.mark.parametrize(("library", "shown"), [("PIL", "Pillow"), ("pyarrow", "pyarrow")])
def test_a_library_that_is_missing_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, shown: str
) -> None:
    (tmp_path / f"{library}.py").write_text(f"raise ModuleNotFoundError(name={library!r})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    content = picture() if library == "PIL" else b"PAR1\0"
    with Parsing() as parsing:
        detail = parsing.compare("a", None, content, 100)
    assert detail.kind == "binary"
    assert detail.notes[0].endswith(f"{shown} is not installed: pip install 'mulligan[diff]'")
