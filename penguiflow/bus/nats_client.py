"""One connection to NATS, which knows how far it came: by that it is told what kept it from being made."""

from __future__ import annotations

import ssl
from typing import Any

import nats.errors
from nats.aio.client import Client

from penguiflow.bus.waiting import Patience
from penguiflow.unreachable import AUTHORITIES, SILENT, distrusted, reason

__all__ = ["NatsClient", "NotSecure", "explain"]


class NotSecure(nats.errors.Error):
    """The address asks for TLS, and the server does not speak it."""


class NatsClient(Client):
    """With `secure`, nothing is said in the clear: the client of itself speaks TLS only where the server insists."""

    def __init__(self, *, secure: bool) -> None:
        super().__init__()
        self.secure = secure
        self.reached = False
        """Whether somebody took the connection."""
        self.greeted = False
        """Whether that was a NATS."""

    async def _process_connect_init(self) -> None:
        self.reached = True
        await super()._process_connect_init()

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # Comes before the password is sent.
        if initial_connection:
            self.greeted = True
            if self.secure and info.get("tls_available"):
                info["tls_required"] = True
            if self.secure and not info.get("tls_required"):
                raise NotSecure
        await super()._process_info(info, initial_connection)

    async def _process_op_err(self, e: Exception) -> None:
        # The client would try to send what it still has on the connection that is lost, fail, and stop in the middle of
        # closing: nobody would be told, and its subscriptions would wait for ever.
        self._pending.clear()
        self._pending_data_size = 0
        await super()._process_op_err(e)


def explain(client: NatsClient, error: BaseException, name: str, patience: Patience) -> str:
    """Why there is no connection: what happened, where, and what to do."""
    within = f"for {patience.seconds:g} s"
    why = reason(error)
    if not client.reached:
        return f"no NATS answers at {name}, {within}: {why or error}"
    if not client.greeted:
        timed_out = why == SILENT
        what = "says nothing, where a NATS greets" if timed_out else "does not greet as a NATS does"
        or_tls = ", or one that wants TLS before anything is said" if timed_out else ""
        return (
            f"no NATS answers at {name}, {within}: "
            f"whoever takes the connection there {what}; is it another service's port{or_tls}?"
        )
    if isinstance(error, ssl.SSLError):
        help_ = f"; {AUTHORITIES}" if distrusted(error) else ""
        return f"no safe connection to the NATS at {name}, {within}: {why}{help_}"
    far = f"; {patience.told}" if patience.told else ""
    if isinstance(error, TimeoutError):
        return f"the NATS at {name} says nothing more, {within}{far}"
    return f"the NATS at {name} does not do what is asked, {within}: {str(error) or type(error).__name__}{far}"
