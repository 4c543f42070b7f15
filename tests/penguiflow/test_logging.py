"""Log lines for people and for machines."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow import ExtraFormatter, Message, StructuredFormatter, configure_logging, create

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, Start


def record(message: str = "hello %s", *args: Any, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("penguiflow.test", logging.INFO, __file__, 1, message, args or ("you",), None)
    vars(made).update(extra)
    return made


def failed(message: str = "it broke", **extra: Any) -> logging.LogRecord:
    try:
        raise ValueError("no luck")
    except ValueError:
        made = logging.LogRecord("penguiflow.test", logging.ERROR, __file__, 1, message, (), sys.exc_info())
    vars(made).update(extra)
    return made


@pytest.fixture
def fresh_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("penguiflow.test_logging")
    yield logger
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def test_a_structured_record_is_one_line_of_json() -> None:
    line = StructuredFormatter().format(record(trace_id="t", attempt=1))
    assert "\n" not in line
    fields = json.loads(line)
    moment = datetime.fromisoformat(fields.pop("timestamp"))
    assert moment.utcoffset() == timedelta(0)
    assert abs(moment - datetime.now(UTC)) < timedelta(minutes=1)
    assert fields == {
        "level": "INFO",
        "logger": "penguiflow.test",
        "message": "hello you",
        "extra": {"trace_id": "t", "attempt": 1},
    }


def test_what_is_not_there_is_left_out() -> None:
    assert set(json.loads(StructuredFormatter(include_timestamp=False).format(record()))) == {
        "level",
        "logger",
        "message",
    }


def test_an_indented_record_is_still_json() -> None:
    text = StructuredFormatter(indent=2).format(record(a="b\nc"))
    assert text.startswith('{\n  "level"')
    assert json.loads(text)["extra"] == {"a": "b\nc"}


def test_an_exception_and_a_stack_are_fields() -> None:
    fields = json.loads(StructuredFormatter().format(failed()))
    assert fields["exception"].startswith("Traceback")
    assert fields["exception"].endswith("ValueError: no luck")
    # A record that another handler has formatted, and that has lost its exception since.
    pickled = json.loads(StructuredFormatter().format(record(exc_text="Traceback: kept")))
    assert pickled["exception"] == "Traceback: kept"
    stack = json.loads(StructuredFormatter().format(record(stack_info="Stack (most recent call last)")))
    assert stack["stack"].startswith("Stack")
    assert "extra" not in stack


def test_no_extra_can_break_the_log(make_message: MakeMessage) -> None:
    circle: list[Any] = []
    circle.append(circle)

    class Rude:
        def __str__(self) -> str:
            raise TypeError("not telling")

    fields = json.loads(
        StructuredFormatter().format(
            record(
                message_sent=make_message(1, trace_id="t"),
                view=MappingProxyType({"a": {1}}),
                error=ValueError("x"),
                circle=circle,
                nan=float("nan"),
                rude=Rude(),
            )
        ),
        parse_constant=lambda constant: pytest.fail(constant),
    )
    extra = fields["extra"]
    assert extra["message_sent"]["trace_id"] == "t"
    assert (extra["view"], extra["error"], extra["nan"]) == ({"a": [1]}, "ValueError('x')", "nan")
    assert (extra["circle"], extra["rude"][:1]) == ("[[...]]", "<")


def test_extras_stand_behind_the_message() -> None:
    formatter = ExtraFormatter("%(levelname)s %(message)s")
    assert formatter.format(record(k="v", n=1, ok=True, none=None)) == (
        'INFO hello you [k="v", n=1, ok=True, none=None]'
    )
    assert ExtraFormatter().format(record()) == "hello you"


def test_long_texts_are_cut_and_no_text_begins_a_line() -> None:
    assert ExtraFormatter().format(record(k="x" * 101)) == f'hello you [k="{"x" * 100}..."]'
    assert ExtraFormatter().format(record(k="x" * 100)) == f'hello you [k="{"x" * 100}"]'
    line = ExtraFormatter().format(record(k='a"\nERROR forged', other=Message.model_fields, error=ValueError("a\nb")))
    assert "\n" not in line
    assert r'k="a\"\nERROR forged"' in line


def test_a_traceback_comes_after_the_extras() -> None:
    first, *rest = ExtraFormatter().format(failed(trace_id="t")).split("\n")
    assert first == 'it broke [trace_id="t"]'
    assert rest[0].startswith("Traceback")


def test_both_know_the_standard_fields() -> None:
    for formatter in (StructuredFormatter, ExtraFormatter):
        assert isinstance(formatter.STANDARD_FIELDS, frozenset)
        assert {"name", "msg", "levelname", "taskName", "message", "asctime"} <= formatter.STANDARD_FIELDS


def test_configuring_replaces_the_handlers(fresh_logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    fresh_logger.addHandler(logging.NullHandler())
    for _ in range(2):
        configure_logging("DEBUG", logger_name=fresh_logger.name)
    (handler,) = fresh_logger.handlers
    assert isinstance(handler.formatter, ExtraFormatter)
    assert (fresh_logger.level, fresh_logger.propagate) == (logging.DEBUG, False)
    fresh_logger.debug("hello", extra={"k": "v"})
    line = capsys.readouterr().err
    assert line.endswith(f'DEBUG {fresh_logger.name}: hello [k="v"]\n')


@pytest.mark.parametrize("structured", [True, False])
def test_extras_can_be_left_out(
    fresh_logger: logging.Logger, capsys: pytest.CaptureFixture[str], structured: bool
) -> None:
    configure_logging(structured=structured, include_extras=False, logger_name=fresh_logger.name)
    fresh_logger.debug("too quiet")
    fresh_logger.info("hello", extra={"secret": "v"})
    (line,) = capsys.readouterr().err.splitlines()
    assert "hello" in line
    assert "secret" not in line
    assert line.startswith("{") is structured


def test_an_unknown_level_changes_nothing(fresh_logger: logging.Logger) -> None:
    with pytest.raises(ValueError, match="LOUD"):
        configure_logging("LOUD", logger_name=fresh_logger.name)
    assert (fresh_logger.handlers, fresh_logger.propagate) == ([], True)


async def test_the_runtime_logs_its_events_through_it(
    start: Start,
    make_node: MakeNode,
    make_message: MakeMessage,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger = logging.getLogger("penguiflow.core")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    level = logger.level
    configure_logging(structured=True, logger_name=logger.name)
    try:
        await start(create(make_node(name="a").to())).call(make_message(1, trace_id="t"))
    finally:
        logger.setLevel(level)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines if line["extra"]["node_name"] == "a"] == ["node_success"]
    assert lines[0]["extra"]["trace_id"] == "t"
