"""What the inspector says about an event, a span, a run, a flow, or a module that does not load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from playground.dashboard.heads import BadEvent, Head, read_data, read_head
from playground.dashboard.text import GLYPHS, NS, ROLES, Row, duration, one_line, size, when
from playground.dashboard.trace import TraceModel, failed, seconds
from playground.dashboard.views.detail import Node, payload

if TYPE_CHECKING:
    from penguiflow.recording.spans import Span
    from playground.protocol import CodeError, FlowInfo, ModuleInfo

MAX_DECODE = 4_000_000
"""A larger event is decoded only when it is asked for: that may take seconds."""
MAX_MESSAGES = 20
SCANNED = 50_000
ENDS = 3000


def field(key: str, value: object, role: str = "plain") -> Node:
    """One line: a name and a value."""
    return Node(key, str(value), role=role)


def text(key: str, value: str, *, is_open: bool = True) -> Node:
    """Some lines under a name."""
    return Node(key, value, role="text", is_open=is_open)


def users_frames(traceback: str) -> str:
    """A traceback without the frames of penguiflow itself; the event has it all."""
    import penguiflow

    library = f'  File "{Path(penguiflow.__file__).parent}/'
    kept: list[str] = []
    hidden, skipping = 0, False
    for line in traceback.splitlines():
        if line.startswith("  File "):
            skipping = line.startswith(library)
            hidden += skipping
        elif not line.startswith("    "):
            skipping = False
        # Markers below a line stand wrong once it is wrapped.
        if not skipping and (line.strip("^~ ") or not line):
            kept.append(line)
    if hidden:
        kept.append(f"({hidden} frame{'s' if hidden > 1 else ''} of penguiflow left out)")
    return "\n".join(kept)


def error_nodes(error: dict[str, Any]) -> list[Node]:
    """A recorded error: what, where, and its traceback as text."""
    kind = error.get("type") or error.get("exception_type") or error.get("code")
    nodes = [field("error", f"{kind}: {error.get('message', '')}" if kind else error.get("message", ""), "error")]
    if error.get("code") and error.get("code") != kind:
        nodes.append(field("code", error["code"]))
    if error.get("file"):
        nodes.append(field("at", f"{error['file']}:{error.get('line', '?')}", "accent"))
    if isinstance(error.get("traceback"), str):
        nodes.append(text("traceback", users_frames(error["traceback"])))
    known = {
        "type",
        "message",
        "traceback",
        "file",
        "line",
        "code",
        "exception_type",
        "trace_id",
        "node_name",
        "node_id",
    }
    rest = {key: value for key, value in error.items() if key not in known}
    if rest:
        nodes.append(Node("more", rest))
    return nodes


def status_row(status: str, seconds: float) -> Row:
    """Glyph, status, time."""
    role = ROLES.get(status, "")
    return [(f"{GLYPHS.get(status, '?')} {status}", role), (f" {duration(seconds)}", "")]


def event_details(trace: TraceModel, index: int, *, whole: bool = False) -> tuple[Row, list[Node]]:
    """Everything an event says."""
    raw = trace.events[index]
    head = read_head(raw)
    heading: Row = [(f"event {head.seq} ", ""), (one_line(head.kind), "accent")]
    nodes = [
        field("event", str(head.seq)),
        field("kind", head.kind, "accent"),
        field("name", head.name),
        field("time", f"+{head.offset_ns / NS:.6f} s   {when(head.ts)}"),
        field("span", head.span_id + (f"  in {head.parent_id}" if head.parent_id else "")),
    ]
    if len(raw) > MAX_DECODE and not whole:
        nodes.append(field("data", f"{size(len(raw))}: press D to decode all of it", "warn"))
        return heading, nodes
    data = read_data(raw)
    error = data.pop("error", None)
    same = data.get("same_as")
    for key, value in data.items():
        if key == "payload":
            nodes.append(payload("payload", value))
        elif isinstance(value, dict | list) or (isinstance(value, str) and len(value) > 80):
            nodes.append(payload(key, value))
        else:
            nodes.append(field(key, value if isinstance(value, str) else _json(value)))
    if isinstance(error, dict):
        nodes += error_nodes(error)
    if isinstance(same, str) and (found := trace.find_message(same, before=index)) is not None:
        nodes.append(payload("payload", found[1].get("payload")))
    message_id = data.get("message_id")
    if isinstance(message_id, str) and "payload" not in data and same is None:
        message = trace.find_message(message_id, before=index)
        if message is not None and "payload" in message[1]:
            nodes.append(payload(f"message {message[0].name}", message[1]["payload"], is_open=False))
    return heading, nodes


def _json(value: object) -> str:
    import json

    return json.dumps(value)


def span_details(trace: TraceModel, span: Span) -> tuple[Row, list[Node]]:
    """A span: how it went, what went in, what came out."""
    from playground.dashboard.debugging.edited import edited_nodes
    from playground.dashboard.watching.calls import changes_nodes, span_nodes

    if span.kind == "trace":
        return _trace_details(trace, span)
    name = f"{span.kind} {span.name}"
    if span.kind == "attempt":
        name = f"attempt {(span.attempt or 0) + 1} of {span.name}"
    elif span.step is not None:
        name = f"step {span.step}"
    heading: Row = [(one_line(name), "accent")]
    nodes = [_state(trace, span)]
    around = trace.parent(span)
    holder = around if span.kind == "attempt" and around is not None else span
    message = trace.find_message(holder.input_id, before=trace.position(holder.start_seq)) if holder.input_id else None
    wait = None
    if message is not None and holder.queue_wait_s is None:  # a worker says it itself
        wait = (holder.start_ns - message[0].offset_ns) / NS
    started = f"+{duration(span.start_ns / NS)}"
    nodes.append(field("began", f"{started}, {duration(wait)} in the queue" if wait is not None else started))
    if holder.worker_id is not None:
        nodes.append(field("worker", _worker(holder)))
    if span.span_id in trace.retry_after:
        nodes.append(field("again", f"after {duration(trace.retry_after[span.span_id])}", "warn"))
    nodes += edited_nodes(trace, span)
    nodes += _errors(span)
    nodes += span_nodes(trace, span)
    if message is not None:
        nodes += _message_nodes(f"input {message[0].name}", message[1])
    sent = _sent(trace, holder) if span.kind != "attempt" or span is holder.children[-1] else []
    for out_head, data in sent:
        nodes += _message_nodes(f"output {out_head.name}", data)
    if message is not None and sent and span.end_ns is not None:
        nodes += changes_nodes(message[1], sent[-1][1])
    return heading, nodes


def _worker(span: Span) -> str:
    """Who had the message, how long that had waited on its edge, and that others had it before."""
    told = [one_line(str(span.worker_id))]
    if span.queue_wait_s is not None:
        told.append(f"the message waited {duration(span.queue_wait_s)}")
    if span.delivery is not None and span.delivery > 1:
        told.append(f"delivery {span.delivery}")
    return " · ".join(told)


def _state(trace: TraceModel, span: Span) -> Node:
    if trace.loading and span.end_ns is None:
        return field("state", "loading…", "dim")
    state = f"{GLYPHS.get(span.status, '?')} {span.status} · {duration(seconds(span, trace.now_ns()))}"
    attempts = [child for child in span.children if child.kind == "attempt"] if span.kind != "trace" else []
    if len(attempts) > 1:
        state += f" · {len(attempts)} attempts"
    return field("state", state, ROLES.get(span.status, "plain") or "plain")


def _errors(span: Span) -> list[Node]:
    last = next((child for child in reversed(span.children) if child.kind == "attempt" and failed(child)), None)
    if span.kind == "node" and last is not None and last.error:
        nodes = error_nodes(last.error)
        if not failed(span):
            nodes[0] = field("retried", nodes[0].value, "warn")
            for node in nodes:
                node.open = False
        return nodes
    return error_nodes(span.error) if span.error else []


def _message_nodes(key: str, data: dict[str, Any]) -> list[Node]:
    if "payload" not in data:
        return []
    nodes = [payload(key, data["payload"])]
    envelope = {name: data[name] for name in ("headers", "meta", "deadline_s") if data.get(name)}
    if envelope:
        nodes.append(Node("envelope", envelope))
    return nodes


def _sent(trace: TraceModel, span: Span) -> list[tuple[Head, dict[str, Any]]]:
    sent: list[tuple[Head, dict[str, Any]]] = []
    for index, raw in trace.events_of(span, most=SCANNED):
        if len(sent) >= MAX_MESSAGES:
            break
        if b'"message.enqueued"' in raw and len(raw) <= MAX_DECODE and b'"stream_id"' not in raw:
            head, data = read_head(raw), read_data(raw)
            same = data.get("same_as")
            if isinstance(same, str) and (origin := trace.find_message(same, before=index)) is not None:
                data = {**origin[1], **data}
            sent.append((head, data))
    return sent


def _trace_details(trace: TraceModel, span: Span) -> tuple[Row, list[Node]]:
    heading: Row = [("run ", ""), (trace.trace_id[:8], "accent")]
    nodes = [_state(trace, span)]
    if len(trace.tree.roots) > 1:
        told = f"{GLYPHS.get(trace.status, '?')} {trace.status} · after it was taken up again"
        nodes.append(field("by now", told, ROLES.get(trace.status, "plain") or "plain"))
    nodes.append(field("trace", trace.trace_id))
    if node := trace.waiting_for():
        nodes.append(field("waiting", f"for {node}: what another run does there holds it up", "warn"))
    if trace.target:
        nodes.append(field("target", trace.target, "accent"))
    if trace.version:
        nodes.append(field("version", f"v{trace.version[:12]}"))
    if trace.origin is not None:
        nodes.append(field("origin", f"{trace.origin} (⌫ goes there)", "accent"))
    if trace.session:
        nodes.append(field("session", trace.session))
    if trace.started is not None:
        nodes.append(field("began", when(trace.started)))
    if trace.error:
        nodes += error_nodes(trace.error)
    if (entered := edge_message(trace, "OpenSea")) is not None:
        nodes += _message_nodes("input", entered)
    if (left := edge_message(trace, "Rookery")) is not None:
        nodes += _message_nodes("output", left)
    for stall in _of_kind(trace, "stall"):
        where = f"{stall.get('file', '?')}:{stall.get('line', '?')} in {stall.get('function', '?')}"
        nodes.append(field("blocked", f"{duration(float(stall.get('ms', 0)) / 1000)} at {where}", "warn"))
    return heading, nodes


def edge_message(trace: TraceModel, end: str) -> dict[str, Any] | None:
    """The first message that entered, or the last one (no chunk) that left: looked for where it must be."""
    events = trace.events[:ENDS] if end == "OpenSea" else reversed(trace.events[-ENDS:])
    needle = f'"{end}"'.encode()
    for raw in events:
        if b'"message.enqueued"' in raw and needle in raw and b'"stream_id"' not in raw and len(raw) <= MAX_DECODE:
            try:
                data = read_data(raw)
            except BadEvent:
                continue
            if data.get("source" if end == "OpenSea" else "target") != end:
                continue
            if isinstance(data.get("same_as"), str):
                found = trace.find_message(str(data["message_id"]), before=len(trace.events))
                return found[1] if found else None
            return data
    return None


def _of_kind(trace: TraceModel, kind: str) -> list[dict[str, Any]]:
    needle = f'"{kind}"'.encode()
    raws = [raw for raw in trace.events[-ENDS:] if needle in raw and read_head(raw).kind == kind]
    return [read_data(raw) for raw in raws[:MAX_MESSAGES]]


def error_card(module: ModuleInfo, error: CodeError) -> tuple[Row, list[Node]]:
    """Why a module offers nothing new, and what still works."""
    where = f"{error.file}:{error.line}" if error.file and error.line else error.file or module.path
    heading: Row = [("✖ ", "error"), (one_line(module.path), "accent")]
    nodes = [
        field("error", error.message, "error"),
        field("at", where, "accent"),
    ]
    if error.hint:
        nodes.append(field("hint", error.hint, "warn"))
    if module.flows:
        version = f" (v{module.flows[0].version[:6]})" if module.flows[0].version else ""
        nodes.append(field("still", f"the last good version{version} goes on: r runs it", "ok"))
    else:
        nodes.append(field("next", "save the repaired file: it is watched and loads by itself"))
    if error.frames:
        lines = []
        for frame in error.frames:
            lines.append(f'File "{frame.file}", line {frame.line}, in {frame.function}')
            if frame.text:
                lines.append(f"    {frame.text.strip()}")
        nodes.append(text("traceback", "\n".join([*lines, error.message])))
    return heading, nodes


def flow_details(module: ModuleInfo, flow: FlowInfo) -> tuple[Row, list[Node]]:
    """A flow: what it is, what it takes, its nodes."""
    heading: Row = [(one_line(flow.name), "accent")]
    nodes: list[Node] = []
    if flow.title:
        nodes.append(field("title", flow.title, "strong"))
    loaded = when(module.loaded_at) if module.loaded_at else ""
    took = f" in {module.load_ms:.0f} ms" if module.load_ms is not None else ""
    nodes.append(field("target", flow.target, "accent"))
    if flow.version:
        nodes.append(field("version", f"v{flow.version[:12]}  loaded {loaded}{took}"))
    if flow.nodes:
        nodes.append(field("nodes", " · ".join(one_line(node.name) for node in flow.nodes)))
    nodes += [Node(f"sample {number}", sample) for number, sample in enumerate(flow.samples, 1)]
    if flow.doc:
        first, _, rest = flow.doc.strip().partition("\n")
        nodes.append(text("about", flow.doc) if rest else field("about", first))
    if flow.edges:
        nodes.append(Node("edges", [f"{source} → {target}" for source, target in flow.edges]))
    policies = {node.name: node.policy for node in flow.nodes if node.policy}
    if policies:
        nodes.append(Node("policies", policies))
    if flow.input_schema is not None:
        nodes.append(Node(f"input {flow.input_type or ''}".strip(), flow.input_schema))
    return heading, nodes
