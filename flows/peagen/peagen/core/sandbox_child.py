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


def main(memory_bytes: int, cpu_seconds: float) -> None:
    """Work until the input ends. Uses at most `memory_bytes` altogether and `cpu_seconds` for each job."""
    from peagen.core.sandbox_render import Job, encoded, render

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl+c is for the one who asks
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    _confine(memory_bytes)
    shared = b""
    while (frame := _frame(source)) is not None:
        fields = pickle.loads(frame)  # noqa: S301
        shared = fields["shared"] = shared if fields["shared"] is None else fields["shared"]
        job = Job(**fields)
        _allow_cpu(cpu_seconds)
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


def _confine(memory_bytes: int) -> None:
    """No more memory than this, no files written, no processes started, nothing left when it dies."""
    wanted = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    for limit, value in wanted.items():
        hard = resource.getrlimit(limit)[1]
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS has no limit of memory
            resource.setrlimit(limit, (lowest, lowest))


def _allow_cpu(seconds: float) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(usage.ru_utime + usage.ru_stime + seconds)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard == resource.RLIM_INFINITY or until < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (until, hard))
