"""Where a host listens, and where one is reached: what may be asked for, and how it is written."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from playground.cli.failures import Failure

__all__ = ["check_port", "check_url", "is_loopback", "refuse_remote", "written"]


def check_port(port: int | None) -> int:
    """The port to listen on, 0 for any. Raises `Failure` for what is none."""
    if port is not None and not 0 <= port <= 65535:
        raise Failure(f"--port: {port} is no port", hint="give a number from 0 to 65535")
    return port or 0


def is_loopback(host: str) -> bool:
    """Whether an address, or a name, is this machine's own and nobody else's."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def refuse_remote(host: str, *, allowed: bool) -> None:
    """Raise `Failure` for an address that others can reach, unless that is wanted."""
    if not host:
        raise Failure("--host: the address is empty", hint="127.0.0.1 is this machine alone")
    if not allowed and not is_loopback(host):
        raise Failure(
            f"--host: others can reach {host}, and whoever has the token runs code here",
            hint="--allow-remote says that this is wanted; safer is an ssh tunnel to 127.0.0.1",
        )


def written(host: str, port: int) -> str:
    """Address and port as in a URL; who listens everywhere is reached on this machine at its own address."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (it is read, not listened on)
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"


def check_url(url: str, *, insecure: bool) -> str:
    """The WebSocket URL of a host. Raises `Failure` for what is none, or would show the token to the network."""
    given = url if "://" in url else f"ws://{url}"
    given = given.replace("http://", "ws://", 1).replace("https://", "wss://", 1)
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.username is not None:
        raise Failure(f"--attach: {url!r} is no URL of a host", hint="such as ws://127.0.0.1:8765/")
    if parts.scheme == "ws" and port is None:
        raise Failure(f"--attach: {url!r} has no port", hint="such as ws://127.0.0.1:8765/; `pf serve` prints it")
    if parts.scheme == "ws" and not insecure and not is_loopback(parts.hostname):
        raise Failure(
            f"--attach: the token would go to {parts.hostname} for everybody on the way to read",
            hint="use wss://, or an ssh tunnel (`ssh -L PORT:127.0.0.1:PORT host`), or say --insecure",
        )
    return parts._replace(path=parts.path or "/", fragment="").geturl()
