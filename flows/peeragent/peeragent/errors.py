"""What goes wrong, with a code for programs."""

from __future__ import annotations


class PeerAgentError(Exception):
    """Says what happened and what to do; never what is inside of another's request, nor a secret."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class AgentFailed(PeerAgentError):
    """An agent could not do its work: `LLM_UNAVAILABLE`, `LLM_BAD_REPLY`, `NOT_MECE`, `SEARCH_FAILED`."""


class Refused(PeerAgentError):
    """A request that cannot be served as it is; `status` is the HTTP status that fits."""

    def __init__(self, code: str, message: str, status: int = 400, headers: dict[str, str] | None = None) -> None:
        super().__init__(code, message)
        self.status = status
        self.headers = headers or {}
