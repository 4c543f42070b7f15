"""The README holds what it promises."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)#]+)")
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")),
]
RUN = ["README.md", "docs/distributed.md", "docs/getting-started.md", "docs/planner.md"]
"""Pages whose programs are run."""
TIMING = re.compile(r" in [\d.]+s.*$", re.MULTILINE)


def blocks(page: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: language and text."""
    return [(match["language"], match["text"]) for match in BLOCK.finditer((ROOT / page).read_text())]


def programs(page: str) -> list[tuple[str, str]]:
    """The Python blocks of a page, each with the text block that comes next, which is what it prints."""
    found = blocks(page)
    return [
        (text, found[number + 1][1])
        for number, (language, text) in enumerate(found)
        if language == "python" and found[number + 1 : number + 2] and found[number + 1][0] == "text"
    ]


def commands(page: str) -> list[str]:
    """The console blocks of a page."""
    return [text for language, text in blocks(page) if language == "console"]


def name_of(text: str) -> str | None:
    """The file that a program is to be saved as, if its first line says so."""
    found = re.match(r"# (\w+\.py)\n", text)
    return found[1] if found else None


def save_named(page: str, folder: Path) -> None:
    """Save those programs of a page that others import."""
    for text, _ in programs(page):
        if name := name_of(text):
            (folder / name).write_text(text)


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Python, in a folder; a pytest in it has the plugin of penguiflow and no other."""
    env = {**os.environ, "COLUMNS": "80", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    env["PYTEST_ADDOPTS"] = "-p penguiflow.recording.pytest_plugin -p no:cacheprovider -W error"
    return subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_the_first_two_shell_blocks_are_the_two_commands() -> None:
    shell = [text for language, text in blocks("README.md") if language in ("sh", "shell", "bash", "console")]

    assert shell[:2] == ["python3 bootstrap.py pf tui\n", "python3 bootstrap.py pytest\n"]


def test_the_readme_opens_with_a_sentence_a_picture_and_the_commands() -> None:
    title, sentence, picture, *_ = [part for part in (ROOT / "README.md").read_text().split("\n\n") if part.strip()]

    assert title == "# penguiflow"
    assert sentence.count(".") == 1
    assert picture.startswith("![")
    assert "docs/images/dashboard.svg" in picture


@pytest.mark.parametrize("page", RUN)
def test_every_program_says_what_it_prints(page: str) -> None:
    assert programs(page)
    assert len(programs(page)) == sum(language == "python" for language, _ in blocks(page))


@pytest.mark.parametrize(("page", "number"), [(page, n) for page in RUN for n in range(len(programs(page)))])
def test_programs_print_what_the_page_says(page: str, number: int, tmp_path: Path) -> None:
    text, printed = programs(page)[number]
    save_named(page, tmp_path)
    name = name_of(text) or "program.py"
    (tmp_path / name).write_text(text)
    command = ["-m", "pytest", "-q", name] if name.startswith("test_") else ["-W", "error", name]
    done = run(command, tmp_path)
    assert (done.returncode, TIMING.sub("", done.stdout)) == (0, TIMING.sub("", printed)), done.stderr


@pytest.mark.parametrize("number", range(len(commands("docs/planner.md"))))
def test_commands_of_the_guide_work(number: int, tmp_path: Path) -> None:
    save_named("docs/planner.md", tmp_path)
    for line in commands("docs/planner.md")[number].splitlines():
        command, *arguments = shlex.split(line)
        done = run(["-m", {"pf": "playground", "pytest": "pytest"}[command], *arguments], tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = [match["target"] for match in LINK.finditer((ROOT / page).read_text())]
    local = [target for target in targets if not target.startswith(("http://", "https://", "../../actions/"))]

    assert [target for target in local if not ((ROOT / page).parent / target).exists()] == []


def test_what_was_mended_names_tests_that_there_are() -> None:
    """`file.py::test_a`, `test_b`: the second one is in the file that was named last."""
    page, _, peagen = (ROOT / "docs/compatibility.md").read_text().partition("\n## Peagen\n")
    rows = [row for row in page.splitlines() if re.match(r"\| [DP]?\d+ ", row)]
    # All defects of PeerAgent have a row, which has a number alone.
    assert [row.split()[1] for row in rows if row.split()[1].isdigit()] == [str(number) for number in range(1, 28)]
    of_peagen = [row for row in peagen.partition("\n## ")[0].splitlines() if re.match(r"\| (\d+ )?\| ", row)]
    places = [(row, "tests/flows/peagen") for row in of_peagen if not row.startswith("| | there")]
    places += [(row, "tests/flows/peeragent" if row.split()[1].isdigit() else "tests/penguiflow") for row in rows]
    missing: list[str] = []
    for row, folder in places:
        named = re.findall(r"`(?:([\w/.]+\.py)::)?(test_\w+)`", row.rpartition(" | ")[2])
        assert named, row
        text = ""
        for file, test in named:
            if file:
                text = (ROOT / folder / file).read_text()
            if f"def {test}(" not in text:
                missing.append(f"{row[:20]} {file} {test}")
    assert missing == []
