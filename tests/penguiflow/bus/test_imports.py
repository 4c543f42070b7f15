"""Whoever needs no server needs no client of one."""

from __future__ import annotations

import subprocess
import sys

import pytest

import penguiflow.bus


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def test_the_library_loads_no_client() -> None:
    done = run(
        "import sys, penguiflow, penguiflow.core, penguiflow.bus; penguiflow.bus.MemoryBus; "
        "print([name for name in ('redis', 'nats') if name in sys.modules])"
    )
    assert done.stdout == "[]\n", done.stderr


def test_every_name_is_there() -> None:
    for name in penguiflow.bus.__all__:
        assert getattr(penguiflow.bus, name).__name__ == name
    nothing = "Nothing"
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        getattr(penguiflow.bus, nothing)


@pytest.mark.parametrize(("name", "extra"), [("NatsBus", "nats"), ("RedisBus", "redis")])
def test_a_missing_extra_is_named(name: str, extra: str) -> None:
    done = run(f"import sys; sys.modules['{extra}'] = None; from penguiflow.bus import {name}")
    assert f"ImportError: {name} needs the extra '{extra}': pip install 'penguiflow[{extra}]'" in done.stderr
