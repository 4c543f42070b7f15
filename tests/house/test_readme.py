"""The README holds what it promises."""

from __future__ import annotations

import re
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


def test_the_first_two_shell_blocks_are_the_two_commands() -> None:
    shell = [text for language, text in blocks("README.md") if language in ("sh", "shell", "bash", "console")]

    assert shell[:2] == ["python3 bootstrap.py pf tui\n", "python3 bootstrap.py pytest\n"]


def test_the_readme_opens_with_a_sentence_a_picture_and_the_commands() -> None:
    title, sentence, picture, *_ = [part for part in (ROOT / "README.md").read_text().split("\n\n") if part.strip()]

    assert title == "# penguiflow"
    assert sentence.count(".") == 1
    assert picture.startswith("![")
    assert "docs/images/dashboard.svg" in picture


@pytest.mark.parametrize("page", ["README.md", "docs/getting-started.md"])
def test_programs_print_what_the_page_says(page: str, tmp_path: Path) -> None:
    assert programs(page)
    assert len(programs(page)) == sum(language == "python" for language, _ in blocks(page))
    for text, printed in programs(page):
        script = tmp_path / "program.py"
        script.write_text(text)
        done = subprocess.run(
            [sys.executable, "-W", "error", str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, printed), done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = [match["target"] for match in LINK.finditer((ROOT / page).read_text())]
    local = [target for target in targets if not target.startswith(("http://", "https://", "../../actions/"))]

    assert [target for target in local if not ((ROOT / page).parent / target).exists()] == []
