"""The final answer as it is written, out of the JSON or the tool call that it stands in.

It is told twice: as `llm_stream_chunk` events to whoever listens, and as streams of the run's trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penguiflow.llm.json_stream import FieldStream
from penguiflow.llm.text import Joiner
from penguiflow.llm.types import StreamEvent
from penguiflow.planner.actions import FINAL_RESPONSE, PlannerAction
from penguiflow.planner.streams import THINKING, ReplyStreams

if TYPE_CHECKING:
    from penguiflow.callsite import CallSite
    from penguiflow.llm.types import CompletionResponse
    from penguiflow.planner.run import PlannerRun

__all__ = ["AnswerStream", "answer_stream"]


def answer_stream(
    run: PlannerRun, site: CallSite, mode: str, *, phase: str = "answer", revision: int | None = None
) -> AnswerStream | None:
    """What listens to the next reply; None where answers are not streamed, or nobody is there to be told."""
    if not run.settings.stream_final_response or not (run.events.listening or run.streams is not None):
        return None
    return AnswerStream(run, site, mode, phase=phase, revision=revision)


class AnswerStream:
    """Listens to one reply of a model. Only what belongs to an answer is told; reasoning is told as `thinking`."""

    def __init__(
        self, run: PlannerRun, site: CallSite, mode: str, *, phase: str = "answer", revision: int | None = None
    ) -> None:
        self._run = run
        self._native = mode == "native"
        self._phase = phase
        self._more: dict[str, Any] = {} if revision is None else {"revision_idx": revision}
        self._told = False
        self._thought = False
        self._live = False
        """Whether the model is being listened to; else the reply is there as a whole."""
        self._streams = None
        if run.streams is not None:
            self._streams = ReplyStreams(run.streams, site, {"phase": phase, **self._more})
        self._begin()

    def _begin(self) -> None:
        self._node, self._answer = FieldStream("next_node"), FieldStream("answer")
        self._text, self._thoughts = Joiner(), Joiner()
        self._next_node = ""
        self._waiting = ""

    def __call__(self, event: StreamEvent) -> None:
        """Take a piece of the reply."""
        self._live = True
        if event.delta_reasoning:
            self._thought = True
            self._tell(self._thoughts.feed(event.delta_reasoning), phase="thinking", channel="thinking")
        if event.delta_tool_call is not None:
            if event.delta_tool_call.name == FINAL_RESPONSE:
                self._say(self._answer.feed(event.delta_tool_call.arguments_json))
        elif event.delta_text:
            if self._native:
                self._say(self._text.feed(event.delta_text))
            else:
                self._next_node += self._node.feed(event.delta_text)
                self._waiting += self._answer.feed(event.delta_text)
                if self._next_node == FINAL_RESPONSE and self._waiting:
                    self._say(self._waiting)
                    self._waiting = ""

    def void(self) -> None:
        """What came until now is not used: another attempt follows."""
        self._live = False
        if self._streams is not None:
            self._streams.void()
        if self._told:
            self._tell("", done=True, superseded=True)
            self._told = False
        self._begin()

    def end(self, action: PlannerAction, response: CompletionResponse | None = None) -> None:
        """The reply became this action. An answer and thoughts that nothing was told of are told whole."""
        if response is not None and response.reasoning_content and not self._thought:
            self._thought = True
            self._tell(response.reasoning_content, phase="thinking", channel="thinking")
        if self._thought:
            self._tell("", phase="thinking", channel="thinking", done=True)
            if self._streams is not None:
                self._streams.end(THINKING)
        if not action.is_terminal():
            self.void()
            return
        if not self._told:
            self._say(action.get_answer() or "")
        if self._told:
            self._tell("", done=True)

    def _say(self, text: str) -> None:
        if text:
            self._told = True
            self._tell(text)

    def _tell(self, text: str, *, done: bool = False, phase: str = "", channel: str = "answer", **more: Any) -> None:
        if text and self._streams is not None:
            self._streams.say(channel, text, live=self._live)
        about: dict[str, Any] = {"phase": phase or self._phase, "channel": channel, "action_seq": self._run.action_seq}
        self._run.events.emit("llm_stream_chunk", text=text, done=done, **about, **self._more, **more)
