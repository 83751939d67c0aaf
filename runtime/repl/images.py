"""Pictures: in the terminal where it can show them, else in a file whose path is said.

A picture was made by code in the sandbox. Here nothing decodes it: that it begins as its type does, and how large it
is, is read from its first bytes. What is sent to the terminal is Base64 that was encoded here, so it cannot end its
sequence; the file's name is ours.
"""

from __future__ import annotations

import base64
import binascii
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Way = Literal["kitty", "iterm2", ""]
#: bytes of one picture, pixels of one side, pictures that one session saves
LARGEST, _SIDE, MOST = 16 << 20, 10_000, 500
#: characters of one of kitty's sequences
_PIECE = 4096
_BEGIN = {
    "image/png": (b"\x89PNG\r\n\x1a\n", ".png"),
    "image/jpeg": (b"\xff\xd8\xff", ".jpg"),
    "image/gif": (b"GIF8", ".gif"),
    "image/webp": (b"RIFF", ".webp"),
}


@dataclass(frozen=True, slots=True)
class Picture:
    kind: str
    data: bytes
    suffix: str


def picture_in(data: Mapping[str, Any]) -> Picture | None:
    """The picture of a bundle, as far as it is one."""
    for kind, (begin, suffix) in _BEGIN.items():
        text = data.get(kind)
        if not isinstance(text, str) or len(text) > LARGEST * 4 // 3 + 1024:
            continue
        try:
            raw = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            continue
        if raw.startswith(begin):
            return Picture(kind, raw, suffix)
    return None


def way_to_show(environment: Mapping[str, str]) -> Way:
    """What the terminal says of itself. Behind tmux and screen, which pass none of it on, there is no way."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if term.startswith(("screen", "tmux")) or "TMUX" in environment or term == "dumb":
        return ""
    if "KITTY_WINDOW_ID" in environment or "kitty" in term or "ghostty" in term or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm", "mintty", "vscode") or "ITERM_SESSION_ID" in environment:
        return "iterm2"
    return ""


def shown(picture: Picture, way: Way) -> str:
    """What makes the terminal show it; empty where it cannot show this one."""
    if way == "kitty" and _fits(picture):
        return "".join(_kitty(base64.b64encode(picture.data).decode())) + "\n"
    if way == "iterm2" and (picture.kind != "image/png" or _fits(picture)):
        text = base64.b64encode(picture.data).decode()
        size = len(picture.data)
        return f"\x1b]1337;File=inline=1;size={size};preserveAspectRatio=1:{text}\x07\n"
    return ""


def _kitty(text: str) -> Iterator[str]:
    pieces = [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
    for number, piece in enumerate(pieces):
        more = int(number < len(pieces) - 1)
        keys = f"a=T,f=100,q=2,m={more}" if number == 0 else f"m={more}"
        yield f"\x1b_G{keys};{piece}\x1b\\"


def _fits(picture: Picture) -> bool:
    """Only a PNG of a size that a terminal can hold."""
    if picture.kind != "image/png" or len(picture.data) < 24:
        return False
    width, height = struct.unpack(">II", picture.data[16:24])
    return bool(0 < width <= _SIDE and 0 < height <= _SIDE)


class Album:
    """The files that pictures are saved in: `FOLDER/NAME-STEP-NUMBER.png`, for the user alone. They stay."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._count = 0

    def save(self, picture: Picture, step: int) -> Path | None:
        """Where it is now; None where there are too many already. Raises OSError."""
        if self._count >= MOST:
            return None
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._count += 1
        path = self._folder / f"{self._name}-{step}-{self._count}{picture.suffix}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(picture.data)
        return path
