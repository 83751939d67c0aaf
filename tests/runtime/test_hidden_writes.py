"""In a tree that is too large to be looked through each time: writes of which no watch tells are kept all the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mulligan
from mulligan import Session
from mulligan.runtime.checkpoint import SMALL

PLANT = f"""
import mmap, os, subprocess, sys
os.mkdir('near'); os.mkdir('far')
for number in range({SMALL + 100}):
    open(f'far/{{number}}', 'w').close()
def put(path, text):
    with open(path, 'w') as file:
        file.write(text)
def behind(text):
    os.link('near/file', 'far/other'); put('far/other', text); os.unlink('far/other')
put('near/file', 'first'.ljust(4096))
"""
READ = "print(open('near/file').read(5))"

LOSE = """
h = open('far/open', 'w+'); h.write('later'); h.flush()
os.unlink('near/file'); os.link('far/open', 'near/file'); os.unlink('far/open')
"""
MAP = "f = open('near/file', 'r+b'); m = mmap.mmap(f.fileno(), 5); m[:5] = b'later'"
ODD = "os.rename('near/file', 'near/li\\nne'); os.symlink('li\\nne', 'near/file')\n"
CHILD = """
child = subprocess.Popen([sys.executable, '-c', '''if 1:
    import mmap
    f = open("near/file", "r+b")
    m = mmap.mmap(f.fileno(), 5)
    for word in (b"later", b"third"):
        m[:5] = word
        print(flush=True)
        input()
'''], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
"""
NEXT = "child.stdin.write(b'\\n'); child.stdin.flush(); child.stdout.readline()"

#: how the file is changed in two actions: to "later", then to "third"
WAYS = {
    "through a name that comes and goes": ("behind('later')", "behind('third')"),
    "through a name that comes and goes, then openly": ("behind('later')", "put('near/file', 'third')"),
    "through a name that was lost": (LOSE, "h.seek(0); h.write('third'); h.flush()"),
    "through memory": (MAP, "m[:5] = b'third'"),
    "through memory, under a name with a line break": (ODD + MAP, "m[:5] = b'third'"),
    "through the memory of another process": (CHILD, NEXT),
}


@pytest.fixture(scope="module")
def planted(isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with mulligan.open(isolation=isolation, state=tmp_path_factory.mktemp("state")) as session:
        yield session


@pytest.fixture
def large(planted: Session) -> Session:
    planted.reset()
    done(planted, PLANT)
    return planted


def done(session: Session, source: str) -> int:
    step = session.run(source)
    assert step.outcome.kind == "completed", step.outcome.text
    assert step.reach is not None
    return step.id


def text(session: Session) -> str:
    return session.run(READ).outcome.stdout.strip()


@pytest.mark.parametrize("way", WAYS)
def test_each_step_has_what_it_wrote(large: Session, way: str) -> None:
    first, second, third = large.timeline.cursor, *(done(large, source) for source in WAYS[way])
    for step, wanted in [(second, "later"), (third, "third"), (first, "first"), (second, "later")]:
        large.goto(step)
        assert (step, text(large)) == (step, wanted)


LOOK_ON = """
import ctypes
f = open('near/file', 'r+b'); m = mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ)
libc = ctypes.CDLL(None)
"""
WRITE = """
libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
found = next(line for line in open('/proc/self/maps') if line.rstrip().endswith('near/file'))
at = int(found.partition('-')[0], 16)
assert libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(4096), 3) == 0
ctypes.memmove(at, b'later', 5)
"""


def test_a_map_that_was_only_to_be_read_and_is_written_steps_later_is_noticed_then(large: Session) -> None:
    before = [done(large, LOOK_ON), *(done(large, f"x = {n}") for n in range(4))][-1]
    after = done(large, WRITE)
    for step, wanted in [(before, "first"), (after, "later"), (before, "first")]:
        large.goto(step)
        assert (step, text(large)) == (step, wanted)
