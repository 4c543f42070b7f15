from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from playground.breakpoints import FILE_NAME, Breakpoint, BreakpointsProblem, BreakpointStore


def make(number: str = "b", **fields: Any) -> Breakpoint:
    return Breakpoint.model_validate({"id": number, "on": "any", **fields})


@pytest.mark.parametrize(
    ("fields", "where", "fits"),
    [
        ({"on": "node", "name": "ask"}, ("before_node", "ask", "t"), True),
        ({"on": "node", "name": "ask"}, ("after_node", "ask", "t"), False),
        ({"on": "node", "name": "ask"}, ("before_tool", "ask", "t"), False),
        ({"on": "node"}, ("before_node", "other", "t"), True),
        ({"on": "tool", "name": "fetch"}, ("before_tool", "fetch", "t"), True),
        ({"on": "tool", "name": "fetch"}, ("before_join", "fetch", "t"), True),
        ({"on": "tool", "name": "fetch"}, ("after_tool", "fetch", "t"), False),
        ({"on": "kind", "kind": "after_decision"}, ("after_decision", "x", "t"), True),
        ({"on": "kind", "kind": "after_decision", "name": "y"}, ("after_decision", "x", "t"), False),
        ({"on": "error"}, ("on_error", "x", "t"), True),
        ({"on": "error"}, ("before_node", "x", "t"), False),
        ({"on": "any"}, ("before_llm", "x", "t"), True),
        ({"on": "any", "enabled": False}, ("before_llm", "x", "t"), False),
        ({"on": "any", "target": "t"}, ("before_llm", "x", "t"), True),
        ({"on": "any", "target": "u"}, ("before_llm", "x", "t"), False),
    ],
)
def test_where_it_stops(fields: dict[str, Any], where: tuple[str, str, str], fits: bool) -> None:
    assert make(**fields).fits(*where) is fits


@pytest.mark.parametrize(
    "fields",
    [{"on": "kind"}, {"on": "node", "kind": "before_node"}, {"condition": "a("}, {"on": "here"}, {"id": ""}, {"x": 1}],
)
def test_what_is_no_breakpoint(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make(**fields)


def test_a_condition_narrows_it() -> None:
    assert make(condition="url == 'b'").holds({"url": "b"})
    assert not make(condition="url == 'b'").holds({"url": "a"})
    assert make().holds(None)


class TestStore:
    def test_nothing_is_made_by_looking(self, tmp_path: Path) -> None:
        assert BreakpointStore(tmp_path / "home").load() == []
        assert not (tmp_path / "home").exists()

    def test_what_is_put_is_kept(self, tmp_path: Path) -> None:
        store = BreakpointStore(tmp_path / "home")
        first, second = make("1", on="tool", name="fetch", condition="args.url == 'b'"), make("2", once=True)
        assert store.change([first, second]) == [first, second]
        assert BreakpointStore(tmp_path / "home").load() == [first, second]
        changed = first.model_copy(update={"enabled": False})
        assert store.change([changed], ["2", "none"]) == [changed]
        assert store.load() == [changed]

    def test_hits_add_up_and_once_is_once(self, tmp_path: Path) -> None:
        store = BreakpointStore(tmp_path)
        store.change([make("1"), make("2", once=True), make("3")])
        store.count({"1": 2, "2": 1})
        counted = store.count({"1": 1, "gone": 4})
        assert [(each.id, each.hits, each.enabled) for each in counted] == [
            ("1", 3, True),
            ("2", 1, False),
            ("3", 0, True),
        ]
        assert store.load() == counted

    @pytest.mark.parametrize(
        "content",
        [
            b"", b"{", b"[]", b"\xff\xfe", b'{"schema": 1}', b'{"schema": 2, "breakpoints": []}',
            b'{"schema": 1, "breakpoints": [{"id": "1", "on": "here"}]}', b"[" * 100_000,
            b'{"schema": 1, "breakpoints": [{"id": "1", "on": "any", "condition": "f()"}]}', b"9" * 10_000,
        ],
    )  # fmt: skip
    def test_an_unreadable_file_is_told_and_set_aside(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / FILE_NAME
        path.write_bytes(content)
        store = BreakpointStore(tmp_path)
        with pytest.raises(BreakpointsProblem) as told:
            store.load()
        assert str(told.value).startswith(f"{path} cannot be read: ")
        assert "\n" not in str(told.value)
        assert path.read_bytes() == content
        assert store.change([make("1")]) == [make("1")]
        assert (tmp_path / f"{FILE_NAME}.unreadable-1").read_bytes() == content
        path.write_bytes(content)
        store.change([])
        assert (tmp_path / f"{FILE_NAME}.unreadable-2").read_bytes() == content

    def test_a_file_that_cannot_be_written_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = BreakpointStore(tmp_path)
        store.change([make("1")])

        def full(handle: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(BreakpointsProblem, match="No space left"):
            store.change([make("2")])
        assert store.load() == [make("1")]
        assert sorted(each.name for each in tmp_path.iterdir()) == [FILE_NAME, "breakpoints.lock"]

    def test_a_home_that_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "home").write_text("")
        with pytest.raises(BreakpointsProblem, match="cannot be written"):
            BreakpointStore(tmp_path / "home").change([make("1")])

    def test_processes_do_not_lose_each_others(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path\n"
            "from playground.breakpoints import Breakpoint, BreakpointStore\n"
            "store = BreakpointStore(Path(sys.argv[1]))\n"
            "for number in range(20):\n"
            "    store.change([Breakpoint(id=f'{sys.argv[2]}-{number}', on='any')])\n"
            "    store.count({'all': 1})\n"
        )
        store = BreakpointStore(tmp_path)
        store.change([make("all")])
        command = [sys.executable, "-c", code, str(tmp_path)]
        others = [subprocess.Popen([*command, name]) for name in ("one", "two")]
        assert [other.wait(120) for other in others] == [0, 0]
        kept = store.load()
        assert len(kept) == 41
        assert kept[0].hits == 40
        assert json.loads(store.path.read_text())["schema"] == 1
