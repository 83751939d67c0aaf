"""What a process holds comes back with undo as it was, bit for bit: each case in both isolations.

Each case makes something, and looks at it. The first look, in a session where nothing was undone, is the truth.
The state is wrecked (and the look must then differ), taken back, and looked at again, twice: a look may consume
what it looks at, so the second one shows that a checkpoint can be returned to more than once.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mulligan import Session, Step


def run(session: Session, source: str) -> Step:
    step = session.run(source, timeout=60)
    assert step.outcome.kind == "completed", step.outcome.text
    return step


def look_at(session: Session, look: str) -> str:
    """What it printed, or the exception that it raised: after the wreck, either may come."""
    outcome = session.run(look, timeout=60).outcome
    assert outcome.kind in ("completed", "raised"), outcome.text
    return outcome.stdout + (outcome.error.name if outcome.error else "")


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    make: str
    look: str
    wreck: str


CASES = (
    Case(
        "a live generator",
        """
def running_total():
    total = 0
    try:
        while True:
            total += yield total
    finally:
        ended.append(total)
ended = []
g = running_total()
next(g); g.send(5)
""",
        "print([g.send(i) for i in range(5)], g.gi_frame.f_locals, ended)",
        "g.close()",
    ),
    Case(
        "a generator that delegates to others",
        """
def leaf(n):
    for i in range(n):
        yield i
def branch(n):
    yield from leaf(n)
    yield from branch(n + 1)
g = branch(2)
first = [next(g) for _ in range(4)]
""",
        "print([next(g) for _ in range(9)])",
        "[next(g) for _ in range(50)]",
    ),
    Case(
        "an async generator and a half-run coroutine",
        """
import types
async def ticks():
    n = 0
    while True:
        n += 1
        yield n
@types.coroutine
def pause(value):
    return (yield value)
async def walk():
    return [await pause("one"), await pause("two")]
ticking, walking = ticks(), walk()
await anext(ticking)
walking.send(None)
""",
        """
print(await anext(ticking), walking.send("a"))
try:
    walking.send("b")
except StopIteration as end:
    print(end.value)
""",
        "await ticking.aclose(); walking.close()",
    ),
    Case(
        "an open file that appends, with text in its buffer",
        "f = open('log.txt', 'a'); f.write('one\\n'); f.flush(); _ = f.write('in the buffer\\n')",
        "_ = f.write('end\\n'); f.flush(); print(repr(open('log.txt', 'rb').read()), f.tell())",
        "f.write('x' * 100_000); f.close(); open('log.txt', 'a').write('more')",
    ),
    Case(
        "an open file that is being read",
        """
open('data.txt', 'w').write(''.join(f'line {i}\\n' for i in range(1000)))
f = open('data.txt'); f.readline()
b = open('data.txt', 'rb', buffering=0); b.seek(700)
""",
        "print(repr(f.readline()), f.tell(), b.read(20), b.tell())",
        "f.read(); b.seek(0, 2); import os; os.remove('data.txt'); open('data.txt', 'w').write('another')",
    ),
    Case(
        "a timer that runs",
        "import signal; _ = signal.setitimer(signal.ITIMER_REAL, 5000, 7)",
        "print([round(t, -1) for t in signal.getitimer(signal.ITIMER_REAL)])",
        "signal.setitimer(signal.ITIMER_REAL, 0)",
    ),
    Case(
        "a file that is mapped into memory",
        """
import mmap
file = open('mapped.bin', 'w+b'); file.write(b'0123456789' * 1000); file.flush()
m = mmap.mmap(file.fileno(), 0)
m[0:4] = b'head'; m.flush()
""",
        "print(m[:12], open('mapped.bin', 'rb').read(12)); m[4:6] = b'!!'; print(open('mapped.bin', 'rb').read(12))",
        "m[:] = b'z' * len(m); m.flush()",
    ),
    Case(
        "descriptors duplicated at one offset",
        """
import os
os.makedirs('d', exist_ok=True)
a = os.open('d/shared.txt', os.O_RDWR | os.O_CREAT); os.write(a, b'abcdefgh'); os.lseek(a, 2, 0)
b = os.dup(a)
""",
        "print(os.read(a, 2), os.read(b, 2), os.lseek(a, 0, 1), os.lseek(b, 0, 1))",
        "os.lseek(a, 0, 2); os.close(b)",
    ),
    Case(
        "the state of random",
        "import random; random.random(); random.gauss(0, 1); own = random.Random(); own.random()",
        "print(random.random(), random.gauss(0, 1), random.randrange(10**30), own.random())",
        "random.seed(1); own.seed(2)",
    ),
    Case(
        "numpy's generators",
        """
import numpy as np
rng = np.random.default_rng(); rng.random(3)
old = np.random.RandomState(); np.random.normal()
""",
        "print(rng.random(3).tobytes().hex(), old.rand().hex(), np.random.normal().hex(), rng.bit_generator.state)",
        "rng.random(1); np.random.seed(0); old.seed(0)",
    ),
    Case(
        "the C library's random state",
        "import ctypes; libc = ctypes.CDLL(None); libc.srand(77); _ = libc.rand()",
        "print([libc.rand() for _ in range(5)])",
        "libc.srand(1)",
    ),
    Case(
        "an array of numpy, its views and its flags",
        """
import hashlib, numpy as np
a = np.random.default_rng(3).standard_normal((500, 400)); a[7, 7] = -0.0; a[8, 8] = np.nan
view = a[::2, ::3]; view.flags.writeable = False
""",
        "print(hashlib.sha256(a.tobytes()).hexdigest(), view.base is a, view.flags.writeable, a.ctypes.data)",
        "a *= 2; view.flags.writeable = True",
    ),
    Case(
        "a frame of pandas",
        """
import hashlib, numpy as np, pandas as pd
rng = np.random.default_rng(1)
df = pd.DataFrame({
    'n': rng.integers(0, 9, 5000), 'f': rng.normal(size=5000), 't': pd.date_range('2020', periods=5000, freq='h'),
    's': rng.choice(['a', 'b', None], 5000), 'c': pd.Categorical(rng.choice(['x', 'y'], 5000)),
})
grouped = df.groupby('c', observed=True)
""",
        """
print(hashlib.sha256(pd.util.hash_pandas_object(df).to_numpy().tobytes()).hexdigest(), df.dtypes.to_dict(), df.shape)
print(grouped['f'].sum().to_numpy().tobytes().hex())
""",
        "df.drop(columns=['f', 's'], inplace=True); df['n'] = 0",
    ),
    Case(
        "a half-trained model of sklearn that trains with OpenMP",
        """
import hashlib, numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
rng = np.random.default_rng(5)
X = rng.normal(size=(3000, 12)); y = (X[:, 0] * X[:, 1] > 0).astype(int)
model = HistGradientBoostingClassifier(max_iter=4, warm_start=True, random_state=0).fit(X, y)
""",
        """
before = hashlib.sha256(model.predict_proba(X).tobytes()).hexdigest()
model.set_params(max_iter=9).fit(X, y)
print(before, model.n_iter_, hashlib.sha256(model.predict_proba(X).tobytes()).hexdigest())
""",
        "model.set_params(max_iter=6).fit(X, 1 - y)",
    ),
    Case(
        "figures of matplotlib",
        """
import hashlib, io, matplotlib
matplotlib.use('agg')
import matplotlib.pyplot as plt
fig, (left, right) = plt.subplots(1, 2)
line, = left.plot([3, 1, 2]); right.hist([1, 1, 2, 3]); left.set_title('before')
""",
        """
out = io.BytesIO(); fig.savefig(out, format='png')
print(hashlib.sha256(out.getvalue()).hexdigest(), plt.get_fignums(), fig.axes[0] is left)
""",
        "line.set_ydata([0, 0, 0]); left.set_title('after'); plt.close('all')",
    ),
    Case(
        "an asyncio task that awaits an event",
        """
import asyncio
event, heard = asyncio.Event(), []
async def wait():
    heard.append('waits')
    await event.wait()
    heard.append('went on')
    return 42
task = asyncio.ensure_future(wait())
await asyncio.sleep(0)
""",
        "event.set(); print(await asyncio.gather(task, return_exceptions=True), heard)",
        "task.cancel(); await asyncio.sleep(0)",
    ),
    Case(
        "an asyncio task that works through a queue",
        """
import asyncio
queue, done = asyncio.Queue(), []
async def work():
    while True:
        done.append(await queue.get() * 2)
        queue.task_done()
worker = asyncio.create_task(work())
queue.put_nowait(1); await queue.join()
""",
        "queue.put_nowait(2); queue.put_nowait(3); await queue.join(); print(done, worker.done())",
        "queue.put_nowait(100); await queue.join()",
    ),
    Case(
        "closures, lambdas and partial functions",
        """
import functools
def counter():
    n = 0
    def add(by=1):
        nonlocal n
        n += by
        return n
    return add
add = counter(); add()
twice = functools.partial(lambda f, x: f(x) + f(x), add)
""",
        "print(add(), twice(3), add.__closure__[0].cell_contents, id(add))",
        "add(1000); add.__defaults__ = (7,)",
    ),
    Case(
        "classes made in functions, and their instances",
        """
def make():
    class Local:
        made = []
        __slots__ = ('x',)
        def __init__(self, x):
            self.x = x
            type(self).made.append(x)
    return Local
Local = make(); one = Local(1); other = make()(2)
""",
        "print(Local.made, one.x, type(one) is Local, type(other) is Local, other.made, Local.__mro__)",
        "Local.made.append('wreck'); one.x = 9; other.__class__ = Local",
    ),
    Case(
        "locks that are held",
        """
import threading
lock, again, gate = threading.Lock(), threading.RLock(), threading.Semaphore(2)
lock.acquire(); again.acquire(); again.acquire(); gate.acquire()
""",
        """
print(lock.locked(), lock.acquire(blocking=False), gate.acquire(blocking=False), gate.acquire(blocking=False))
again.release(); again.release()
try:
    again.release()
except RuntimeError:
    print('released twice')
""",
        "lock.release(); again.release(); gate.release()",
    ),
    Case(
        "identity",
        """
a = []; b = [a, a]; loop = {}; loop['self'] = loop
key = object(); table = {key: 'found'}; s = frozenset([(1, 2), 'x'])
""",
        "b[0].append(1); print(b[0] is b[1] is a, b, loop['self'] is loop, table[key], id(a), id(key), list(s))",
        "b[1] = list(a); loop['self'] = {}; table.clear()",
    ),
    Case(
        "IPython's In, Out and execution count",
        "40 + 2",
        "print(In, sorted(Out.items()), get_ipython().execution_count, _)",
        "'something else'",
    ),
    Case(
        "IPython's magics, hooks and extensions",
        """
from IPython.core.magic import register_line_magic
seen = []
@register_line_magic
def shout(line):
    return line.upper()
def after(result):
    seen.append(len(result.info.raw_cell))
get_ipython().events.register('post_run_cell', after)
""",
        "print(get_ipython().run_line_magic('shout', 'hello'), seen)",
        "i = get_ipython(); i.events.unregister('post_run_cell', after); del i.magics_manager.magics['line']['shout']",
    ),
    Case(
        "the working folder",
        "import os; os.makedirs('deep/down', exist_ok=True); os.chdir('deep/down')",
        "print(os.getcwd(), os.path.samefile('.', '/workspace/deep/down'))",
        "os.chdir('/tmp')",
    ),
    Case(
        "environment variables",
        "import os; os.environ['COLOUR'] = 'red'; os.environ.pop('HOME', None)",
        "import subprocess; print(sorted(os.environ.items())); subprocess.run('echo $COLOUR', shell=True)",
        "os.environ['COLOUR'] = 'blue'; os.environ['HOME'] = '/nowhere'",
    ),
    Case(
        "the time zone",
        "import os, time; os.environ['TZ'] = 'UTC-5:30'; time.tzset()",
        "print(time.strftime('%Y-%m-%d %H:%M %z', time.localtime(0)))",
        "os.environ['TZ'] = 'UTC+3'; time.tzset()",
    ),
    Case(
        "the umask",
        "import os; _ = os.umask(0o027)",
        "os.close(os.open('made', os.O_CREAT | os.O_WRONLY, 0o666)); print(oct(os.stat('made').st_mode))",
        "_ = os.umask(0o177)",
    ),
    Case(
        "the path of imports and their hooks",
        "import sys; sys.path.insert(0, '/workspace/lib'); sys.meta_path.append(None); _ = sys.meta_path.pop()",
        "print(sys.path, len(sys.meta_path))",
        "sys.path.clear()",
    ),
    Case(
        "modules: one imported later is gone",
        "import sys; open('later.py', 'w').write('print(\"imported\")')",
        "print('later' in sys.modules, 'colorsys' in sys.modules); import later",
        "import later, colorsys",
    ),
    Case(
        "modules that were edited in place",
        """
import sys, importlib
sys.path.insert(0, '')
open('helper.py', 'w').write('LEVEL = 1\\ndef f():\\n    return LEVEL\\n')
import helper
helper.LEVEL = 5
helper.extra = lambda: 'extra'
""",
        "print(helper.LEVEL, helper.f(), helper.extra(), sys.modules['helper'] is helper)",
        "open('helper.py', 'w').write('LEVEL = 222222\\ndef f():\\n    return -LEVEL\\n'); importlib.reload(helper)",
    ),
    Case(
        "builtins that were replaced",
        "import builtins; plain = builtins.divmod; builtins.divmod = lambda a, b: 'mine'; builtins.extra = 1",
        "print(divmod(7, 2), divmod is plain, extra)",
        "builtins.divmod = plain; del builtins.extra",
    ),
    Case(
        "sys.stdout when it was replaced",
        "import io, sys; real = sys.stdout; sys.stdout = io.StringIO(); print('into the buffer')",
        "print('x', file=real); print(repr(sys.stdout.getvalue()), file=real)",
        "sys.stdout.truncate(0); sys.stdout = real",
    ),
    Case(
        "signal handlers",
        "import os, signal; got = []; _ = signal.signal(signal.SIGUSR1, lambda number, frame: got.append(number))",
        "os.kill(os.getpid(), signal.SIGUSR1); print(got)",
        "_ = signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
    ),
    Case(
        "blocked signals, and one that waits",
        """
import os, signal
got = []
signal.signal(signal.SIGUSR2, lambda number, frame: got.append(number))
_ = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
""",
        """
print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
os.kill(os.getpid(), signal.SIGUSR2); print(got)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2}); print(got)
""",
        "_ = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})",
    ),
    Case(
        "weak references",
        """
import weakref
class Thing: pass
thing, calls = Thing(), []
ref = weakref.ref(thing, lambda _: calls.append('died'))
table = weakref.WeakValueDictionary(k=thing)
""",
        "print(ref() is not None, list(table), calls)",
        "del thing; import gc; _ = gc.collect()",
    ),
    Case(
        "finalizers that have not run",
        """
ended = []
class Ends:
    def __del__(self):
        ended.append('ended')
it = Ends()
""",
        "print(ended, 'it' in globals()); del it; print(ended)",
        "it = None",
    ),
    Case(
        "filters of warnings",
        "import warnings; warnings.simplefilter('error', UserWarning)",
        """
try:
    warnings.warn('careful', UserWarning)
    print('passed')
except UserWarning as error:
    print('raised', error)
""",
        "warnings.simplefilter('ignore')",
    ),
    Case(
        "thread-local values",
        "import threading; local = threading.local(); local.x = [1]",
        "local.x.append(2); print(local.x, vars(local))",
        "del local.x",
    ),
    Case(
        "the decimal context",
        "import decimal; decimal.DefaultContext.prec = 9; decimal.setcontext(decimal.Context(prec=6))",
        "print(decimal.Decimal(1) / 7, decimal.DefaultContext.prec)",
        "decimal.getcontext().prec = 30; decimal.DefaultContext.prec = 40",
    ),
    Case(
        "loggers, their handlers and levels",
        """
import io, logging
stream = io.StringIO(); log = logging.getLogger('mine')
log.addHandler(logging.StreamHandler(stream)); log.setLevel(logging.INFO); log.propagate = False
log.info('one')
""",
        "log.info('two'); log.debug('not shown'); print(repr(stream.getvalue()))",
        "log.handlers.clear(); log.setLevel(logging.CRITICAL)",
    ),
    Case(
        "caches, and settings of the interpreter",
        """
import functools, gc, sys
@functools.lru_cache
def slow(x):
    return object()
kept = slow(1)
gc.disable(); sys.setrecursionlimit(4321)
""",
        "print(slow(1) is kept, slow.cache_info(), gc.isenabled(), sys.getrecursionlimit())",
        "slow.cache_clear(); gc.enable(); sys.setrecursionlimit(2000)",
    ),
    Case(
        "an exception with its frames",
        """
def deep(n):
    secret = [n]
    if n == 0:
        raise ValueError('bottom')
    deep(n - 1)
try:
    deep(3)
except ValueError as error:
    saved = error
frame = saved.__traceback__
while frame.tb_next:
    frame = frame.tb_next
""",
        "print(frame.tb_frame.f_locals, repr(saved), frame.tb_lineno)",
        "frame.tb_frame.clear(); saved.args = ()",
    ),
    Case(
        "context managers that were entered",
        """
import contextlib
left = []
stack = contextlib.ExitStack()
@contextlib.contextmanager
def place(name):
    yield name
    left.append(name)
_ = stack.enter_context(place('a')), stack.enter_context(place('b'))
""",
        "stack.close(); print(left)",
        "_ = stack.pop_all()",
    ),
    Case(
        "memory of C, reached by ctypes",
        "import ctypes; buffer = ctypes.create_string_buffer(b'exactly this', 64); p = ctypes.addressof(buffer)",
        "print(buffer.raw, p == ctypes.addressof(buffer), ctypes.string_at(p))",
        "_ = ctypes.memset(p, 0x7a, 64)",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_it_comes_back_bit_for_bit_and_more_than_once(session: Session, case: Case) -> None:
    made = run(session, case.make)
    assert made.reach.exact, made.reach
    truth = look_at(session, case.look)
    session.undo(to=made.id)
    run(session, case.wreck)
    assert look_at(session, case.look) != truth, "the wreck changed nothing that is looked at"
    for _ in range(2):
        back = session.undo(to=made.id)
        assert (back.memory, back.stands) == ("woken", ())
        assert look_at(session, case.look) == truth


def test_an_open_transaction_of_sqlite_comes_back_with_its_uncommitted_rows(session: Session) -> None:
    made = run(
        session,
        """
import sqlite3
db = sqlite3.connect('shop.db', isolation_level=None)
db.execute('create table sold (id integer primary key, what text)')
db.executemany('insert into sold(what) values (?)', [(f'committed {i}',) for i in range(500)])
db.execute('begin')
db.executemany('insert into sold(what) values (?)', [(f'pending {i}',) for i in range(500)])
cursor = db.execute('select id, what from sold order by id')
read = [cursor.fetchone() for _ in range(3)]
""",
    )
    assert made.reach.exact, made.reach
    rest = "print(read[-1], cursor.fetchmany(2), db.in_transaction, len(db.execute('select * from sold').fetchall()))"
    truth = look_at(session, rest)
    assert "True 1000" in truth
    session.undo(to=made.id)
    run(session, "cursor.close(); db.rollback(); db.execute('drop table sold'); db.close()")
    assert "ProgrammingError" in look_at(session, rest)
    for _ in range(2):
        assert session.undo(to=made.id).complete
        assert look_at(session, rest) == truth
    committed = run(session, "_ = cursor.fetchall(); db.execute('commit'); db.close()")
    fresh = "print(sqlite3.connect('shop.db').execute('select count(*), max(what) from sold').fetchall())"
    assert look_at(session, fresh) == "[(1000, 'pending 99')]\n"
    check = "print(sqlite3.connect('shop.db').execute('pragma integrity_check').fetchall())"
    assert look_at(session, check) == "[('ok',)]\n"
    session.undo(to=made.id)
    assert look_at(session, rest) == truth, "a commit can be taken back like all else"
    session.goto(committed.id)
    assert look_at(session, fresh) == "[(1000, 'pending 99')]\n"


def test_a_transaction_that_is_taken_back_still_keeps_others_from_writing(session: Session) -> None:
    made = run(
        session,
        """
import sqlite3
db = sqlite3.connect('l.db', isolation_level=None); db.execute('create table t (x)')
db.execute('begin immediate'); db.execute('insert into t values (1)')
""",
    )
    run(session, "db.execute('commit'); db.close()")
    session.undo(to=made.id)
    assert (
        look_at(
            session,
            """
import subprocess, sys
code = "import sqlite3; sqlite3.connect('l.db', timeout=0).execute('insert into t values (2)')"
print(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stderr.splitlines()[-1])
""",
        )
        == "sqlite3.OperationalError: database is locked\n"
    )


def test_a_log_that_is_appended_to_after_an_undo_has_no_hole(session: Session) -> None:
    made = run(session, "f = open('log.txt', 'a', buffering=1); _ = f.write('kept\\n')")
    for turn in range(3):
        run(session, f"for i in range(1000): f.write(f'turn {turn} line {{i}}\\n')")
        session.undo(to=made.id)
    run(session, "_ = f.write('after\\n')")
    assert (session.workspace / "log.txt").read_bytes() == b"kept\nafter\n"


def test_objects_that_cannot_be_pickled_come_back(session: Session) -> None:
    """The cases above hold many such; here it is certain that pickle would have failed on each."""
    made = run(
        session,
        """
import pickle, sqlite3, threading, types
things = [
    lambda x: x, (i for i in range(9)), threading.Lock(), sqlite3.connect(':memory:'), open('f', 'w'),
    types.ModuleType('m'), memoryview(b'abc'), type('Hidden', (), {})(), iter(int, 1).__class__, print,
][:8]
things[0].note = 'mine'; next(things[1]); things[3].execute('create table t as select 42 as x')
things[5].value = things; things[7].x = things[1]
def unpicklable(thing):
    try:
        pickle.dumps(thing)
    except Exception:
        return True
print([unpicklable(thing) for thing in things])
""",
    )
    assert made.outcome.stdout == f"{[True] * 8}\n"
    look = (
        "print(things[0].note, next(things[7].x), things[2].locked(), things[3].execute('select x from t').fetchall(),"
        " things[4].write('x'), things[5].value is things, bytes(things[6]), things[7].x is things[1])"
    )
    truth = look_at(session, look)
    session.undo(to=made.id)
    run(session, "things[3].close(); things[4].close(); things[6].release(); things.reverse()")
    assert look_at(session, look) != truth
    session.undo(to=made.id)
    assert look_at(session, look) == truth
