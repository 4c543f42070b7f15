"""Every area of the dashboard."""

from __future__ import annotations

from playground.dashboard.areas import Area
from playground.dashboard.chat.area import ChatArea
from playground.dashboard.debugging.area import DebuggingArea
from playground.dashboard.travel.area import TravelArea
from playground.dashboard.watching.area import WatchingArea

AREAS: tuple[type[Area], ...] = (TravelArea, WatchingArea, DebuggingArea, ChatArea)
