"""Records the REPL for README and docs: real sessions on a terminal, each drawn as SVG, dark and light.

`make screenshots`, or `python -m scripts.screenshots [FOLDER]` from the root of the repository. The times in them
are those of this machine, at this moment.
"""

from __future__ import annotations

import io
import sys
import tempfile
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.style import Style
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI, TerminalTheme
from rich.text import Text
from tests.repl.terminal import Terminal

WIDTH = 80
CSV = "city,day,high\nOslo,1,21.0\nLima,1,not measured\nRome,1,31.5\nOslo,2,19.5\nRome,2,33.0\n"

#: name of the picture, rows of the terminal, and what is typed; what ends with a tab is only completed
SESSIONS = {
    "repl": (
        44,
        (
            "import pandas as pd, os",
            "df = pd.read_csv('weather.csv'); df",
            "df = df[df.high > 'a']; df.to_csv('weather.csv', index=False)",
            "len(df)",
            ":undo 2",
            "df['high'] = pd.to_numeric(df.high, errors='coerce')",
            "df.dropna().groupby('city').high.mean().round(1).to_frame()",
            ":timeline",
        ),
    ),
    "repl-looking": (
        44,
        (
            "import numpy as np; grid = np.random.rand(300, 40); names = ['Oslo', 'Lima']",
            "_ = open('notes.txt', 'w').write('first\\n'); os = __import__('os'); os.remove('weather.csv')",
            ":vars",
            ":files",
            ":undi",
            "names.index?",
            ":diff",
        ),
    ),
}


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, (rows, typed) in SESSIONS.items():
        lines = record(rows, typed)
        for theme, suffix in ((MONOKAI, "dark"), (DEFAULT_TERMINAL_THEME, "light")):
            path = folder / f"{name}-{suffix}.svg"
            path.write_text(draw(lines, theme))
            print(path)


def record(rows: int, typed: tuple[str, ...]) -> list[Text]:
    """The screen at the end."""
    with tempfile.TemporaryDirectory() as place:
        project = Path(place) / "weather"
        project.mkdir()
        (project / "weather.csv").write_text(CSV)
        with Terminal(project, Path(place) / "state", size=(rows, WIDTH)) as repl:
            repl.until("Ctrl-D leaves")
            repl.prompt()
            for line in typed:
                repl.run(line)
            return [_text(repl, row) for row in range(rows)]


def _text(repl: Terminal, row: int) -> Text:
    """A row of the terminal's screen, with its looks."""
    line = Text()
    cells = (repl.cell(row, column) for column in range(WIDTH))
    for look, run in groupby(cells, lambda cell: (cell.fg, cell.bold, cell.italics)):
        colour, bold, italic = look
        line.append(
            "".join(cell.data for cell in run), Style(color=_COLOURS.get(colour), bold=bold, italic=italic)
        )
    line.rstrip()
    return line


_COLOURS = {name: name for name in ("red", "green", "blue", "magenta", "cyan")} | {
    "brown": "yellow",
    "brightblack": "bright_black",
}


def draw(lines: list[Text], theme: TerminalTheme) -> str:
    while lines and not lines[-1].plain.strip():
        lines.pop()
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), color_system="standard", force_terminal=True
    )
    for line in lines:
        console.print(line, no_wrap=True, crop=True)
    return console.export_svg(title="mulligan", theme=theme)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures"))
