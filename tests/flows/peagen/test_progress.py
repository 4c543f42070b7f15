"""The bar: on a terminal while files are worked on, and nowhere else."""

from __future__ import annotations

import io

from peagen.progress import Bar

STARTED = {"type": "process.started", "projects": ["Demo"], "files": 2}


def test_a_terminal_shows_how_far_it_is_and_then_nothing() -> None:
    stream = io.StringIO()
    with Bar(stream, force=True) as bar:
        bar(STARTED)
        assert stream.getvalue() == ""
        bar({"type": "file.started", "project": "Demo", "file": "out/[bold]a.py", "process_type": "GENERATE"})
        bar({"type": "file.done", "file": "out/[bold]a.py", "status": "created", "tokens": 1200, "cost": 0.5})
        bar({"type": "file.started", "project": "Demo", "file": "out/b.py", "process_type": "COPY"})
        bar.print("a line [with] marks")
        bar({"type": "file.done", "file": "out/b.py", "status": "created", "tokens": 0, "cost": None})
    drawn = stream.getvalue()
    assert "2/2" in drawn
    assert "1200 tokens, $0.5000" in drawn
    assert "a line [with] marks\n" in drawn
    assert "\x1b[2K" in drawn  # the bar takes itself away


def test_nothing_is_drawn_where_nobody_looks_or_nothing_is_done() -> None:
    stream = io.StringIO()
    with Bar(stream) as bar:
        bar(STARTED)
        bar({"type": "file.started", "project": "Demo", "file": "a", "process_type": "COPY"})
        bar.print("said")
    assert stream.getvalue() == "said\n"
    stream = io.StringIO()
    with Bar(stream, force=True) as bar:
        bar(STARTED)
        bar({"type": "file.done", "file": "a", "status": "unchanged", "tokens": 0, "cost": None})
        bar({"type": "process.done", "seconds": 0.1, "counts": {"unchanged": 1}})
    assert stream.getvalue() == ""
