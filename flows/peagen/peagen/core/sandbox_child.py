"""The process that renders: one job after the other from standard input, each answer to standard output.

A frame is its length (four bytes, big-endian) and its content: a pickled job, whose maker is trusted,
and an answer in JSON, whose maker is not. The process ends with its input.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import resource
import signal
import struct
import sys
from typing import BinaryIO

HEADER = struct.Struct(">I")
_PR_SET_PDEATHSIG = 1
"""Asks Linux for a signal when the process that began this one ends: prctl(2)."""


def main() -> None:
    """Work until the input ends. Each job says how much memory and processor time it may take."""
    from peagen.core.sandbox_render import Job, encoded, render

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl+c is for the one who asks
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    _confine()
    shared = b""
    while (frame := _frame(source)) is not None:
        fields = pickle.loads(frame)  # noqa: S301
        shared = fields["shared"] = shared if fields["shared"] is None else fields["shared"]
        _allow(fields.pop("memory_bytes"), fields.pop("cpu_seconds"))
        job = Job(**fields)
        reply = render(job)
        try:
            content = encoded(reply)
        except MemoryError:
            reply = {"error": "large", "message": "the text takes more memory than it may", "where": job.name}
            reply["last"] = True
            content = encoded(reply)
        sink.write(HEADER.pack(len(content)) + content)
        sink.flush()
        if reply.get("last"):
            return


def _frame(source: BinaryIO) -> bytes | None:
    header = source.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    content = source.read(length)
    return content if len(content) == length else None


def _confine() -> None:
    """No files written, no processes started, nothing left when it dies."""
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        resource.setrlimit(limit, (0, 0))
    if sys.platform == "linux":
        # One that is at work does not notice that its input has ended.
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _allow(memory_bytes: int, cpu_seconds: float) -> None:
    """No more memory than this altogether, and no more processor time from now on."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(usage.ru_utime + usage.ru_stime + cpu_seconds)
    for limit, value in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CPU, until)):
        hard = resource.getrlimit(limit)[1]
        with contextlib.suppress(OSError, ValueError):  # macOS has no limit of memory
            resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
