"""Why a connection was not made, in words: what errors of names, ports and TLS mean, and what to do about them."""

from __future__ import annotations

import errno
import re
import socket
import ssl

__all__ = ["AUTHORITIES", "HANGS_UP", "NO_TLS", "SILENT", "distrusted", "reason"]

SILENT = "nothing comes back; is it the right host and port, and does a firewall let us through?"
HANGS_UP = "it hangs up: another service listens there, or one that wants TLS"
NO_TLS = "it does not speak TLS"
AUTHORITIES = "SSL_CERT_FILE names a file of the authorities that are"
_REFUSED = "the connection is refused; is the server running?"
_NUMBERS = re.compile(r"\[Errno (\d+)\]")


def distrusted(error: BaseException) -> bool:
    """Whether there is a server, whose certificate is not one to rely on."""
    return isinstance(_within(error), ssl.SSLCertVerificationError)


def reason(error: BaseException) -> str:
    """What kept a connection from being made; empty where the error does not come from sockets, names or TLS."""
    found = _within(error)
    match found:
        case None:
            return ""
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({found.verify_message})"
        case ssl.SSLError():
            return f"{NO_TLS} ({(found.reason or 'no handshake').lower().replace('_', ' ')})"
        case socket.gaierror():
            return f"the host's name leads nowhere ({found.strerror}); is it spelled right?"
        case TimeoutError():
            return SILENT
        case ConnectionResetError() | BrokenPipeError() | EOFError():
            return HANGS_UP
    # A name with several addresses fails with all of their errors in one text.
    numbers = {int(number) for number in _NUMBERS.findall(str(found))} | ({found.errno} if found.errno else set())
    if numbers == {errno.ECONNREFUSED}:
        return _REFUSED
    if numbers & {errno.EHOSTUNREACH, errno.ENETUNREACH}:
        return "no way leads to that host; is the network up?"
    if numbers == {errno.ENOENT}:
        return "there is no such socket; is the server running?"
    return str(found)


def _within(error: BaseException) -> OSError | EOFError | None:
    """The first of its kind behind an error that a client made of it."""
    walker: BaseException | None = error
    while walker is not None and not isinstance(walker, OSError | EOFError):
        walker = walker.__cause__ or walker.__context__
    return walker
