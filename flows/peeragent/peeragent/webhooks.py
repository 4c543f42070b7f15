"""Callbacks: a task that is over is told to an address, signed."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import socket
import time
from urllib.parse import urlsplit

import httpx

from peeragent.errors import Refused
from peeragent.models.tasks import TaskRecord
from peeragent.settings import Settings

log = logging.getLogger(__name__)

SIGNATURE = "X-PeerAgent-Signature"
"""`t=UNIX SECONDS,v1=HEX`: HMAC-SHA256 over `SECONDS.BODY`."""
TRIES = 5
FIRST_WAIT_S = 0.5
TIMEOUT_S = 10.0


def sign(secret: str, body: bytes, at: int) -> str:
    """The signature of a body."""
    digest = hmac.new(secret.encode(), str(at).encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


class Webhooks:
    """Sends callbacks, and tries again for a while."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: httpx.AsyncClient | None = None
        self._sending: set[asyncio.Task[None]] = set()

    async def check(self, url: str) -> str | None:
        """The address of the callback's host, which may be another one later; None for a host that is named.

        Raises `Refused` for one that callbacks may not go to.
        """
        if self._settings.webhook_secret is None:
            raise Refused("WEBHOOKS_DISABLED", "callbacks need WEBHOOK_SECRET to be set on the server", 409)
        parts = urlsplit(url)
        host = parts.hostname or ""
        named = self._settings.webhook_hosts
        if named:
            if host not in named:
                raise Refused("WEBHOOK_FORBIDDEN", "callbacks do not go to this host", 403)
            return None
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
        except (OSError, ValueError, UnicodeError):
            raise Refused("WEBHOOK_FORBIDDEN", "the callback's host is not known", 403) from None
        if not all(ipaddress.ip_address(each[4][0]).is_global for each in found):
            raise Refused("WEBHOOK_FORBIDDEN", "callbacks go to public addresses only", 403)
        return str(found[0][4][0])

    def tell(self, task: TaskRecord, _seconds: float) -> None:
        """Send what became of a task, in the background."""
        if task.webhook is not None and self._settings.webhook_secret is not None:
            sending = asyncio.create_task(self._send(task, task.webhook), name=f"peeragent webhook {task.task_id}")
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    async def _send(self, task: TaskRecord, url: str) -> None:
        secret = self._settings.webhook_secret
        if secret is None:
            return
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False)
        told = {"task_id", "status", "result", "error", "agent_type", "session_id", "created_at", "completed_at"}
        body = task.model_dump_json(include=told).encode()
        for attempt in range(TRIES):
            headers = {"Content-Type": "application/json", "X-PeerAgent-Delivery": task.task_id}
            headers[SIGNATURE] = sign(secret.get_secret_value(), body, int(time.time()))
            try:
                # To the address that was checked: the name may belong to another by now.
                at, named = httpx.URL(url), await self.check(url)
                there = at if named is None else at.copy_with(host=named)
                told_host = {"Host": at.netloc.decode()}
                answer = await self._client.post(
                    there, content=body, headers=headers | told_host, extensions={"sni_hostname": at.host}
                )
            except (httpx.HTTPError, Refused) as error:
                why = type(error).__name__
            else:
                if answer.is_success:
                    return
                why = f"HTTP {answer.status_code}"
            await asyncio.sleep(FIRST_WAIT_S * 2**attempt)
        log.warning("the callback of %s was not taken: %s", task.task_id, why)

    async def close(self) -> None:
        """Give what is under way a moment, then end."""
        if self._sending:
            await asyncio.wait([*self._sending], timeout=2.0)
        for sending in self._sending:
            sending.cancel()
        if self._client is not None:
            await self._client.aclose()
