"""Draws the pictures of the documentation again: `python docs/images/make.py [NAME…]`.

The shipped flows are copied to a folder of their own, so that only runs made here are in the pictures.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RUNS = 24
"""Runs that the statistics are about."""


class Picture(NamedTuple):
    """A screen: its size, what is run before, the breakpoint that there is, and the keys that are pressed then."""

    name: str
    run: str
    keys: str
    sample: int = 0
    size: str = "120x36"
    runs_before: int = 0
    stops_at: str = ""


PICTURES = [
    Picture("dashboard", "triage", "3,g,j,j,j,j", sample=1),
    Picture("form", "triage", "1,enter"),
    Picture("stopped", "", "1,j,j,r", stops_at="tool:fetch"),
    Picture("timeline", "research_agent", "3,comma,home,c,c,c,c,c"),
    Picture("waterfall", "research_agent", "3,right_square_bracket,g,j,j,j,j,j,j,j,j,j,j,j,j,j"),
    Picture("graph", "research_agent", "3,right_square_bracket,right_square_bracket,j,j"),
    Picture("llm", "research_agent", "3,g,L,right_parenthesis,z"),
    Picture("statistics", "triage", "3,percent_sign", runs_before=RUNS),
]


def pf(folder: Path, *words: str) -> None:
    """Run a command of `pf`; raises when it fails."""
    subprocess.run([sys.executable, "-m", "playground", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


def draw(picture: Picture) -> None:
    """Draw one picture in a project of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "penguins"
        shutil.copytree(ROOT / "flows", folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "pyproject.toml").write_text("[project]\nname = 'penguins'\n")
        for number in range(picture.runs_before):
            ticket = {"id": f"T-{number}", "text": "my invoice is wrong", "customer": "Ada"}
            pf(folder, "run", "flows/triage.py", "--quiet", "--input", json.dumps(ticket))
        target = HERE / f"{picture.name}.svg"
        if picture.stops_at:
            pf(folder, "break", "add", picture.stops_at)
        words = ["--size", picture.size, "--keys", picture.keys]
        if picture.run:
            words += ["--run", picture.run, "--sample", str(picture.sample)]
        pf(folder, "tui", "--screenshot", str(target), *words)
        print(target.relative_to(ROOT))


def main(names: list[str]) -> None:
    """Draw these, or all."""
    for picture in PICTURES:
        if not names or picture.name in names:
            draw(picture)


if __name__ == "__main__":
    main(sys.argv[1:])
