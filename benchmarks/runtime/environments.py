"""An environment for each runtime, made when it is first needed, below `.benchmarks/` in the checkout."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import bootstrap
from benchmarks.runtime.child import FORERUNNER_VERSION, RUNTIME, Suite

__all__ = ["FORERUNNER", "PEERS", "ROOT", "Environment", "base_install", "describe", "ready", "whole_install"]

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".benchmarks"
INSTALL_TIMEOUT_S = 900.0

FORERUNNER = f"penguiflow=={FORERUNNER_VERSION}"
FORERUNNER_NEEDS = ["pyyaml==6.0.3", "jsonschema==4.26.0"]
"""What importing it needs beside pydantic. All that it asks for is another hundred packages that it does not import."""
PEERS = {
    "langgraph": ["langgraph==1.2.22", "langgraph-checkpoint-sqlite==3.1.2"],
    "pydantic_graph": ["pydantic-graph==2.68.0"],
    "llama_index": ["llama-index-workflows==2.26.1"],
    "burr": ["burr==0.42.0", "aiosqlite==0.22.1"],
    "pydantic_ai": ["pydantic-ai-slim==2.68.0"],
}
_CHILD = "import sys; sys.path.append({root!r}); from {package}.child import main; main()"
"""The checkout comes last on the path: in the forerunner's environment `penguiflow` is the forerunner."""


class Environment(NamedTuple):
    """Where a runtime runs, and which workloads it has."""

    python: Path
    workloads: frozenset[str]


def command(python: Path, *arguments: str, suite: Suite = RUNTIME) -> list[str]:
    """The command line of one measurement."""
    # Isolated: a PYTHONPATH that leads to a checkout would make it the forerunner.
    return [str(python), "-I", "-c", _CHILD.format(root=str(ROOT), package=suite.package), *arguments]


def ready(runtime: str, suite: Suite = RUNTIME) -> Environment:
    """The runtime's environment, made if need be.

    Raises `subprocess.CalledProcessError` when it cannot be made or does not work.
    """
    python = Path(sys.executable)
    if runtime == "forerunner":
        python = _made(runtime, FORERUNNER_NEEDS, alone=[FORERUNNER])
    elif runtime in PEERS:
        python = _made(runtime, PEERS[runtime])
    listing = command(python, runtime, suite=suite)
    listed = subprocess.run(listing, capture_output=True, text=True, check=True, cwd="/")
    return Environment(python, frozenset(json.loads(listed.stdout)))


def base_install() -> tuple[Path, dict[str, float]]:
    """What somebody gets who installs this project's wheel and nothing else: its Python, and the figures of W10."""
    wheels = FOLDER / "wheel"
    shutil.rmtree(wheels, ignore_errors=True)
    _uv("build", "--quiet", "--wheel", "--out-dir", str(wheels), str(ROOT))
    (wheel,) = wheels.glob("penguiflow-*.whl")
    place = FOLDER / "base"
    shutil.rmtree(place, ignore_errors=True)
    python = _venv(place)
    _uv("pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), str(wheel))
    (packages,) = place.glob("[Ll]ib/**/site-packages")
    files = [file for file in packages.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    size = sum(file.stat().st_size for file in files)
    return python, {
        "distributions": float(sum(1 for _ in packages.glob("*.dist-info"))),
        "megabytes": size / 1e6,
    }


def whole_install() -> int:
    """How many distributions the forerunner asks for, itself included; nothing is installed."""
    place = FOLDER / "empty"
    python = place / _PYTHON if (place / _PYTHON).exists() else _venv(place)
    done = _uv("pip", "install", "--dry-run", "--python", str(python), FORERUNNER)
    return len(re.findall(r"^ \+ ", done.stderr, re.MULTILINE))


def describe(suite: Suite = RUNTIME) -> list[str]:
    """The versions that are compared."""
    pinned = [FORERUNNER, *(each for name, peer in PEERS.items() if name in suite.tables for each in peer)]
    python = ".".join(map(str, sys.version_info[:3]))
    return [f"CPython {python}", f"pydantic {version('pydantic')}", *(each.replace("==", " ") for each in pinned)]


_PYTHON = Path("Scripts/python.exe") if os.name == "nt" else Path("bin/python")


def _made(name: str, requirements: Sequence[str], alone: Sequence[str] = ()) -> Path:
    """The Python of an environment with these packages; `alone` are installed without what they ask for.

    All of them get the pydantic that this project runs with, so that no difference comes from there.
    """
    wanted = [*requirements, f"pydantic=={version('pydantic')}"]
    place = FOLDER / name
    python = place / _PYTHON
    stamp = place / "made-of"
    digest = hashlib.sha256(json.dumps([sys.version, wanted, list(alone)]).encode()).hexdigest()
    if stamp.exists() and python.exists() and stamp.read_text() == digest:
        return python
    print(f"making an environment with {', '.join([*alone, *requirements])} ...", file=sys.stderr)
    shutil.rmtree(place, ignore_errors=True)
    _venv(place)
    options = ["--quiet", "--compile-bytecode", "--python", str(python)]
    _uv("pip", "install", *options, *wanted)
    if alone:
        _uv("pip", "install", *options, "--no-deps", *alone)
    stamp.write_text(digest)
    return python


def _venv(place: Path) -> Path:
    FOLDER.mkdir(exist_ok=True)
    _uv("venv", "--quiet", "--python", sys.executable, str(place))
    return place / _PYTHON


def _uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    environ = bootstrap.environment(dict(os.environ))
    uv = environ.get("UV") or bootstrap.find_uv() or bootstrap.install_uv(environ)
    try:
        return subprocess.run(
            [uv, *arguments],
            capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, cwd=ROOT, env=environ, check=True,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"uv {' '.join(arguments[:2])} failed:\n{error.stderr.strip()}") from None
