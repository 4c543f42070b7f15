"""What processes have used: CPU time, memory, bytes written. Linux only: it is read from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.capacity.costs import Spent

__all__ = ["Meter", "cores_to_have", "cpu_of", "family", "resident_bytes", "sockets", "written_bytes"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, from the state on; none when there is no such process any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def family(pid: int) -> list[int]:
    """A process and its children, as they are now."""
    others = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid, *(other for other in others if (fields := _fields(other)) and int(fields[1]) == pid)]


def cpu_of(*pids: int) -> float:
    """CPU seconds of these processes, and of those children that they waited for."""
    return sum(sum(map(int, fields[11:15])) for pid in pids if (fields := _fields(pid))) / _TICKS


def resident_bytes(*pids: int) -> int:
    """Memory that they hold."""
    return sum(int(fields[21]) * _PAGE for pid in pids if (fields := _fields(pid)))


def written_bytes(*pids: int) -> int:
    """What they had the system write to disks so far."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))
    return total


def sockets() -> int:
    """Sockets that this process has open."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += str(entry.readlink()).startswith("socket:")
        except FileNotFoundError:
            continue  # the one by which the folder is read
    return found


def cores_to_have(seconds: float = 1.0) -> float:
    """How many cores' worth of time busy processes of ours get at this moment, beside whatever else runs here."""
    begun = time.monotonic()
    children: list[int] = []
    for _ in range(2 * (os.cpu_count() or 1)):
        child = os.fork()
        if not child:
            while time.monotonic() - begun < seconds:
                pass
            os._exit(0)
        children.append(child)
    used = sum(usage.ru_utime + usage.ru_stime for _, _, usage in (os.wait4(child, 0) for child in children))
    return used / (time.monotonic() - begun)


class Meter:
    """Reads what a server and this process use while something is done."""

    def __init__(self, server: int) -> None:
        self._server = server
        self.spent = Spent(server_s=0, client_s=0)
        """By what was done within the last `on`."""
        self.wall_s = 0.0

    def _read(self) -> Spent:
        return Spent(server_s=cpu_of(*family(self._server)), client_s=time.process_time())

    @contextmanager
    def on(self) -> Iterator[None]:
        """Measure what is done within."""
        before, begun = self._read(), time.monotonic()
        yield
        self.spent, self.wall_s = self._read() - before, time.monotonic() - begun
