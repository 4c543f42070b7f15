from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from playground.dashboard.text import (
    bar,
    clip,
    clip_row,
    count,
    duration,
    lines_of,
    one_line,
    pad,
    row_cells,
    signs,
    unseen_escaped,
    when,
    wrap,
)

HOSTILE = "\x1b[31mred\x1b]0;title\x07 \x9b2J \x00 \u202eevil\u2066 \ud800 \u200b\r\n\u2028end"


def test_controls_become_visible_symbols() -> None:
    shown = one_line(HOSTILE)
    assert "␛[31mred" in shown
    assert "<U+202E>evil" in shown
    assert shown.isprintable()
    shown.encode("utf-8")


@given(st.text(alphabet=st.characters()) | st.just(HOSTILE + "\ufe0f\U000e0041\x85"))
def test_where_positions_matter_each_sign_stays_one(text: str) -> None:
    shown = signs(text)
    assert len(shown) == len(text)
    assert shown.replace("\t", "").isprintable()
    shown.encode("utf-8")
    assert one_line(shown).replace("  ", "\t") == shown.replace("  ", "\t")


@given(st.text(alphabet=st.characters()) | st.just(HOSTILE + "\x7f\ufe0f\U000e0041\x85"))
def test_json_in_which_everything_can_be_seen_means_the_same(text: str) -> None:
    shown = unseen_escaped(json.dumps({text: [text]}, ensure_ascii=False, indent=2))
    assert json.loads(shown) == {text: [text]}
    assert shown.splitlines() == shown.split("\n")
    assert all(line == one_line(line) for line in shown.split("\n"))


@given(st.text(alphabet=st.characters()))
def test_no_control_character_survives(text: str) -> None:
    for line in [one_line(text), *lines_of(text)]:
        line.encode("utf-8")
        assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in line)
        assert not set(line) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


@given(st.text(max_size=60), st.integers(0, 40))
def test_clipped_text_fits(text: str, width: int) -> None:
    assert cell_len(clip(one_line(text), width)) <= width
    assert cell_len(pad(one_line(text), width)) == width


def test_a_cut_is_marked() -> None:
    assert clip("penguins", 5) == "peng…"
    assert clip("日本語", 5) == "日本…"
    assert clip("日本語", 6) == "日本語"


def test_rows_are_cut_across_pieces() -> None:
    row = clip_row([("abc", "x"), ("defgh", "y"), ("i", "z")], 6)
    assert row == [("abc", "x"), ("de…", "y")]
    assert row_cells(row) == 6


@given(st.text(max_size=200), st.integers(8, 30))
def test_wrapping_loses_nothing_and_fits(text: str, width: int) -> None:
    line = one_line(text)
    pieces = wrap(line, width)
    assert "".join(pieces) == line
    assert all(cell_len(piece) <= width for piece in pieces)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0004, "0.4 ms"),
        (0.012, "12 ms"),
        (0.82, "0.82 s"),
        (12.34, "12.3 s"),
        (123, "2m03s"),
        (3900, "1h05m"),
        (None, ""),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(950, "950"), (12_400, "12.4k"), (999_999, "1.0M"), (310_000_000, "310M")]
)
def test_counts(number: int, text: str) -> None:
    assert count(number) == text


def test_times_of_another_day_name_the_day() -> None:
    now = time.mktime((2026, 5, 20, 12, 0, 0, 0, 0, -1))
    assert when(now - 60, now) == "11:59:00"
    assert when(now - 86_400, now) == "May 19 12:00"
    assert when(now - 400 * 86_400, now) == "2025-04-15"


@given(st.floats(0, 2), st.floats(0, 2), st.integers(1, 80))
def test_bars_stay_on_their_axis_and_are_never_invisible(start: float, end: float, width: int) -> None:
    drawn = bar(start, end, 1.0, width)
    assert len(drawn) <= width
    assert drawn.strip()


def test_bars_stand_where_their_time_is() -> None:
    assert bar(0, 1, 1, 8) == "━━━━━━━━"
    assert bar(0.5, 1, 1, 8) == "    ━━━━"
    assert bar(0.25, 0.3125, 1, 8) == "  ╸"
