"""What the pages say is done as they say it: the README's first command, the guide's set and plugin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
README = CHECKOUT / "flows" / "peagen" / "README.md"
GUIDE = CHECKOUT / "docs" / "peagen.md"


Run = Callable[..., str]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a line in the folder of the test, as a person types it; what it says."""
    home = tmp_path / "home"
    home.mkdir()

    def typed(line: str, folder: Path | None = None) -> str:
        environ = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "PYTHONPATH": str(tmp_path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = subprocess.run(
            f"set -e\n{line}",
            shell=True,
            cwd=folder or tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return typed


def test_the_first_command_makes_a_package_whose_tests_pass(tmp_path: Path, run: Run) -> None:
    first, second = blocks(README, "sh")[:2]
    assert second == "python3 bootstrap.py pytest tests/flows/peagen\n"
    starter = "python3 bootstrap.py "
    assert first.startswith(f"{starter}peagen ")
    (tmp_path / "flows").symlink_to(CHECKOUT / "flows")
    run(first.removeprefix(starter))
    made = tmp_path / "peagen-demo" / "textkit"
    assert "6 passed" in run("python -m pytest -q -p no:cacheprovider -p no:xdist -W ignore", made)
    assert "peagen-demo/" in (CHECKOUT / ".gitignore").read_text().splitlines()


def test_the_set_of_the_guide_works(tmp_path: Path, run: Run) -> None:
    ptree, module, prompt = blocks(GUIDE, "jinja")
    folder = tmp_path / "shapes"
    folder.mkdir()
    for name, text in {"ptree.yaml.j2": ptree, "module.py.j2": module, "agent_default.j2": prompt}.items():
        (folder / name).write_text(text)
    (folder / "LICENSE.j2").write_text("Free, {{ PKG.NAME }}.\n")
    (tmp_path / "projects.yaml").write_text(blocks(GUIDE, "yaml")[0])
    said = run(blocks(GUIDE, "sh")[0])
    assert "(deps: geometry/circle.py)" in said
    assert (tmp_path / "geometry" / "LICENSE").read_text() == "Free, geometry."
    assert "def area(size: float) -> float:" in (tmp_path / "geometry" / "ring.py").read_text()
    _, _, in_ci = blocks(GUIDE, "yaml")[1].partition("- run: ")
    assert in_ci.startswith("peagen check ")
    run(in_ci)


def test_the_plugin_of_the_guide_works(tmp_path: Path, run: Run) -> None:
    (tmp_path / "pigeons.py").write_text(blocks(GUIDE, "python")[0])
    about = tmp_path / "pigeons-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeons\nVersion: 1.0\n")
    points = next(block for block in blocks(GUIDE, "toml") if "pigeon" in block)
    (about / "entry_points.txt").write_text(
        points.replace('[project.entry-points."', "[").replace('"]', "]").replace('"', "")
    )
    program = (
        "from peagen.plugins.publishers.notify import open_notify\n"
        "notify = open_notify('pigeon://x/builds')\n"
        "notify.publisher.publish(notify.channel, {'type': 'process.done'})\n"
    )
    (tmp_path / "program.py").write_text(program)
    assert run("python program.py") == "loft builds process.done\n"


def test_every_file_that_the_pages_name_is_there() -> None:
    for page in (README, GUIDE):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
