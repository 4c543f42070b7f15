from __future__ import annotations

import json
from pathlib import Path

import pytest

from playground.dashboard import markdown
from playground.dashboard.layout import PANES, UiState, load_state, place, save_state
from playground.dashboard.markdown import Renderer
from playground.dashboard.text import cells, row_cells


@pytest.mark.parametrize("size", [(64, 16), (80, 22), (99, 30), (100, 30), (120, 38), (200, 58), (500, 198)])
@pytest.mark.parametrize(("left", "lower"), [(0, 0), (60, 40), (-20, -40)])
def test_panes_cover_every_cell_once(size: tuple[int, int], left: int, lower: int) -> None:
    width, height = size
    boxes = place(width, height, flows=3, state=UiState(left=left, lower=lower), focus="flows", zoomed=False)
    assert set(boxes) == set(PANES)
    cells = [
        (x, y)
        for box in boxes.values()
        for x in range(box.x, box.x + box.width)
        for y in range(box.y, box.y + box.height)
    ]
    assert len(cells) == len(set(cells)) == width * height
    assert all(box.height >= 4 and box.width >= 12 for box in boxes.values())


@pytest.mark.parametrize("size", [(40, 8), (20, 6), (63, 40), (200, 15)])
def test_a_small_terminal_shows_the_focused_pane(size: tuple[int, int]) -> None:
    boxes = place(*size, flows=3, state=UiState(), focus="trace", zoomed=False)
    assert boxes == {"trace": (0, 0, *size)}


def test_zoom_shows_one_pane() -> None:
    assert list(place(200, 50, flows=3, state=UiState(), focus="inspect", zoomed=True)) == ["inspect"]


def test_the_layout_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ui.json"
    state = UiState(theme="nord", left=4, raw=True)
    for number in range(15):
        state.remember_input("flows/a.py", {"n": number})
    state.remember_input("flows/a.py", {"n": 12})
    save_state(path, state)
    again = load_state(path)
    assert (again.theme, again.left, again.raw) == ("nord", 4, True)
    assert [value["n"] for value in again.inputs["flows/a.py"]] == [12, 14, 13, 11, 10, 9, 8, 7, 6, 5]
    assert [file.name for file in path.parent.iterdir()] == ["ui.json"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"left": "wide", "inputs": 3, "theme": 1}', "null"])
def test_what_cannot_be_read_is_forgotten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ui.json"
    path.write_text(content)
    assert load_state(path) == UiState()


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    save_state(tmp_path / "file" / "ui.json", UiState())
    assert json.dumps(load_state(tmp_path / "file" / "ui.json").left) == "0"


def draw(text: str, width: int = 30) -> list[str]:
    renderer = Renderer(width)
    *lines, last = text.split("\n")
    rows = renderer.lines(lines) + renderer.tail(last)
    return ["".join(piece for piece, _ in row).rstrip() for row in rows]


def test_markdown_blocks() -> None:
    assert draw("# Title\ntext **bold** `code`\n- one\n  - two\n1. three\n> quote\n---") == [
        "█ Title", "text bold code", "• one", "  • two", "1. three", "▏ quote", "─" * 30,
    ]  # fmt: skip


def test_fences_are_shown_as_they_are() -> None:
    assert draw("```py\n# no *heading*\n```\nafter") == ["▏ # no *heading*", "after"]


def test_an_open_table_is_drawn_while_it_grows() -> None:
    assert draw("| a | bbb |\n|---|---:|\n| 1 | 2") == ["a  bbb", "──────", "1    2"]


def test_wide_tables_are_cut_to_the_pane() -> None:
    assert all(len(line) <= 20 for line in draw("| " + "x" * 50 + " | " + "y" * 50 + " |", 20))


def test_long_words_are_broken() -> None:
    lines = draw("x" * 70 + " end", 30)
    assert all(len(line) <= 30 for line in lines)
    assert "".join(lines).replace(" ", "") == "x" * 70 + "end"


def test_control_characters_of_a_stream_stay_symbols() -> None:
    assert draw("a\x1b[2Jb\x07") == ["a␛[2Jb␇"]


@pytest.mark.parametrize(
    "word", ["x" * 20_000 + "…", "漢" * 20_000, "e\u0301" * 20_000], ids=["tail", "wide", "joined"]
)
def test_a_huge_word_is_not_measured_for_each_of_its_rows(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = 0

    def count(text: str) -> int:
        nonlocal measured
        measured += len(text)
        return cells(text)

    monkeypatch.setattr(markdown, "cells", count)
    rows = Renderer(30).lines([word])
    assert "".join(text for row in rows for text, _ in row) == word
    assert all(row_cells(row) <= 30 for row in rows)
    assert measured < 10 * len(word)
