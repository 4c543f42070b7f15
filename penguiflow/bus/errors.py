"""What can go wrong with a bus.

BusError
 ├── BusAway       nobody answers at the address
 ├── BusRefused    the server does not let us in
 ├── BusTooOld     the server lacks what the bus needs
 ├── BusForeign    what is there belongs to another flow, or was made by a newer penguiflow
 ├── BusClosed     the bus was closed, or never opened
 ├── CannotSend    a message that JSON of the registered models cannot carry (also a `TypeError`)
 └── CannotRead    a delivery that this process cannot make a message of (also a `ValueError`)
      └── NewerVersion   of a model that a newer worker knows
"""

from __future__ import annotations

__all__ = [
    "BusAway",
    "BusClosed",
    "BusError",
    "BusForeign",
    "BusRefused",
    "BusTooOld",
    "CannotRead",
    "CannotSend",
    "NewerVersion",
]


class BusError(Exception):
    """Something went wrong with a bus; the text says what to do."""


class BusAway(BusError):
    """Nobody answers at the address, or has not for as long as the bus was told to wait."""


class BusRefused(BusError):
    """The server does not let us in: user, password or rights."""


class BusTooOld(BusError):
    """The server lacks what the bus needs."""


class BusForeign(BusError):
    """What is on the server belongs to another flow, or to a newer penguiflow."""


class BusClosed(BusError):
    """The bus was closed, or never opened."""


class CannotSend(BusError, TypeError):
    """A message that JSON of the registered models cannot carry; names the node that sent it."""


class CannotRead(BusError, ValueError):
    """A delivery that this process cannot make a message of; names the edge."""


class NewerVersion(CannotRead):
    """A payload of a model whose newer version another worker knows: leave it to that one."""
