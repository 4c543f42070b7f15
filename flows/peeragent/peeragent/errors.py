"""What goes wrong, with a code for programs."""

from __future__ import annotations


class PeerAgentError(Exception):
    """Says what happened and what to do; never what is inside of another's request, nor a secret."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class AgentFailed(PeerAgentError):
    """An agent could not do its work.

    | code | what happened |
    | --- | --- |
    | `LLM_UNAVAILABLE` | no model answered: no connection, no time, a key that is refused, too many requests |
    | `LLM_REFUSED` | the model does not take the request, such as one that is too long |
    | `LLM_BAD_REPLY` | the model's replies are empty, or do not have the form that was asked for |
    | `NOT_MECE` | the model's trees of causes overlap, or are too small or too large |
    | `SEARCH_FAILED` | the search gave no answer |
    | `NO_TASK` | there is nothing to do |
    | `NO_DATA`, `BAD_DATA` | the data agent got no numbers, or none that can be read |
    | `NO_OPEN_QUESTIONS` | answers came, and nothing was asked |
    """

    is_answer = True
    """Logs need no traceback of it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.args = (code, message)  # a recording makes it again from these

    def __str__(self) -> str:
        return self.message


class Refused(PeerAgentError):
    """A request that cannot be served as it is; `status` is the HTTP status that fits."""

    def __init__(self, code: str, message: str, status: int = 400, headers: dict[str, str] | None = None) -> None:
        super().__init__(code, message)
        self.status = status
        self.headers = headers or {}
