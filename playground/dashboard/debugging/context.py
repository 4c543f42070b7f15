"""The tab of what is around a run: headers and contexts of one that has stopped, and what its planner remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from playground.dashboard.bars import Key
from playground.dashboard.details import field, text
from playground.dashboard.text import Row, count, one_line, size
from playground.dashboard.views.detail import DetailView, Node

if TYPE_CHECKING:
    from playground.dashboard.debugging.values import Values
    from playground.protocol import Context, ContextPart, KvEntry, MemoryShown

BAR_CELLS = 20
OPEN_ITEMS = 12
"""What has at most so many is shown unfolded."""
NAMES = {
    "headers": "headers",
    "meta": "meta",
    "llm_context": "llm context",
    "tool_context": "tool context",
}


class Item(NamedTuple):
    """What the cursor is on."""

    kind: str
    """`part`, `summary`, `turn`, `key`, `kv` or `kv_new`."""
    name: str
    """Of the part, the turn's id, the key of a conversation, what tells a value from others."""


class ContextView(DetailView):
    """Parts that can be edited, one below the other."""

    label = "Context"
    short = "Ctx"
    empty = (
        "What is around a run that has stopped is shown here: headers, meta, contexts, what its planner remembers, "
        "and what its tools keep. Between runs: what planners remember and tools keep of each session."
    )
    keys = (
        Key("e", "edit", "do('debugging', 'edit')"),
        Key("⏎", "open", "choose"),
        Key("del", "forget", "do('debugging', 'remove')"),
        Key("y", "copy", "copy"),
    )
    help = (
        """What is around a run that has stopped, what its planner remembers and what its tools keep (ctx.kv).
What is edited here is changed at once; it is in the events, with what was before.""",
        [
            ("e", "edit what the cursor is on: headers, a context, the summary, a turn, a value; on kv: add one"),
            ("⏎", "unfold; on a session: open it"),
            ("del", "forget a turn, delete a value"),
            ("y", "copy"),
        ],
    )

    def __init__(self) -> None:
        super().__init__()
        self._items: dict[int, Item] = {}
        """By identity of the entry at the top."""
        self.wants: Item | None = None
        """What Enter was pressed on."""

    @property
    def item(self) -> Item | None:
        """What the cursor is in."""
        for index in range(min(self.cursor, len(self._rows) - 1), -1, -1):
            node = self._rows[index][0]
            if node.depth == 0:
                return self._items.get(id(node))
        return None

    def activate(self) -> bool:
        """Enter opens a session, begins a new value, else folds."""
        item = self.item
        if item is not None and item.kind in ("key", "kv_new"):
            self.wants = item
            return True
        return super().activate()

    def fill(
        self,
        subject: object,
        heading: Row,
        context: Context | None,
        memory: MemoryShown | None,
        values: Values,
        keys: list[str],
        problems: list[str],
    ) -> None:
        """Show what was read."""
        self._items = {}
        nodes: list[Node] = [field("problem", problem, "warn") for problem in problems]
        for part in context.parts if context is not None else ():
            nodes += self._part(part)
        if values.session is not None:
            nodes += self._values(values)
        if memory is not None:
            nodes += self._memory(memory)
        if keys:
            nodes.append(field("all", f"{len(keys)} conversations are remembered: ⏎ opens one", "dim"))
        for key in keys:
            nodes.append(self._keep(field("", key, "accent"), Item("key", key)))
        self.show(subject, heading, nodes)

    def _keep(self, node: Node, item: Item) -> Node:
        self._items[id(node)] = item
        return node

    def _part(self, part: ContextPart) -> list[Node]:
        name, item = NAMES.get(part.name, part.name), Item("part", part.name)
        if part.bytes is not None and part.value is None:
            return [self._keep(field(name, f"{size(part.bytes)}: too large to be shown", "warn"), item)]
        node = Node(name, part.value)
        node.open = isinstance(part.value, dict | list) and 0 < len(part.value) <= OPEN_ITEMS
        nodes = [self._keep(node, item)]
        if not part.editable:
            nodes.append(self._keep(field("", f"cannot be edited: {part.why_not or 'it is read only'}", "dim"), item))
        return nodes

    def _memory(self, memory: MemoryShown) -> list[Node]:
        nodes = [
            field("memory", f"{memory.key}  of {memory.planner}, version {memory.version}", "strong"),
            field("budget", budget(memory), "plain"),
            self._keep(text("summary", memory.summary or "(nothing yet)"), Item("summary", "")),
        ]
        for kind, turns in (("pending", memory.pending), ("turn", memory.turns)):
            for number, turn in enumerate(turns, 1):
                node = Node(f"{kind} {number}", turn)
                nodes.append(self._keep(node, Item("turn", str(turn.get("turn_id", "")))))
        if memory.artifacts:
            nodes.append(Node("artifacts", memory.artifacts))
        return nodes

    def _values(self, values: Values) -> list[Node]:
        """What tools keep: by namespace and key."""
        kept = len(values.entries) + values.more
        about = f"{kept} value{'s' if kept != 1 else ''}" if kept else "nothing yet"
        head = field("kv", f"{values.session}  {about} · e adds one", "strong")
        nodes = [self._keep(head, Item("kv_new", ""))]
        for entry in values.entries:
            item = Item("kv", entry_id(entry))
            if entry.cut:
                told = f"{size(entry.bytes)}: e reads all of it"
                nodes.append(self._keep(field(entry_name(entry), told, "warn"), item))
                continue
            node = Node(entry_name(entry), entry.value)
            node.open = isinstance(entry.value, dict | list) and 0 < len(entry.value) <= OPEN_ITEMS
            nodes.append(self._keep(node, item))
        if values.more:
            nodes.append(field("", f"and {values.more} more: `pf kv list` has them", "dim"))
        return nodes


def entry_name(entry: KvEntry) -> str:
    """How a value is called: `namespace/key`, and of which task."""
    name = f"{entry.namespace}/{entry.key}" if entry.namespace else entry.key
    return one_line(name if entry.scope == "session" else f"{name} (task {entry.task})")


def entry_id(entry: KvEntry) -> str:
    """What tells a value from the others of its session."""
    return "\0".join((entry.scope, entry.task, entry.namespace, entry.key))


def budget(memory: MemoryShown) -> str:
    """How much of what it may remember is taken."""
    about = f"{count(memory.tokens)} tokens"
    if memory.health != "healthy":
        about += f" · {memory.health}"
    limit = memory.total_max_tokens
    if not limit:
        return about + (" · no limit" if limit == 0 else "")
    share = min(memory.tokens / limit, 1.0)
    full = round(share * BAR_CELLS)
    return f"{'█' * full}{'░' * (BAR_CELLS - full)} {share:.0%} of {count(limit)} · {about}"


def heading_of(stop: Any) -> Row:
    """Whose context it is."""
    return [(f"⏸ {stop.trace_id[:8]}", "accent"), (f" {one_line(stop.name)}", "")]
