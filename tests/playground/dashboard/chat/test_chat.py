"""Talking to a flow on the screen: sessions, turns, questions, steering."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from penguiflow.state.traces import TraceSummary
from playground.dashboard.chat.screen import ChatScreen
from playground.protocol import FlowInfo, ModuleInfo, Question, Questions
from playground.sources import RunRefused

OpenDesk = Callable[..., Any]
START = 1_790_000_000.0
SCHEMA = {"type": "object", "properties": {"query": {"type": "string"}, "tool_context": {"type": "object"}}}


def summary(number: int, session: str, text: str, answer: str, status: str = "ok", **more: Any) -> TraceSummary:
    fields = {"flow": "asker", "target": "flows/asker.py", "session": session, "duration_s": 0.5, "llm_calls": 2}
    given = {"input": f'{{"query":"{text}"}}', "output": answer, **fields, **more}
    return TraceSummary.model_validate(
        {"trace_id": f"{number:032x}", "status": status, "started": START + number, **given}
    )


@pytest.fixture
def asker(source: Any) -> Any:
    flow = FlowInfo(
        target="flows/asker.py",
        name="asker",
        kind="planner",
        input_schema=SCHEMA,
        samples=[{"query": "hi"}],
        version="11" * 32,
    )
    source.modules = [ModuleInfo(path="flows/asker.py", state="loaded", flows=[flow])]
    return source


@pytest.fixture
def talks(script: Any, asker: Any) -> list[tuple[Any, str]]:
    """Runs answer with what they were asked; the scripts in order of the runs."""
    made: list[tuple[Any, str]] = []

    def answer(run: Any) -> list[bytes]:
        trace = script(f"{len(made) + 100:032x}", "asker", "flows/asker.py", session=run.session)
        node = trace.start("node", "asker", trace.root)
        trace._names[node] = ("node", "asker", trace.root)
        tool = trace.start("tool", "search", node)
        trace.end(tool)
        trace.event(
            "stream.chunk", "s/answer", node, None, {"stream_id": "s/answer", "chunk_seq": 0, "text": "I **say**"}
        )
        made.append((trace, node))
        return list(trace.events)

    asker.answer = answer
    return made


def finish(source: Any, trace: Any, node: str, output: Any) -> None:
    count = len(trace.events)
    trace.send(node, "asker", "Rookery", output)
    trace.end(node)
    trace.end(trace.root)
    source.inbox.events.extend(trace.events[count:])


async def test_a_message_starts_a_run_of_the_session_and_its_answer_streams(
    open_desk: OpenDesk, talks: list[tuple[Any, str]]
) -> None:
    async with open_desk(size=(120, 40)) as desk:
        await desk.press("w")
        assert isinstance(desk.app.screen, ChatScreen)
        await desk.press(*"hello", "enter")
        await desk.until(lambda: talks, "the run")
        request = desk.source.requests[0]
        session = request.session
        assert session is not None
        assert request.input == {"query": "hello", "tool_context": {"session_id": session}}
        await desk.until(lambda: "I say" in desk.text(), "what streams")
        assert "✔ search" in desk.text()
        assert "● runs" in desk.text()
        finish(desk.source, *talks[0], {"payload": {"raw_answer": "I say **fish**."}})
        await desk.until(lambda: "I say fish." in desk.text(), "the answer")
        assert "✔ ok" in desk.text()
        await desk.press(*"more", "enter")
        await desk.until(lambda: len(talks) == 2, "the next run")
        assert desk.source.requests[1].session == session
        finish(desk.source, *talks[1], "Yes.")
        await desk.until(lambda: "Yes." in desk.text(), "the answer")
        await desk.until(lambda: "2 turns" in desk.text(), "both turns")
        # What was said comes back, and one can go to the run.
        await desk.press("up", "up")
        assert desk.app.screen.line.value == "hello"
        await desk.press("ctrl+r")
        await desk.until(lambda: not isinstance(desk.app.screen, ChatScreen), "the dashboard")
        assert desk.app.workspace.current.trace_id == talks[1][0].trace_id


async def test_a_session_of_an_earlier_day_is_gone_on_with(
    open_desk: OpenDesk, asker: Any, talks: list[tuple[Any, str]]
) -> None:
    asker.summaries = [
        summary(2, "s-one", "and now?", '{"answer":"later"}'),
        summary(1, "s-one", "what is it?", '"a penguin"'),
        summary(0, "s-two", "other", '{"answer":"else"}'),
    ]
    async with open_desk(size=(120, 40)) as desk:
        await desk.until(lambda: "s-two" in desk.text() or len(desk.app.workspace.runs) == 3, "the runs")
        await desk.press("w")
        await desk.until(lambda: "later" in desk.text(), "the turns")
        text = desk.text()
        assert "what is it?" in text
        assert "a penguin" in text
        assert "s-two" in text
        assert "s-one" in {query.session for query in asker.queries}
        await desk.press(*"go on", "enter")
        await desk.until(lambda: talks, "the run")
        assert asker.requests[0].session == "s-one"
        await desk.press("ctrl+n")
        await desk.until(lambda: "Nothing was said yet" in desk.text(), "the new session")
        asker.summaries = asker.summaries[2:]
        await desk.press("tab", "tab", "G", "enter")
        await desk.until(lambda: "else" in desk.text(), "the other session")


async def test_a_question_is_a_card_and_what_is_typed_next_its_answer(
    open_desk: OpenDesk, talks: list[tuple[Any, str]]
) -> None:
    async with open_desk(size=(120, 40)) as desk:
        await desk.press("w", *"send it", "enter")
        await desk.until(lambda: "I say" in desk.text(), "the run")
        asked = Question(
            question="q1",
            trace_id=talks[0][0].trace_id,
            prompt="Send it to Pip?",
            value_schema={"type": "boolean"},
            since=START,
        )
        desk.source.inbox.questions = Questions(questions=[asked])
        await desk.until(lambda: "Send it to Pip?" in desk.text(), "the card")
        assert "waits for your answer" in desk.text()
        assert desk.app.screen.line.placeholder == "answer: yes or no"
        # The run waits, and grows older.
        await desk.until(lambda: re.search(r"● running [1-9][.\d]* s", desk.text()), "its age")
        desk.source.decision_refusal = RunRefused("does not fit")
        await desk.press(*"perhaps", "enter")
        await desk.until(lambda: "does not fit" in desk.text(), "the refusal")
        await desk.until(lambda: desk.app.screen.line.value == "perhaps", "the text to be mended")
        desk.source.decision_refusal = None
        desk.app.screen.line.value = "yes"
        await desk.press("enter")
        await desk.until(lambda: "answered: yes" in desk.text(), "the answer")
        assert [answer.value for answer in desk.source.answers] == ["perhaps", True]
        await desk.until(lambda: "waits for your answer" not in desk.text(), "the run to go on")


async def test_a_question_is_told_where_no_chat_is_open_and_can_be_refused(
    open_desk: OpenDesk, talks: list[tuple[Any, str]]
) -> None:
    async with open_desk(size=(120, 40)) as desk:
        await desk.press("r")
        await desk.until(lambda: talks and desk.app.workspace.current, "the run")
        asked = Question(question="q1", trace_id=talks[0][0].trace_id, prompt="Which?", since=START)
        desk.source.inbox.questions = Questions(questions=[asked])
        await desk.until(lambda: "Which?" in desk.text(), "the notice")
        await desk.press("w")
        await desk.until(lambda: isinstance(desk.app.screen, ChatScreen) and "⏸ asks" in desk.text(), "the card")
        await desk.press("ctrl+x")
        await desk.until(lambda: desk.source.answers, "the refusal")
        assert desk.source.answers[0].declined
        await desk.press("escape")
        assert not isinstance(desk.app.screen, ChatScreen)


async def test_a_paused_run_is_gone_on_with(open_desk: OpenDesk, talks: list[tuple[Any, str]]) -> None:
    async with open_desk(size=(120, 40)) as desk:
        await desk.press("w", *"publish", "enter")
        await desk.until(lambda: "I say" in desk.text(), "the run")
        paused = {"reason": "await_input", "payload": {"prompt": "Really?"}, "resume_token": "tok"}
        finish(desk.source, *talks[0], paused)
        await desk.until(lambda: "Really?" in desk.text(), "the card")
        await desk.press(*"sure", "enter")
        await desk.until(lambda: len(talks) == 2, "the run that goes on")
        assert desk.source.requests[1].input == {"resume": {"pause": "tok", "answer": "sure"}}
        await desk.until(lambda: "⏸ asks" not in desk.text(), "the card to go")


async def test_what_is_said_while_a_run_goes_on_steers_it_or_waits(
    open_desk: OpenDesk, talks: list[tuple[Any, str]]
) -> None:
    async with open_desk(size=(120, 40)) as desk:
        await desk.press("w", *"go", "enter")
        await desk.until(lambda: "I say" in desk.text(), "the run")
        await desk.press(*"faster", "enter")
        await desk.until(lambda: "said meanwhile: faster" in desk.text(), "the steering")
        assert desk.source.steered[0].payload == {"text": "faster"}
        desk.source.decision_refusal = RunRefused("this run takes no messages")
        await desk.press(*"then this", "enter")
        await desk.until(lambda: "said when the run is over" in desk.text(), "the refusal")
        desk.source.decision_refusal = None
        finish(desk.source, *talks[0], "done")
        await desk.until(lambda: len(talks) == 2, "the next run")
        assert desk.source.requests[1].input["query"] == "then this"
        await desk.press("ctrl+x")
        await desk.until(lambda: desk.source.cancelled == [talks[1][0].trace_id], "the cancel")


async def test_what_cannot_be_said_is_told(open_desk: OpenDesk, asker: Any, talks: list[tuple[Any, str]]) -> None:
    async with open_desk(size=(120, 40)) as desk:
        await desk.press("w")
        asker.refusal = RunRefused("no", [{"path": "/query", "message": "too short"}])
        await desk.press(*"x", "enter")
        await desk.until(lambda: "no (/query: too short)" in desk.text(), "the refusal")
        asker.can_run = False
        await desk.press(*"x", "enter")
        await desk.until(lambda: "nothing can be said here" in desk.text(), "the notice")
        await desk.press("ctrl+x")
        await desk.until(lambda: "nothing runs" in desk.text(), "the notice")
        await desk.press("f1")
        await desk.until(lambda: "A conversation: each message is a run" in desk.text(), "the help")


async def test_a_flow_without_a_place_for_text_has_its_form(open_desk: OpenDesk, asker: Any) -> None:
    asker.modules[0].flows[0].input_schema = {"type": "integer"}
    async with open_desk(size=(120, 40)) as desk:
        await desk.press("w")
        await desk.until(lambda: "takes no text" in desk.text(), "the notice")
        assert not isinstance(desk.app.screen, ChatScreen)


async def test_pictures(
    open_desk: OpenDesk, asker: Any, album: Any, talks: list[tuple[Any, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asker.summaries = [
        summary(3, "orders", "Publish it", "", status="paused").model_copy(
            update={"output": '{"reason":"await_input","payload":{"prompt":"Publish 2 pages?"},"resume_token":"t"}'}
        ),
        summary(1, "orders", "What do penguins eat?", '{"answer":"# Food\\n\\n- **fish**\\n- krill, see `sea`"}'),
        summary(2, "orders", "Why?", "", status="error", error="ArchiveError: 503: the archive is busy"),
        summary(0, "first", "hello", '"hi"'),
    ]
    monkeypatch.setattr("playground.dashboard.chat.talking.uuid4", lambda: SimpleNamespace(hex="5e551041"))
    async with open_desk(size=(80, 24)) as desk:
        await desk.until(lambda: len(desk.app.workspace.runs) == 4, "the runs")
        await desk.press("w")
        await desk.until(lambda: "Publish 2 pages?" in desk.text(), "the card")
        await desk.until(lambda: "loading" not in desk.text(), "the turns")
        await album.take(desk, "paused")
        await desk.press("f1")
        await desk.until(lambda: "esc closes" in desk.text(), "the help")
        await album.take(desk, "chat-help")
        await desk.press("escape", "ctrl+n")
        await desk.until(lambda: "Nothing was said yet" in desk.text(), "the new session")
        await album.take(desk, "new-session")
