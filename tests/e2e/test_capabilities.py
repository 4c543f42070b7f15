"""No key of the dashboard without a row in the list of capabilities, and no row without a test and a command."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from textual.binding import Binding

import playground.dashboard
from benchmarks import hands
from playground.__main__ import main

ROOT = Path(__file__).parents[2]
LIST = ROOT / "docs" / "capabilities.md"
PLACES: dict[str, tuple[str, ...]] = {
    "DashboardApp": ("Everywhere",),
    "Area": (),
    "Pane": ("A pane",),
    "TimelinePane": ("The timeline",),
    "EditorScreen": ("The editor",),
    "Sheet": ("The editor",),
    "ChatScreen": ("Chat",),
    "RunForm": ("The form of a flow",),
    "BreakForm": ("The form of a breakpoint",),
    "_Tick": ("The form of a breakpoint",),
    "PaneScreen": ("Statistics", "Queues"),
    "StatisticsScreen": ("Statistics",),
    "QueuesScreen": ("Queues",),
    "DiffScreen": ("The comparison",),
    "DocumentScreen": ("of a report",),
    "AskScreen": ("of a question before a fork",),
    "AskLine": ("of a line that asks",),
    "CopyMenu": ("of the menu of copies",),
    "JumpScreen": ("of the letters on the tabs",),
    "HelpScreen": ("of help",),
}
"""Where the keys of a class are listed: a heading, or the beginning of what a row does. Areas' are the app's too."""
NAMES = {
    "slash": "/", "colon": ":", "question_mark": "?", "asterisk": "*", "less_than_sign": "<", "greater_than_sign": ">",
    "plus": "+", "minus": "-", "comma": ",", "full_stop": ".", "left_parenthesis": "(", "right_parenthesis": ")",
    "percent_sign": "%", "equals_sign": "=", "left_square_bracket": "[", "right_square_bracket": "]",
    "dollar_sign": "$",
}  # fmt: skip
PRESSED = {
    "up": hands.UP, "down": hands.DOWN, "left": hands.LEFT, "right": hands.RIGHT, "home": hands.HOME, "end": hands.END,
    "pageup": hands.PAGE_UP, "pagedown": hands.PAGE_DOWN, "escape": hands.ESCAPE, "enter": hands.ENTER,
    "tab": hands.TAB, "shift+tab": hands.BACK_TAB, "backspace": hands.BACKSPACE, "delete": hands.DELETE,
    "ctrl+home": hands.CTRL_HOME, "ctrl+end": hands.CTRL_END, "f1": hands.F1, "f5": hands.F5, "space": b" ",
}  # fmt: skip


class Row(NamedTuple):
    """A line of a table."""

    heading: str
    keys: tuple[str, ...]
    does: str
    command: str
    tests: tuple[str, ...]


def rows() -> list[Row]:
    """The list."""
    found, heading = [], ""
    for line in LIST.read_text().splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif line.startswith("| `"):
            keys, does, command, tests = line.strip("|").split(" | ")
            ticked = (tuple(re.findall(r"`([^`]+)`", each)) for each in (keys, tests))
            found.append(Row(heading, next(ticked), does, command.strip(), next(ticked)))
    return found


ROWS = rows()


def bindings() -> dict[str, set[str]]:
    """The keys that each class of the dashboard binds itself."""
    found: dict[str, set[str]] = {}
    for module in pkgutil.walk_packages(playground.dashboard.__path__, "playground.dashboard."):
        for name, kind in vars(importlib.import_module(module.name)).items():
            if isinstance(kind, type) and kind.__module__ == module.name and "BINDINGS" in vars(kind):
                keys = [each.key for each in vars(kind)["BINDINGS"] if isinstance(each, Binding)]
                assert len(keys) == len(vars(kind)["BINDINGS"]), f"{name} has other bindings than `Binding`s"
                found[name] = {NAMES.get(key, key) for each in keys for key in each.split(",")}
    return found


def listed(place: str) -> list[Row]:
    """The rows of a place."""
    return [row for row in ROWS if place in (row.heading, row.does.partition(":")[0])] or [
        row for row in ROWS if row.does.startswith(place)
    ]


def test_every_key_has_a_row_and_every_row_a_key() -> None:
    known = bindings()
    areas = {name for name in known if name.endswith("Area") and name != "Area"}
    assert known.keys() - areas == PLACES.keys()
    everywhere = set.union(known["DashboardApp"], *(known[name] for name in areas))
    assert known["DashboardApp"] == everywhere
    for place in {place for places in PLACES.values() for place in places}:
        bound = set.union(*(known[name] for name, places in PLACES.items() if place in places))
        told = [key for row in listed(place) for key in row.keys]
        assert sorted(told) == sorted(bound), place


@cache
def functions_of(name: str) -> tuple[dict[str, ast.FunctionDef], dict[str, object]]:
    """The test functions of a file, and the values of its names."""
    path = ROOT / "tests" / "e2e" / f"{name}.py"
    tree = ast.parse(path.read_text())
    values: dict[str, object] = {key: value for key, value in vars(hands).items() if isinstance(value, bytes)}
    functions = {each.name: each for each in tree.body if isinstance(each, ast.FunctionDef)}
    for each in tree.body:
        if isinstance(each, ast.Assign):
            targets = each.targets[0].elts if isinstance(each.targets[0], ast.Tuple) else [each.targets[0]]
            given = each.value.elts if isinstance(each.value, ast.Tuple) else [each.value]
            for target, value in zip(targets, given, strict=False):
                pressed = b"".join(bytes_in(value, values))
                if isinstance(target, ast.Name) and pressed:
                    values[target.id] = pressed
    return functions, values


def bytes_in(node: ast.AST, values: dict[str, object]) -> Iterator[bytes]:
    """Bytes that an expression names: literals, names, `ctrl("x")`, and numbers made into bytes."""
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, bytes):
            yield each.value
        elif isinstance(each, ast.Name) and isinstance(values.get(each.id), bytes):
            yield values[each.id]  # type: ignore[misc]
        elif isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and each.func.id == "ctrl":
            yield hands.ctrl(ast.literal_eval(each.args[0]))


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.heading}: {' '.join(row.keys)}" for row in ROWS])
def test_its_tests_press_it(row: Row) -> None:
    pressed: list[bytes] = []
    for named in row.tests:
        file, _, function = named.partition("::")
        functions, values = functions_of(file)
        # Helpers of the file press keys for its tests.
        helpers = [each for name, each in functions.items() if not name.startswith("test_")]
        for each in (functions[function], *helpers):
            pressed += bytes_in(each, values)
    assert row.tests
    for key in row.keys:
        expected = PRESSED.get(key) or (hands.ctrl(key[-1]) if key.startswith("ctrl+") else key.encode())
        assert any(expected in each for each in pressed), key


@pytest.mark.parametrize("command", sorted({each for row in ROWS for each in re.findall(r"`(pf [^`]+)`", row.command)}))
def test_its_command_prints_json(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = command.split()[1:]
    if "--json" not in words:
        pytest.skip("for reading")
    assert main([*(word for word in words if word != "--json"), "--help"]) == 0
    assert "--json" in capsys.readouterr().out


def test_every_row_has_a_command_or_says_why_not() -> None:
    for row in ROWS:
        assert "--json" in row.command or re.match("\u2013 .{8,}", row.command), row


def withstood() -> set[str]:
    """What the rows of what it withstands name: files of tests, and functions as `file::function`."""
    text = LIST.read_text().partition("## What it withstands")[2]
    found, file = set(), ""
    for row in text.splitlines():
        for name in re.findall(r"`(?:tests/[a-z/]*)?(test_\w+(?:::\w+)?)(?:\.py|\[\w+\])?`", row.rpartition(" | ")[2]):
            known = "::" in name or list((ROOT / "tests").rglob(f"{name}.py"))
            file = name.partition("::")[0] if known else file
            found.add(name if known else f"{file}::{name}")
    return found


def test_what_it_withstands_names_every_test_of_it_and_no_other() -> None:
    named = withstood()
    there = set()
    for path in (ROOT / "tests" / "e2e").glob("test_withstand_*.py"):
        there |= {f"{path.stem}::{name}" for name in functions_of(path.stem)[0] if name.startswith("test_")}
    assert {name for name in named if name.startswith("test_withstand") and "::" in name} <= there
    assert {name for name in there if name not in named and name.partition("::")[0] not in named} == set()
