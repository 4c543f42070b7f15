"""Events as HTTP requests: `POST {"channel", "payload"}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from peagen.plugins.errors import PublishFailed, masked
from peagen.plugins.publishers.encoding import TIMEOUT_S, encoded

if TYPE_CHECKING:
    import httpx


class WebhookPublisher:
    """Posts to one address. A redirect is not followed: an event goes where it was sent, or nowhere."""

    def __init__(self, url: str, *, headers: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """`headers` go with each request, for example `Authorization`. Raises `ValueError` for no address of HTTP."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"WebhookPublisher takes an address of http or https, not {masked(url)!r}")
        self._url = url
        self._headers = {**(headers or {}), "Content-Type": "application/json"}
        self._timeout_s = timeout_s
        self._client: httpx.Client | None = None

    def __repr__(self) -> str:
        return f"WebhookPublisher({self.address!r})"

    @property
    def address(self) -> str:
        """Where it is, without secrets."""
        return masked(self._url)

    def publish(self, channel: str, payload: Mapping[str, Any]) -> None:
        """Send one event. Raises `PublishFailed`, also where the answer is none of 200 to 299."""
        data = encoded(payload)
        body = b'{"channel": ' + json.dumps(channel).encode() + b', "payload": ' + data + b"}"
        import httpx

        if self._client is None:
            self._client = httpx.Client(timeout=self._timeout_s, follow_redirects=False)
        try:
            answer = self._client.post(self._url, content=body, headers=self._headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said = masked(str(error)) or type(error).__name__
            raise PublishFailed(f"the event was not taken: {said}", where=self.address) from None
        if answer.is_redirect:
            raise PublishFailed(
                f"the event was sent on to another address (HTTP {answer.status_code}), which is not followed",
                where=self.address,
            )
        if not answer.is_success:
            raise PublishFailed(f"the event was refused with HTTP {answer.status_code}", where=self.address)

    def close(self) -> None:
        """Give the connections back."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
