"""What can go wrong at the other end."""

from __future__ import annotations

import re

from peagen.errors import PeagenError

_SECRET = re.compile(r"(?<=://)[^/@\s]*@")
_PARAMETER = re.compile(r"(?i)([?&](?:[\w.-]*(?:key|token|secret|password|signature|credential)[\w.-]*)=)[^&#\s]*")


class PublishFailed(PeagenError, RuntimeError):
    """An event could not be sent."""


class StorageFailed(PeagenError):
    """A file could not be kept, or is not there."""


class BackendFailed(PeagenError):
    """A result could not be kept or read."""


def masked(text: str) -> str:
    """The text without users and passwords of the addresses in it, and without the values of what looks secret."""
    return _PARAMETER.sub(r"\1***", _SECRET.sub("***@", text))


def needs_extra(module: str, extra: str) -> PeagenError:
    """What is told where a plugin's library is not installed."""
    return PeagenError(
        f"this needs the package {module}, which is not installed",
        hint=f"pip install 'penguiflow-peagen[{extra}]'",
    )
