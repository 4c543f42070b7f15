"""The system prompt: what a planner is, how it replies, which tools it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from penguiflow.catalog import NodeSpec
from penguiflow.planner.config import ToolExamplesConfig
from penguiflow.planner.prompts.texts import as_json, render_planning_hints

__all__ = ["build_system_prompt", "render_tool", "tool_records"]

_FORMAT = {
    "prompted": """\
Reply with exactly one JSON object and nothing else: no prose, no fences, no second object.
{"next_node": "<name of a tool, or an opcode>", "args": {...}}""",
    "native": """\
Call a tool through the function calling of this interface, or several at once if they do not depend on each other.
When no tool is needed any more, answer.""",
}
_SCHEMA = """\
next_node is one of:
- the name of a tool; args are its arguments, as its schema says
- "parallel": several tools at once; args are {"steps": [{"node": "<tool>", "args": {...}}, ...], "join": {...} or null}
- "final_response": the answer; args are {"answer": "<text>", ...}"""
_NATIVE_SCHEMA = "Arguments of a tool are a JSON object that fits the tool's schema."
_FINISHING = {
    "prompted": """\
When you can answer, reply with {"next_node": "final_response", "args": {"answer": "<the whole answer>"}}.
args.answer is all that the user sees: it stands for itself, in the user's language. Where they apply, args also has
"confidence" (0 to 1), "route", "requires_followup" (true when you need something from the user), "warnings" (texts),
"language", "suggested_actions" ([{"action_id", "label", "params"}]). Sources and artifacts are added by themselves.""",
    "native": """\
When you can answer, answer in plain text, without calling a tool. The text is all that the user sees: it stands for
itself, in the user's language. Sources and artifacts are added by themselves.""",
}
_STRUCTURED = {
    "prompted": 'args of final_response also has "structured", an object that fits this schema:',
    "native": "Give the answer by calling the tool final_response: structured is an object that fits this schema:",
}
_TOOL_USAGE = """\
Use only the tools that are listed. Give every required argument a real value, from the query, the context or an
observation; never invent one, never put in a placeholder. Tools with the side effects "write", "external" or "stateful"
change something: call them only if that is wanted. Do not repeat a call that gave its result."""
_PARALLEL = {
    "prompted": """\
Use "parallel" for calls that do not need each other's results. The observation has a list "branches", in the order of
the steps. With "join": {"node": "<tool>", "args": {...}, "inject": {"<argument>": "<source>"}} a tool gets the results
when all are there; a source is one of $results, $branches, $failures, $success_count, $failure_count, $expect.""",
    "native": "Call several tools in one turn when they do not need each other's results.",
}
_REASONING = """\
Go step by step: look at what is known, find out what is missing, take the one step that helps most. Stop as soon as the
query can be answered."""
_TONE = "Answer clearly and to the point. Say what you do not know. Do not speak of tools, steps or JSON to the user."
_ERRORS = """\
An observation with "error" or "failure" tells what went wrong. Correct the call, try another way, or answer with what
is known and say what is missing. Do not repeat a call that failed without changing it."""


def build_system_prompt(
    catalog: Sequence[Mapping[str, Any]],
    *,
    extra: str | None = None,
    planning_hints: Mapping[str, Any] | None = None,
    current_date: str | None = None,
    tool_examples: ToolExamplesConfig | None = None,
    structured_final_schema: Mapping[str, Any] | None = None,
    tool_call_mode: str = "prompted",
) -> str:
    """The system prompt for these tools (records, as `NodeSpec.to_tool_record()` gives them).

    Args:
        catalog: The tools.
        extra: What the program says besides.
        planning_hints: How the program wants it to plan.
        current_date: `2026-01-31`; None leaves it out.
        tool_examples: How examples of arguments are shown.
        structured_final_schema: The JSON schema of a typed answer.
        tool_call_mode: `prompted`, or `native`.
    """
    mode = "native" if tool_call_mode == "native" else "prompted"
    date = f"\nToday is {current_date}." if current_date else ""
    sections = [
        ("identity", "You plan and act: you call tools, one step after the other, until you can answer." + date),
        ("output_format", _FORMAT[mode]),
        ("action_schema", _NATIVE_SCHEMA if mode == "native" else _SCHEMA),
        ("finishing", _FINISHING[mode]),
        ("tool_usage", _TOOL_USAGE),
        ("parallel_execution", _PARALLEL[mode]),
        ("reasoning", _REASONING),
        ("tone", _TONE),
        ("error_handling", _ERRORS),
    ]
    if structured_final_schema is not None:
        text = f"{_STRUCTURED[mode]}\n{as_json(structured_final_schema)}"
        sections.insert(4, ("structured_final_response", text))
    tools = "\n\n".join(render_tool(record, tool_examples=tool_examples) for record in catalog)
    if mode == "native":
        tools = "\n".join(f"- {record['name']}" for record in catalog)
    sections.append(("available_tools", tools or "There are none: answer."))
    if extra and extra.strip():
        sections.append(("additional_guidance", extra.strip()))
    hints = render_planning_hints(planning_hints) if planning_hints else ""
    if hints:
        sections.append(("planning_constraints", hints))
    return "\n\n".join(f"<{name}>\n{text}\n</{name}>" for name, text in sections)


def render_tool(record: Mapping[str, Any], *, tool_examples: ToolExamplesConfig | None = None) -> str:
    """What a model is told of one tool."""
    lines = [f"- {record['name']}: {record['desc']}"]
    lines.append(f"  side effects: {record.get('side_effects', 'pure')}")
    for key, label in (
        ("tags", "tags"),
        ("auth_scopes", "auth scopes"),
        ("cost_hint", "cost"),
        ("latency_hint_ms", "latency in ms"),
        ("safety_notes", "safety"),
    ):
        value = record.get(key)
        if value:
            lines.append(f"  {label}: {', '.join(map(str, value)) if isinstance(value, list | tuple) else value}")
    lines.append(f"  args: {as_json(_plain(record.get('args_schema') or {}))}")
    if record.get("out_schema"):
        lines.append(f"  gives: {as_json(_plain(record['out_schema']))}")
    config = tool_examples or ToolExamplesConfig()
    if config.enabled:
        lines.extend(_examples(record.get("examples") or (), config))
    return "\n".join(lines)


def tool_records(specs: Mapping[str, NodeSpec]) -> list[dict[str, Any]]:
    """The records of tools under the names that the model knows."""
    return [{**spec.to_tool_record(), "name": name} for name, spec in specs.items()]


def _examples(examples: Iterable[Mapping[str, Any]], config: ToolExamplesConfig) -> list[str]:
    lines = []
    for example in list(examples)[: config.max_examples_per_tool]:
        about = example.get("description") if config.include_descriptions else None
        lines.append(f"  example{f' ({about})' if about else ''}: {as_json(example['args'])}")
    return lines


def _plain(schema: Any) -> Any:
    """A schema without the titles that pydantic makes of names: they say nothing new."""
    if isinstance(schema, Mapping):
        return {
            key: _properties(value) if key in ("properties", "$defs") else _plain(value)
            for key, value in schema.items()
            if key != "title" or not isinstance(value, str)
        }
    return [_plain(each) for each in schema] if isinstance(schema, list) else schema


def _properties(schemas: Any) -> Any:
    """Here the keys are names, `title` perhaps among them."""
    return {name: _plain(schema) for name, schema in schemas.items()} if isinstance(schemas, Mapping) else schemas
