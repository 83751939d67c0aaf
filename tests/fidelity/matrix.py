"""The matrix: what is there, and what becomes of it. Each case has a folder to itself, so all can happen at once.

Sessions run this very text in the sandbox: it needs the standard library of Python 3.10, and nothing else.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

Act = Callable[[Path], object]

#: name -> (what is there, what changes it); both are given the case's folder
CASES: dict[str, tuple[Act, Act]] = {}


# -- what is there ---------------------------------------------------------------------------------------------


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def nothing(at: Path) -> None:
    pass


def a_file(at: Path) -> None:
    (at / "f").write_bytes(noise(5000))
    os.utime(at / "f", ns=(1, 987654321_123456789))


def a_large_file(at: Path) -> None:
    (at / "f").write_bytes(noise(2 * MIB + 77))


def an_empty_file(at: Path) -> None:
    (at / "f").touch()


def two_files(at: Path) -> None:
    for name in "fg":
        (at / name).write_text(name)


def twins_in_case(at: Path) -> None:
    for name in ("a", "A"):
        (at / name).write_text(name)


def two_names(at: Path) -> None:
    (at / "f").write_text("shared")
    (at / "inner").mkdir()
    (at / "inner" / "g").hardlink_to(at / "f")


def a_sparse_file(at: Path) -> None:
    with open(at / "f", "wb") as file:
        file.seek(8 * MIB)
        file.write(b"the end")


def a_small_sparse_file(at: Path) -> None:
    with open(at / "f", "wb") as file:
        file.seek(MIB // 2)
        file.write(b"the end")


def a_folder(at: Path) -> None:
    (at / "f").mkdir()
    os.utime(at / "f", ns=(1, 987654321_000000001))


def a_tree(at: Path) -> None:
    (at / "f" / "inner" / "empty").mkdir(parents=True)
    (at / "f" / "inner" / "file").write_text("deep")
    (at / "f" / "file").write_bytes(noise(3000, 1))
    (at / "f" / "link").symlink_to("inner/file")


def a_deep_tree(at: Path) -> None:
    deepest = at.joinpath("f", *["d"] * 120)
    deepest.mkdir(parents=True)
    (deepest / "file").write_text("down here")


def a_wide_tree(at: Path) -> None:
    (at / "f").mkdir()
    for number in range(400):
        (at / "f" / str(number)).write_text(str(number))


def a_symlink(at: Path) -> None:
    (at / "target").write_text("target")
    (at / "f").symlink_to("target")
    os.utime(at / "f", ns=(1, 55_000000007), follow_symlinks=False)


def a_dangling_symlink(at: Path) -> None:
    (at / "f").symlink_to("/nowhere/at all")


def a_fifo(at: Path) -> None:
    os.mkfifo(at / "f", 0o640)


def an_attribute(at: Path) -> None:
    a_file(at)
    os.setxattr(at / "f", "user.colour", b"blue\0\xff")


def an_attribute_of_a_folder(at: Path) -> None:
    a_folder(at)
    os.setxattr(at / "f", "user.colour", b"red")


def a_locked_file(at: Path) -> None:
    a_file(at)
    (at / "f").chmod(0)


# -- how it is changed -----------------------------------------------------------------------------------------


def all_of(*acts: Act) -> Act:
    return lambda at: [act(at) for act in acts]


def write(name: str, content: bytes) -> Act:
    return lambda at: (at / name).write_bytes(content)


def append(content: bytes) -> Act:
    return lambda at: write_at(at / "f", "ab", 0, content)


def cut(size: int) -> Act:
    return lambda at: os.truncate(at / "f", size)


def poke(offset: int, content: bytes, name: str = "f") -> Act:
    return lambda at: write_at(at / name, "r+b", offset, content)


def write_at(path: Path, mode: str, offset: int, content: bytes) -> None:
    with open(path, mode) as file:
        file.seek(offset)
        file.write(content)


def poke_in_secret(at: Path) -> None:
    """Size and mtime stay as they were."""
    was = os.stat(at / "f")
    poke(100, b"elsewhere")(at)
    os.utime(at / "f", ns=(was.st_atime_ns, was.st_mtime_ns))


def write_through_memory(at: Path) -> None:
    with open(at / "f", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[1000:1006] = b"mapped"


def rename_over(name: str = "f", content: bytes = b"a new inode") -> Act:
    def act(at: Path) -> None:
        (at / "fresh").write_bytes(content)
        (at / "fresh").rename(at / name)

    return act


def swap(a: str, b: str) -> Act:
    def act(at: Path) -> None:
        (at / a).rename(at / "aside")
        (at / b).rename(at / a)
        (at / "aside").rename(at / b)

    return act


def exchange(a: str, b: str) -> Act:
    def act(at: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(-100, os.fsencode(at / a), -100, os.fsencode(at / b), 2):
            raise OSError(ctypes.get_errno(), "renameat2")

    return act


def move(name: str, to: str) -> Act:
    def act(at: Path) -> None:
        (at / to).parent.mkdir(exist_ok=True)
        (at / name).rename(at / to)

    return act


def link(name: str, to: str) -> Act:
    def act(at: Path) -> None:
        (at / to).parent.mkdir(exist_ok=True)
        (at / to).hardlink_to(at / name)

    return act


def delete(name: str = "f") -> Act:
    return lambda at: remove(at / name)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def again(make: Act, name: str = "f") -> Act:
    """It goes, and another is made in its place."""
    return all_of(delete(name), make)


def mode(bits: int) -> Act:
    return lambda at: (at / "f").chmod(bits)


def times(nanoseconds: int) -> Act:
    return lambda at: os.utime(at / "f", ns=(5, nanoseconds), follow_symlinks=False)


def attribute(name: str, value: bytes) -> Act:
    return lambda at: os.setxattr(at / "f", name, value)


def no_attribute(at: Path) -> None:
    os.removexattr(at / "f", "user.colour")


def access_list(path: Path, kind: str = "access") -> None:
    """One more user, which is ourselves, may read it."""
    entries = [(1, 6, -1), (2, 4, os.getuid()), (4, 4, -1), (16, 4, -1), (32, 0, -1)]
    packed = b"".join(struct.pack("<HHi", *entry) for entry in entries)
    os.setxattr(path, f"system.posix_acl_{kind}", struct.pack("<I", 2) + packed)


def owner(at: Path) -> None:
    """Only root may give a file away. Others take it into another of their groups, if they have one."""
    others = [group for group in os.getgroups() if group != os.getgid()]
    os.chown(at / "f", 1234 if os.geteuid() == 0 else -1, 4321 if os.geteuid() == 0 else (others or [-1])[0])


def through_a_name_that_comes_and_goes(at: Path) -> None:
    link("f", "inner/g")(at)
    poke(0, b"behind", "inner/g")(at)
    remove(at / "inner" / "g")


def move_the_hole(at: Path) -> None:
    os.truncate(at / "f", 0)
    with open(at / "f", "wb") as file:
        file.write(b"the beginning")
        file.truncate(8 * MIB)


def named(name: bytes) -> Act:
    return lambda at: (at / os.fsdecode(name)).write_bytes(name)


def rename_in_bytes(name: bytes, to: bytes) -> Act:
    return lambda at: os.rename(os.fsencode(at) + b"/" + name, os.fsencode(at) + b"/" + to)


MIB = 1 << 20
LONG, BYTES, BREAK = b"n" * 255, b"\xff\xfe\x80 not text", b"line\nbreak\x1b[31m"

CASES |= {
    "nothing": (a_tree, nothing),
    # content
    "file: written": (a_file, write("f", b"else")),
    "file: appended to": (a_file, append(b"more" * 4000)),
    "file: truncated": (a_file, cut(10)),
    "file: emptied": (a_file, cut(0)),
    "file: extended by a hole": (a_file, cut(100_000)),
    "file: written in the middle": (a_file, poke(2000, b"in place")),
    "file: written with its size and time kept": (a_file, poke_in_secret),
    "file: written through a map": (a_file, write_through_memory),
    "file: renamed over": (a_file, rename_over()),
    "file: renamed over by its equal": (a_file, rename_over(content=noise(5000))),
    "file: two swap names": (two_files, swap("f", "g")),
    "file: two are exchanged": (two_files, exchange("f", "g")),
    "file: moved to another folder": (a_file, move("f", "inner/g")),
    "file: deleted": (a_file, delete()),
    "file: made": (nothing, a_file),
    "file: deleted and made again": (a_file, again(a_file)),
    "empty file: filled": (an_empty_file, write("f", b"something")),
    "large file: written in the middle": (a_large_file, poke(MIB, b"changed")),
    "large file: written through a map": (a_large_file, write_through_memory),
    "large file: appended to": (a_large_file, append(noise(MIB))),
    "large file: becomes small": (a_large_file, cut(3)),
    "large file: made of a small one": (a_file, append(noise(2 * MIB))),
    "large file: deleted": (a_large_file, delete()),
    "large file: made": (nothing, a_large_file),
    # hard links
    "hard link: made": (a_file, link("f", "g")),
    "hard link: made in another folder": (a_file, link("f", "inner/g")),
    "hard link: a third made": (two_names, link("f", "h")),
    "hard link: broken by a rename": (two_names, rename_over("f", b"shared")),
    "hard link: broken by a delete": (two_names, delete("inner/g")),
    "hard link: written through one name": (two_names, write("inner/g", b"through the other")),
    "hard link: dealt anew": (all_of(two_names, named(b"h")), all_of(delete("f"), link("h", "f"))),
    "hard link: all names deleted": (two_names, all_of(delete("f"), delete("inner"))),
    "hard link: made, written through, deleted": (a_file, through_a_name_that_comes_and_goes),
    "hard link: of a symlink": (
        a_symlink,
        lambda at: os.link(at / "f", at / "g", follow_symlinks=False),
    ),
    # mode, owner, times, attributes
    "file: mode": (a_file, mode(0o600)),
    "file: setuid bit": (a_file, mode(0o4755)),
    "file: locked": (a_file, mode(0)),
    "file: opened up": (a_locked_file, mode(0o644)),
    "file: opened up and written": (a_locked_file, all_of(mode(0o644), write("f", b"open"))),
    "file: owner": (a_file, owner),
    "file: time": (a_file, times(123456789)),
    "file: time before 1970": (a_file, times(-1_000000001)),
    "file: attribute set": (a_file, attribute("user.new", b"")),
    "file: attribute changed": (an_attribute, attribute("user.colour", noise(900))),
    "file: attribute removed": (an_attribute, no_attribute),
    "file: access list": (a_file, lambda at: access_list(at / "f")),
    "folder: mode": (a_folder, mode(0o1777)),
    "folder: locked with what is in it": (a_tree, mode(0o300)),
    "folder: time": (a_folder, times(123)),
    "folder: attribute set": (a_folder, attribute("user.new", b"x")),
    "folder: default access list": (a_folder, lambda at: access_list(at / "f", "default")),
    "folder: default access list, and what inherits it": (
        a_folder,
        all_of(
            lambda at: access_list(at / "f", "default"),
            write("f/g", b"heir"),
            lambda at: (at / "f" / "h").mkdir(),
        ),
    ),
    "folder: what inherits its default access list goes": (
        all_of(a_folder, lambda at: access_list(at / "f", "default"), write("f/g", b"heir")),
        delete("f/g"),
    ),
    "folder: setgid bit": (a_folder, mode(0o2775)),
    "folder: attribute removed": (an_attribute_of_a_folder, no_attribute),
    "fifo: mode": (a_fifo, mode(0o600)),
    "fifo: time": (a_fifo, times(123)),
    "fifo: access list": (a_fifo, lambda at: access_list(at / "f")),
    "symlink: time": (a_symlink, times(123)),
    # holes
    "hole: made in a file": (a_large_file, move_the_hole),
    "hole: filled": (a_sparse_file, poke(MIB, noise(5 * MIB))),
    "hole: filled in a small file": (a_small_sparse_file, poke(9, noise(400_000))),
    "hole: moved": (a_sparse_file, move_the_hole),
    "hole: deleted with its file": (a_sparse_file, delete()),
    "hole: made with its file": (nothing, a_sparse_file),
    # folders
    "folder: made": (nothing, a_folder),
    "folder: removed": (a_folder, delete()),
    "folder: removed and made again": (a_tree, again(a_tree)),
    "folder: renamed": (a_tree, move("f", "g")),
    "folder: moved into another": (a_tree, move("f", "other/f")),
    "folder: two swap names": (all_of(a_tree, lambda at: (at / "g").mkdir()), swap("f", "g")),
    "folder: its parent and itself change places": (
        a_tree,
        all_of(move("f/inner", "aside"), move("f", "aside/f"), move("aside", "f")),
    ),
    "tree: made": (nothing, a_tree),
    "tree: deleted": (a_tree, delete()),
    "tree: copied": (a_tree, lambda at: shutil.copytree(at / "f", at / "copy", symlinks=True)),
    "deep tree: made": (nothing, a_deep_tree),
    "deep tree: deleted": (a_deep_tree, delete()),
    "deep tree: changed at its end": (a_deep_tree, poke(0, b"DOWN", "/".join(["f", *["d"] * 120, "file"]))),
    "wide tree: made": (nothing, a_wide_tree),
    "wide tree: deleted": (a_wide_tree, delete()),
    "wide tree: every other file deleted": (
        a_wide_tree,
        all_of(*(delete(f"f/{number}") for number in range(0, 400, 2))),
    ),
    # names
    "name of 255 bytes: made": (nothing, named(LONG)),
    "name of 255 bytes: taken by another": (all_of(a_file, named(LONG)), rename_in_bytes(b"f", LONG)),
    "name that is no text: made": (nothing, named(BYTES)),
    "name that is no text: deleted": (named(BYTES), delete(os.fsdecode(BYTES))),
    "name with a line break and an escape code: made": (nothing, named(BREAK)),
    "names: one odd one becomes another": (named(BREAK), rename_in_bytes(BREAK, BYTES)),
    "names: one character written in two ways": (named("é".encode()), named("e\u0301".encode())),
    "case twin: made": (named(b"a"), named(b"A")),
    "case twin: one is written": (twins_in_case, write("A", b"other")),
    "case twin: one is deleted": (twins_in_case, delete("a")),
    "case twin: they swap names": (twins_in_case, swap("a", "A")),
    "case twin: a name changes its case": (named(b"a"), rename_in_bytes(b"a", b"A")),
    # symlinks
    "symlink: made": (nothing, a_symlink),
    "symlink: points elsewhere": (a_symlink, again(lambda at: (at / "f").symlink_to("/etc/passwd"))),
    "symlink: points to itself": (a_symlink, again(lambda at: (at / "f").symlink_to("f"))),
    "symlink: its target is written": (a_symlink, write("f", b"through the link")),
    "symlink: left dangling": (a_symlink, delete("target")),
    "dangling symlink: made": (nothing, a_dangling_symlink),
    "dangling symlink: deleted": (a_dangling_symlink, delete()),
}

KINDS = {
    "file": a_file,
    "large file": a_large_file,
    "folder": a_folder,
    "tree": a_tree,
    "symlink": a_dangling_symlink,
    "fifo": a_fifo,
}
CASES |= {
    f"{kind} becomes {other}": (make, again(make_other))
    for kind, make in KINDS.items()
    for other, make_other in KINDS.items()
    if kind != other
}
CASES["file becomes folder, symlink and file again"] = (
    a_file,
    all_of(again(a_tree), again(a_dangling_symlink), again(a_file)),
)


def prepare(root: Path) -> None:
    """Every case's folder with what is there before."""
    for name, (before, _) in CASES.items():
        place(root, name).mkdir()
        before(place(root, name))


def change(root: Path) -> None:
    """Everything at once."""
    for name, (_, act) in CASES.items():
        act(place(root, name))


def place(root: Path, name: str) -> Path:
    return root / name.replace("/", " ")
