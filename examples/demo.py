"""The whole idea in one run: real work on real data, real damage, and all of it taken back.

    python examples/demo.py [--isolation auto|docker|bubblewrap] [--output DIR]

The data set is the weather of Seattle, 2012 to 2015, from the package vega_datasets. The exit code is 0 only if
every proof held: data frame, model and files after the undo are bit for bit what they were.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text
from vega_datasets import local_data

import mulligan
from mulligan.runtime.changes import FileChange
from mulligan.sandbox.engines import decide

LOAD = """
import pandas as pd
weather = pd.read_csv("seattle-weather.csv", parse_dates=["date"])
print(f"{len(weather):,} days, {weather.date.min():%Y-%m-%d} to {weather.date.max():%Y-%m-%d}")
"""

ANALYSE = """
seasons = weather.date.dt.month.map(lambda m: ("winter", "spring", "summer", "autumn")[m % 12 // 3])
table = weather.groupby(seasons, sort=False).agg(
    days=("date", "size"), high=("temp_max", "mean"), wet=("precipitation", lambda mm: (mm > 0).mean()))
table.index.name = None
print(table.to_string(formatters={"high": "{:.1f} °C".format, "wet": "{:.0%}".format}))
"""

PLOT = """
import matplotlib.pyplot as plt
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
axes.plot(weather.date, weather.temp_max, lw=0.4, color="0.6")
axes.plot(weather.date, weather.temp_max.rolling(30, center=True).mean(), color="tab:red")
axes.set(title="Seattle: daily high and its 30-day mean", ylabel="°C")
figure.savefig("weather.png", dpi=120)
plt.close(figure)
"""

TRAIN = """
import pickle, warnings
warnings.simplefilter("ignore", UserWarning)  # of counting physical cores, which the sandbox does not show
from sklearn.ensemble import HistGradientBoostingRegressor
columns = ["precipitation", "temp_max", "temp_min", "wind"]
features = weather[columns].iloc[:-1].assign(day=weather.date.dt.day_of_year)
tomorrow = weather.temp_max.shift(-1).iloc[:-1]
model = HistGradientBoostingRegressor(
    loss="absolute_error", learning_rate=0.05, max_iter=80, min_samples_leaf=40, random_state=0)
model.fit(features[:1096], tomorrow[:1096])
error = (model.predict(features[1096:]) - tomorrow[1096:]).abs().mean()
guess = (features.temp_max[1096:] - tomorrow[1096:]).abs().mean()
with open("model.pkl", "wb") as file:
    pickle.dump(model, file)
print(f"tomorrow's high, on {len(features) - 1096} days it never saw:")
print(f"off by {error:.2f} °C on average ('the same as today' is off by {guess:.2f} °C)")
"""

#: an action like any other, so it prints its findings; in the end two of its runs are compared
PROVE = """
import hashlib, json, pickle
def sha(data): return hashlib.sha256(data).hexdigest()
print(json.dumps({
    "data frame": sha(pd.util.hash_pandas_object(weather).values.tobytes()),
    "predictions": sha(model.predict(features).tobytes()),
    "model in memory": sha(pickle.dumps(model)),
}))
"""

SPOIL = """
weather.loc[:, "temp_max"] = weather.temp_max.sample(frac=1).values   # "shuffle for robustness"
weather.iloc[::2, 1:5] = 0.0
model.fit(features[:60], tomorrow[:60] * 0);                          # "retrain quickly"
"""

DELETE = """
import os
os.remove("seattle-weather.csv"); os.remove("weather.png")            # "clean up"
open("model.pkl", "wb").write(b"oops");
"""

KILL = """
import os, shutil, signal
shutil.rmtree("/workspace", ignore_errors=True); del weather, model   # "start fresh"
os.kill(os.getpid(), signal.SIGKILL)
"""

FILES = ("seattle-weather.csv", "weather.png", "model.pkl")
Proof = Mapping[str, str]

console = Console(highlight=False, markup=False, emoji=False, width=80)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--isolation", default="auto", choices=("auto", "docker", "bubblewrap"))
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="default: demo-output")
    chosen = parser.parse_args()
    data = prepare(chosen.output / "data")
    console.print("Mulligan: what an agent's code does, and how it is taken back\n", style="bold")
    try:
        return tell(data, chosen.isolation)
    except mulligan.MulliganError as error:
        console.print(f"{error}", style="red")
        return 3


def prepare(folder: Path) -> Path:
    """The user's folder: one real file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    (folder / FILES[0]).write_bytes(Path(local_data.seattle_weather.filepath).read_bytes())
    return folder


def tell(data: Path, isolation: str) -> int:
    choice = decide(isolation)
    started = time.monotonic()
    with mulligan.open(data, isolation=choice.engine.name) as session:
        fact("isolation", f"{session.report.engine} {session.report.version} ({choice.why})")
        fact("confined", confinement(session))
        fact("data", f"{data}: the session works on a copy")
        fact(
            "opened in",
            f"{time.monotonic() - started:.2f} s, with a self-test of {len(session.report.probes)} probes",
        )

        heading("The agent works")
        act(session, "load the data", LOAD)
        act(session, "analyse it", ANALYSE)
        act(session, "plot it", PLOT)
        good = act(session, "train a model", TRAIN)
        before = prove(session)

        heading("The agent does damage")
        act(session, "spoil the frame and the model", SPOIL)
        act(session, "delete and overwrite files", DELETE)
        wrecked = prove(session)
        act(session, "delete all, kill the kernel", KILL)
        note("a dead kernel ends the step, not the session: its damage is already gone")

        heading(f"Undo to step {good.id}")
        back = session.undo(to=good.id)
        report(back)
        after = prove(session)
        there = session.goto(good.id + 3)
        again = session.goto(good.id)
        note(f"forward into the wreck {ms(there.duration)}, and back again {ms(again.duration)}")

        heading("The proof: SHA-256 of each, first 12 digits")
        held = compare(before, wrecked, after) and back.complete and again.complete

        heading("The timeline (→ is where we are; nothing is ever erased)")
        console.print(Text(str(session.timeline)), no_wrap=True, overflow="ellipsis")
        heading("Commit")
        for each in session.commit().applied:
            note(f"{each.did}: {data / each.path.decode()}")
    console.print()
    plot = (data / "weather.png").resolve()
    fact("the plot", str(plot) if plot.is_file() else "is missing")
    held = held and plot.is_file()
    if held:
        console.print("All proofs held: bit for bit what it was.", style="bold green")
    else:
        console.print("A PROOF FAILED: see the table above.", style="bold red")
    closing()
    return 0 if held else 1


def act(session: mulligan.Session, title: str, source: str) -> mulligan.Step:
    """Run one action and show its outcome in a line, with what it printed below."""
    step = session.run(f"# {title}{source}", timeout=100)
    checkpoint = step.settled.result()
    taken = (
        ""
        if isinstance(checkpoint, str) or not checkpoint.duration
        else f"checkpoint {ms(checkpoint.duration)}"
    )
    style = "green" if step.outcome.ok else "red"
    console.print(
        Text.assemble(
            ("✓ " if step.outcome.ok else "✗ ", style),
            f"{step.id:<3}{title:<31}",
            (f"{step.outcome.kind:<10}", style),
            (f"{ms(step.duration):>8}  {taken}", "dim"),
        ),
        no_wrap=True,
    )
    for line in step.outcome.text.splitlines():
        note(line)
    note(files(step.changes))
    return step


def prove(session: mulligan.Session) -> Proof:
    """What is in memory, hashed inside the sandbox, and the files, hashed here by the host."""
    step = session.run(f"# prove{PROVE}", timeout=100)
    memory: dict[str, str] = json.loads(step.outcome.stdout) if step.outcome.ok else {}
    return memory | {name: file_hash(session.workspace / name) for name in FILES}


def file_hash(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        return "gone"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def compare(before: Proof, wrecked: Proof, after: Proof) -> bool:
    """A row for each thing; whether all are what they were, and all had really been damaged."""
    console.print(f"  {'':<21}{'before':<15}{'wrecked':<15}{'after undo':<15}", style="dim")
    for name in before:
        same = before[name] == after.get(name) != wrecked.get(name)
        console.print(
            Text.assemble(
                f"  {name:<21}{before[name][:12]:<15}",
                (f"{wrecked.get(name, '?')[:12]:<15}", "red"),
                f"{after.get(name, '?')[:12]:<15}",
                ("same", "green") if same else ("DIFFERS", "bold red"),
            )
        )
    return len(before) == 6 and all(before[name] == after.get(name) != wrecked.get(name) for name in before)


def report(back: mulligan.Restoration) -> None:
    note(f"{ms(back.duration)}: memory {back.memory}")
    note(files(back.restored))
    for line in back.stands:
        note(f"stands: {line}")


def files(changes: Sequence[FileChange]) -> str:
    """Those of the workspace by name, the others (caches in the home folder, say) by number."""
    ours = [str(change) for change in changes if change.in_workspace]
    others = len(changes) - len(ours)
    return "  ".join([*ours, *([f"and {others} outside the workspace"] if others else [])])


def confinement(session: mulligan.Session) -> str:
    by: dict[str, list[str]] = {}
    for name, bound in session.report.bounds.items():
        by.setdefault(bound.enforcement, []).append(name)
    supervised = ", ".join(by.get("supervised", []))
    return f"{len(by.get('kernel', []))} bounds by the kernel; watched: {supervised}"


def closing() -> None:
    console.print("\nWhat to try next", style="bold")
    console.print("  .venv/bin/mulligan doctor                what this machine can do")
    console.print("  .venv/bin/mulligan run your.ipynb --workspace your-folder --undo-on-error")
    console.print("  examples/embed.py                        the same from your own program")


def heading(text: str) -> None:
    console.print(Text.assemble("\n", (text, "bold")))


def fact(name: str, text: str) -> None:
    console.print(Text.assemble((f"{name:<11}", "dim"), text), soft_wrap=True)


def note(text: str) -> None:
    for line in textwrap.wrap(text, 75, replace_whitespace=False):
        console.print(Text(f"     {line}", "dim"))


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


if __name__ == "__main__":
    sys.exit(main())
