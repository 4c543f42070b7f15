"""A document about what is selected: fields, texts, and payloads as foldable trees."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from playground.dashboard.text import Row, cells, clip, lines_of, one_line, pad, wrap
from playground.dashboard.views.base import View

GROUP = 100
"""A container with more than twice as many items shows them in groups."""
OPEN_ITEMS = 30
"""A container that opens by itself has at most this many items."""
MAX_TEXT = 200_000
"""Characters of one text that are laid out; copying gives all of it."""
MAX_DEPTH = 200
EXPAND_ROWS = 2000
FIELD_CELLS = 12
MAX_FIELD_ROWS = 20


class Node:
    """One entry of a document: a field, a text, or a value with what is inside it."""

    __slots__ = ("_children", "depth", "key", "open", "role", "value")

    def __init__(self, key: str, value: Any, *, role: str = "", depth: int = 0, is_open: bool = False) -> None:
        self.key = one_line(key)
        self.value = value
        self.role = role
        """`heading`, `text`, `rule`, a color for a field, or empty for JSON."""
        self.depth = depth
        self.open = is_open
        self._children: list[Node] | None = None

    @property
    def children(self) -> list[Node]:
        """What is inside, made when it is first asked for."""
        if self._children is None:
            self._children = self._make_children()
        return self._children

    def _make_children(self) -> list[Node]:
        value, depth = self.value, self.depth + 1
        if self.role or depth > MAX_DEPTH:
            return []
        if isinstance(value, Group):
            return [Node(key, item, depth=depth) for key, item in value.items]
        if isinstance(value, dict):
            items = [(one_line(str(key)), item) for key, item in value.items()]
        elif isinstance(value, list):
            items = [(str(index), item) for index, item in enumerate(value)]
        else:
            return []
        if len(items) <= 2 * GROUP:
            return [Node(key, item, depth=depth) for key, item in items]
        groups = [items[start : start + GROUP] for start in range(0, len(items), GROUP)]
        return [Node(f"{group[0][0]} … {group[-1][0]}", Group(group), depth=depth) for group in groups]

    @property
    def foldable(self) -> bool:
        """True when it can be opened and closed."""
        if self.role:
            return self.role == "text"
        if isinstance(self.value, str):
            return len(self.value) > 60 or "\n" in self.value
        return isinstance(self.value, dict | list | Group) and bool(self.value)

    def json_value(self) -> Any:
        """The value as JSON has it."""
        return dict(self.value.items) if isinstance(self.value, Group) else self.value

    def copy_text(self) -> str:
        """The value: text as it is, everything else as JSON."""
        value = self.json_value()
        return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


class Group:
    """Some of the items of a large container."""

    def __init__(self, items: list[tuple[str, Any]]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)


def payload(key: str, value: Any, *, is_open: bool = True) -> Node:
    """A node for `{"type": "module:Class", "value": …}`, named by its class."""
    if isinstance(value, dict) and isinstance(value.get("type"), str) and "value" in value and len(value) <= 3:
        kind = one_line(value["type"]).rpartition(":")[2]
        key, value = f"{key} · {kind}", value["value"]
    node = Node(key, value)
    node.open = is_open and (not isinstance(value, dict | list) or len(value) <= OPEN_ITEMS)
    return node


def scalar(value: Any) -> tuple[str, str]:
    """A value in one line, and its role."""
    if isinstance(value, str):
        return '"' + one_line(value[:2000]) + '"', "string"
    if value is None or isinstance(value, bool):
        return json.dumps(value), "literal"
    if isinstance(value, int | float):
        return str(value) if not isinstance(value, int) or abs(value) < 10**30 else f"{value:.6e}", "number"
    if isinstance(value, dict | Group):
        return f"{{{len(value)}}}", "dim"
    if isinstance(value, list):
        return f"[{len(value)}]", "dim"
    return one_line(repr(value)), ""


def preview(value: Any, width: int) -> str:
    """The beginning of a container, in one line."""
    if isinstance(value, Group) or not value:
        return ""
    parts: list[str] = []
    room = width
    pairs = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for key, item in pairs:
        text = scalar(item)[0]
        part = text if key is None else f"{one_line(str(key))}: {text}"
        parts.append(clip(part, 40))
        room -= len(parts[-1]) + 2
        if room <= 0:
            break
    inside = ", ".join(parts)
    return clip(f"{{{inside}}}" if isinstance(value, dict) else f"[{inside}]", width)


class DetailView(View):
    """Rows of a document; texts are wrapped to the pane."""

    label = "Detail"
    short = "Det"
    help = (
        """What is selected: a flow, a broken module, a run, a span or an event, with its payloads, error and traceback.
A node ends with what it changed between its input and its output. Of a huge text only the beginning is laid out.""",
        [
            ("⏎  ← →", "unfold, fold, go outward"),
            ("*", "unfold all that is under the cursor"),
            ("J", "raw JSON, and back"),
            ("y  Y", "copy the value;  copy as JSON, as Python, as a pf command"),
            ("D", "decode an event of more than 4 MB"),
            ("/  n  N", "search, next, previous"),
            ("[  ]", "the other tabs"),
        ],
    )
    empty = "Move in any list: what is selected is shown here."

    def __init__(self) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self._rows: list[tuple[Node, str | None]] = []
        self._width = 60
        self._heading: Row = []
        self.subject: object = None

    def show(self, subject: object, heading: Row, nodes: list[Node]) -> None:
        """Show a document; of the same subject as before, what was opened stays open and the cursor where it was."""
        if subject == self.subject:
            self._carry_over(self.nodes, nodes, budget=[500])
        else:
            self.cursor = self.top = 0
        self.subject, self._heading, self.nodes = subject, heading, nodes
        self._lay_out()

    def _carry_over(self, old: list[Node], new: list[Node], budget: list[int]) -> None:
        before = _numbered(old)
        for key, node in _numbered(new).items():
            known = before.get(key)
            if known is None or budget[0] <= 0:
                continue
            budget[0] -= 1
            node.open = known.open
            if node.open and known._children:
                self._carry_over(known.children, node.children, budget)

    def __len__(self) -> int:
        return len(self._rows)

    def resize(self, width: int, height: int) -> None:
        """Wrap again when the width changed."""
        if width != self._width:
            self._width = width
            self._lay_out()
        super().resize(width, height)

    def title(self) -> Row:
        """What the document is about."""
        return self._heading

    @property
    def node(self) -> Node | None:
        """The entry under the cursor."""
        return self._rows[self.cursor][0] if 0 <= self.cursor < len(self._rows) else None

    def _lay_out(self) -> None:
        self._rows = []
        stack = list(reversed(self.nodes))
        while stack:
            node = stack.pop()
            self._rows.append((node, None))
            if not (node.open and node.foldable):
                if node.role not in {"", "text", "heading"}:
                    rest = wrap(one_line(str(node.value)), self._width - FIELD_CELLS)[1:MAX_FIELD_ROWS]
                    self._rows.extend((node, line) for line in rest)
                continue
            if isinstance(node.value, str):
                self._rows.extend((node, line) for line in self._text_lines(node))
            else:
                stack.extend(reversed(node.children))
        self.settle()
        self.touch()

    def _text_lines(self, node: Node) -> list[str]:
        text = node.value[:MAX_TEXT]
        width = max(self._width - 2 * min(node.depth, 20) - 2, 10)
        lines = [piece for line in lines_of(text.rstrip("\n")) for piece in _wrapped(node, line, width)]
        if len(node.value) > MAX_TEXT:
            lines.append(f"… {len(node.value) - MAX_TEXT:,} characters more: y copies all")
        return lines

    def activate(self) -> bool:
        """Enter folds and unfolds."""
        node = self.node
        if node is None or not node.foldable:
            return False
        self._set_open(node, not node.open)
        return True

    def _set_open(self, node: Node, is_open: bool) -> None:
        node.open = is_open
        self._lay_out()
        self.cursor = next((i for i, (other, line) in enumerate(self._rows) if other is node and line is None), 0)
        self.settle()

    def side(self, direction: int) -> None:
        """Left folds or goes outward; right unfolds."""
        node = self.node
        if node is None:
            return
        if direction > 0:
            if node.foldable and not node.open:
                self._set_open(node, True)
        elif node.foldable and node.open:
            self._set_open(node, False)
        else:
            for index in range(self.cursor, -1, -1):
                if self._rows[index][0].depth < node.depth:
                    self.go(index)
                    return

    def expand_all(self) -> None:
        """Open everything under the cursor's entry, within reason."""
        node = self.node
        if node is None:
            return
        opened, stack = 0, [node]
        while stack and opened < EXPAND_ROWS:
            current = stack.pop()
            current.open = True
            opened += 1
            stack.extend(child for child in current.children if child.foldable)
        self._lay_out()

    def copy_text(self) -> str:
        """The value under the cursor."""
        node = self.node
        return "" if node is None else node.copy_text()

    def row(self, index: int, width: int) -> Row:
        """One line of an entry."""
        node, line = self._rows[index]
        indent = "  " * min(node.depth, 20)
        if line is not None:
            if node.role not in {"", "text"}:
                return [(" " * FIELD_CELLS, ""), (line, node.role)]
            return [(indent + "  ", ""), (line, _text_role(node, line))]
        mark = ("▾ " if node.open else "▸ ") if node.foldable else "  "
        if node.role == "text":
            first = "" if node.open else one_line(node.value.strip().split("\n")[-1])
            return [(mark, "dim"), (node.key, "key"), ("  ", ""), (first, "dim")]
        if node.role:
            first = wrap(one_line(str(node.value)), width - FIELD_CELLS)[0]
            return [("  ", ""), (pad(node.key, FIELD_CELLS - 3) + " ", "dim"), (first, node.role)]
        return self._json_row(node, indent, mark, width)

    @staticmethod
    def _json_row(node: Node, indent: str, mark: str, width: int) -> Row:
        text, role = scalar(node.value)
        row: Row = [(indent + mark, "dim"), (node.key, "key"), (": ", "dim")]
        if isinstance(node.value, dict | list) and node.value and not node.open:
            room = width - sum(cells(piece) for piece, _ in row) - len(text) - 1
            row += [(preview(node.value, max(room, 8)), ""), (" " + text, "dim")]
        else:
            row.append((text, role))
        return row


def _numbered(nodes: list[Node]) -> dict[tuple[str, int], Node]:
    """Nodes by key, and by how often that key came before."""
    seen: Counter[str] = Counter()
    numbered: dict[tuple[str, int], Node] = {}
    for node in nodes:
        numbered[node.key, seen[node.key]] = node
        seen[node.key] += 1
    return numbered


def _wrapped(node: Node, line: str, width: int) -> list[str]:
    """A line in pieces; those of a traceback stay in the column of its line."""
    pieces = wrap(line, width)
    indent = line[: len(line) - len(line.lstrip())] if node.key == "traceback" and len(pieces) > 1 else ""
    if not indent or len(indent) * 2 > width:
        return pieces
    return [indent + piece for piece in wrap(line.strip(), width - len(indent))]


def _text_role(node: Node, line: str) -> str:
    if node.key == "traceback":
        stripped = line.lstrip()
        return "key" if stripped.startswith("File ") else "" if line.startswith(" ") else "error"
    return "string" if not node.role else ""
