"""The form that asks for a run's input."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Button, Checkbox, Input, Label, Select, TextArea

from playground.dashboard.closing import ClosesOnce
from playground.dashboard.control import run_options
from playground.dashboard.form import FormField, Invalid, collect, fields_of, initial, parse, tell_apart
from playground.dashboard.inorder import Line, Sheet
from playground.dashboard.text import clip, one_line
from playground.dashboard.tick import Tick

if TYPE_CHECKING:
    from playground.protocol import FlowInfo

Answer = tuple[Any, dict[str, Any]]
Draft = dict[str, dict[str, Any]]
"""What stood in the fields: by `field` and `extra`, then by name."""
EXTRA = (
    FormField("session", "text", "string", required=False, about="key of a session that this run belongs to"),
    FormField(
        "deadline_s", "number", "seconds", required=False, schema={"exclusiveMinimum": 0}, about="seconds from now"
    ),
    FormField("headers", "json", "object", required=False, schema={"type": "object"}, about="tenant, topic, priority"),
    FormField("meta", "json", "object", required=False, schema={"type": "object"}),
)


class RunForm(ClosesOnce, ModalScreen[Answer | None]):
    """Fields made from the input model; messages stand beside the fields they are about."""

    DEFAULT_CSS = """
    RunForm { align: center middle; background: $background 60%; }
    RunForm > #form {
        width: 90; max-width: 98%; height: auto; max-height: 96%;
        border: heavy $frame; background: $background; padding: 0 1;
    }
    RunForm > #form { scrollbar-size-vertical: 1; }
    RunForm Label { height: auto; width: 1fr; }
    RunForm .name { margin-top: 1; }
    RunForm .message { color: $text-error; display: none; }
    RunForm .message.-shown { display: block; }
    RunForm Input, RunForm Input:focus { height: 1; border: none; padding: 0 1 !important; background: $surface; }
    RunForm TextArea, RunForm TextArea:focus {
        height: 3; border: none; padding: 0 1 !important; background: $surface;
    }
    RunForm Select > SelectCurrent { padding: 0 1 !important; }
    RunForm SelectCurrent Static#label { color: $note; }
    RunForm SelectCurrent.-has-value Static#label { color: $foreground; }
    RunForm TextArea:focus { height: 6; }
    RunForm Input:focus, RunForm TextArea:focus { background: $primary 25%; }
    RunForm Checkbox { border: none; padding: 0; margin-top: 1; background: transparent; }
    RunForm #buttons { height: auto; margin-top: 1; }
    RunForm #buttons Label { width: 1fr; padding: 0 1; color: $note; }
    RunForm Button { min-width: 10; }
    RunForm .extra { display: none; }
    RunForm.-more .extra { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Close", show=False, priority=True),
        # At once: the next key may already wait, and is meant for the next field.
        Binding("tab", "app.focus_next", "Next field", show=False, priority=True),
        Binding("shift+tab", "app.focus_previous", "Previous field", show=False, priority=True),
        Binding("ctrl+r,f5", "submit", "Run", show=False, priority=True),
        Binding("ctrl+o", "more", "More fields", show=False, priority=True),
    ]

    def __init__(
        self,
        flow: FlowInfo,
        *,
        recent: Sequence[Any] = (),
        value: Any = None,
        draft: Draft | None = None,
        keep: Callable[[Draft | None], None] = lambda _: None,
    ) -> None:
        """`draft` is what an earlier form of this flow gave to `keep` when it was closed; `value` goes before it."""
        super().__init__()
        self._flow = flow
        self._fields = fields_of(flow.input_schema)
        self._extra_values = run_options(flow)
        self._fillers = [(f"sample {number}", item) for number, item in enumerate(flow.samples, 1)]
        self._fillers += [(f"recent {number}", item) for number, item in enumerate(recent, 1)]
        first = value if value is not None else recent[0] if recent else flow.samples[0] if flow.samples else None
        self._values = initial(self._fields, first)
        self._draft = draft if value is None else None
        self._keep = keep
        self._untouched: Draft | None = None
        """What stood in the fields at the beginning, when that was no draft."""
        self._complained: dict[str, Any] = {}
        """By the id of a message: what it is about, as it stood in the field."""

    # -- drawing --------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """A filler of samples and recent inputs, the fields, and what a run may have besides its input."""
        with VerticalScroll(id="form") as box:
            box.can_focus = False
            box.border_title = Content(f"run {one_line(self._flow.name)}").markup
            box.border_subtitle = "⏎ or ctrl+r runs · ctrl+o headers and more · esc closes"
            if self._flow.title:
                yield Label(Content(one_line(self._flow.title)))
            if self._fillers:
                texts = tell_apart([item for _, item in self._fillers])
                options = [
                    (Content(clip(f"{name}  {one_line(text)}", 76)), number)
                    for number, ((name, _), text) in enumerate(zip(self._fillers, texts, strict=True))
                ]
                yield Select(options, prompt="samples and recent inputs", id="filler", compact=True)
            if not self._fields:
                yield Label("This flow takes no input.", classes="name")
            draft = self._draft or {"field": {}, "extra": {}}
            for number, field in enumerate(self._fields):
                shown = draft["field"].get(field.name, self._values.get(field.name))
                yield from self._compose_field(f"field-{number}", field, shown, "")
            for number, field in enumerate(EXTRA):
                value = self._extra_values.get(field.name)
                text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
                yield from self._compose_field(f"extra-{number}", field, draft["extra"].get(field.name, text), "extra")
            yield Label("", id="refusal", classes="message")
            with Horizontal(id="buttons"):
                yield Button("Run", variant="primary", id="run", compact=True)
                yield Label(Content(f"  {one_line(self._flow.target)}"))

    def _compose_field(self, id: str, field: FormField, value: Any, classes: str) -> ComposeResult:
        mark = "" if field.required else " · optional"
        label = Content.assemble(
            (one_line(field.name or "input"), "bold"),
            (f"  {one_line(field.type)}{mark}", "dim"),
            ("  " + one_line(field.about), "dim"),
        )
        if field.kind != "bool":
            yield Label(label, classes=f"name {classes}")
        widget: Widget
        if field.kind == "bool":
            widget = Tick(label, value=bool(value), id=id, compact=True)
        elif field.kind == "choice":
            choices = [(Content(one_line(str(choice))), index) for index, choice in enumerate(field.choices)]
            chosen = field.choices.index(value) if value in field.choices else Select.NULL
            widget = Select(choices, value=chosen, allow_blank=True, id=id, compact=True)
        elif field.kind in {"long", "json"}:
            widget = Sheet(str(value), id=id, tab_behavior="focus", compact=True)
        else:
            widget = Line(str(value), id=id, compact=True)
        if classes:
            widget.add_class(classes)
        yield widget
        yield Label("", id=f"{id}-message", classes=f"message {classes}")

    def on_mount(self) -> None:
        """Begin in the first field."""
        if self._draft is None:
            self._untouched = self._typed()
        elif any(self._draft["extra"].values()):
            self.add_class("-more")
        fields = list(
            self.query("#form Input, #form TextArea, #form Select, #form Checkbox").exclude("#filler, .extra")
        )
        # At once: keys that follow are meant for it.
        self.set_focus(fields[0] if fields else self.query_one("#run"))

    # -- values ---------------------------------------------------------------------------------------------------

    def _read(self, prefix: str, fields: Sequence[FormField]) -> dict[str, Any]:
        texts: dict[str, Any] = {}
        for number, field in enumerate(fields):
            widget = self.query_one(f"#{prefix}-{number}")
            if isinstance(widget, Checkbox):
                texts[field.name] = widget.value
            elif isinstance(widget, Select):
                texts[field.name] = None if widget.value is Select.NULL else field.choices[int(str(widget.value))]
            elif isinstance(widget, TextArea):
                texts[field.name] = widget.text
            elif isinstance(widget, Input):
                texts[field.name] = widget.value
        return texts

    def _typed(self) -> Draft:
        return {"field": self._read("field", self._fields), "extra": self._read("extra", EXTRA)}

    def _fill(self, value: Any) -> None:
        shown = initial(self._fields, value)
        for number, field in enumerate(self._fields):
            widget, given = self.query_one(f"#field-{number}"), shown.get(field.name)
            if isinstance(widget, Checkbox):
                widget.value = bool(given)
            elif isinstance(widget, Select):
                widget.value = field.choices.index(given) if given in field.choices else Select.NULL
            elif isinstance(widget, TextArea):
                widget.text = str(given)
            elif isinstance(widget, Input):
                widget.value = str(given)

    def on_select_changed(self, event: Select.Changed) -> None:
        """A sample or a recent input fills all fields."""
        if event.select.id == "filler" and event.value is not Select.NULL:
            self._fill(self._fillers[int(str(event.value))][1])
        self._edited(event.select)

    def on_input_changed(self, event: Input.Changed) -> None:
        """What was wrong may be right now."""
        self._edited(event.input)

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """What was wrong may be right now."""
        self._edited(event.text_area)

    def on_checkbox_changed(self, event: Checkbox.Changed) -> None:
        """What was wrong may be right now."""
        self._edited(event.checkbox)

    def _edited(self, widget: Widget) -> None:
        """Judge a field again that has a message beside it, and forget a refusal of what is no longer there."""
        prefix, _, number = (widget.id or "").partition("-")
        if "refusal" in self._complained and self._complained["refusal"] != self._read("field", self._fields):
            self._message("refusal", "")
        if not number or f"{widget.id}-message" not in self._complained:
            return
        fields: Sequence[FormField] = self._fields if prefix == "field" else EXTRA
        field = fields[int(number)]
        texts = self._read(prefix, fields)
        if texts[field.name] != self._complained[f"{widget.id}-message"]:
            self._message(f"{widget.id}-message", collect([field], texts)[1].get(field.name, ""))

    def on_input_submitted(self) -> None:
        """Enter runs."""
        self.action_submit()

    def on_button_pressed(self) -> None:
        """The button runs."""
        self.action_submit()

    def action_more(self) -> None:
        """Show headers, meta, deadline and session."""
        self.toggle_class("-more")

    def action_cancel(self) -> None:
        """Close the list that is open, else the form; what was typed is there again when it is opened again."""
        for select in self.query(Select):
            if select.expanded:
                select.expanded = False
                select.focus()
                return
        typed = self._typed()
        self._keep(typed if typed != self._untouched else None)
        self.dismiss(None)

    def action_submit(self) -> None:
        """Run, unless something does not fit."""
        value, errors = collect(self._fields, self._read("field", self._fields))
        extra, extra_errors = self._read_extra()
        for number, field in enumerate(self._fields):
            self._message(f"field-{number}-message", errors.get(field.name, ""))
        for number, field in enumerate(EXTRA):
            self._message(f"extra-{number}-message", extra_errors.get(field.name, ""))
        self._message("refusal", "")
        if extra_errors:
            self.add_class("-more")
        if not errors and not extra_errors:
            self._keep(None)
            self.dismiss((value, extra))
            return
        bad = next((f"#field-{n}" for n, field in enumerate(self._fields) if field.name in errors), None)
        self.query_one(
            bad or next(f"#extra-{n}" for n, field in enumerate(EXTRA) if field.name in extra_errors)
        ).focus()

    def _read_extra(self) -> tuple[dict[str, Any], dict[str, str]]:
        extra: dict[str, Any] = {}
        errors: dict[str, str] = {}
        texts = self._read("extra", EXTRA)
        for field in EXTRA:
            try:
                present, value = parse(field, texts[field.name])
            except Invalid as error:
                errors[field.name] = str(error)
                continue
            if present:
                extra[field.name] = value
        return extra, errors

    def refuse(self, message: str, details: list[dict[str, Any]]) -> None:
        """Show what the host had against the input, next to the fields that it names."""
        rest: list[str] = []
        for detail in details:
            path = str(detail.get("path", ""))
            name = path.strip("/").replace("/", ".").split(".")[0]
            text = str(detail.get("message", ""))
            deeper = path.strip("/").replace("/", ".").partition(".")[2]
            for number, field in enumerate(self._fields):
                if field.name == name or not field.name:
                    self._message(f"field-{number}-message", f"{deeper}: {text}" if deeper else text)
                    break
            else:
                rest.append(f"{path}: {text}" if path else text)
        self._message("refusal", "; ".join(rest) if rest else "" if details else message)

    def _message(self, id: str, text: str) -> None:
        label = self.query_one(f"#{id}", Label)
        if not text:
            self._complained.pop(id, None)
        elif id == "refusal":
            self._complained[id] = self._read("field", self._fields)
        else:
            prefix, number, _ = id.split("-")
            fields: Sequence[FormField] = self._fields if prefix == "field" else EXTRA
            self._complained[id] = self._read(prefix, fields)[fields[int(number)].name]
        label.update(Content(f"✖ {one_line(text)}") if text else "")
        label.set_class(bool(text), "-shown")
