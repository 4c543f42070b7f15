"""The examples, loaded as the playground loads them."""

from __future__ import annotations

import asyncio
import linecache
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from playground.loader.project_loader import ProjectLoader
from playground.project import project_at

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def loaded_examples() -> Iterator[ProjectLoader]:
    """All examples, in one loader; what the import of them changed is put back."""
    modules, path, finders, lines = set(sys.modules), sys.path[:], sys.meta_path[:], dict(linecache.cache)
    targets = [str(file.relative_to(ROOT)) for file in sorted(ROOT.glob("examples/*/flow.py"))]
    loader = ProjectLoader(project_at(ROOT), targets, cwd=ROOT)
    loader.import_all()
    asyncio.run(loader.build_all())
    yield loader
    sys.path[:], sys.meta_path[:] = path, finders
    linecache.cache.clear()
    linecache.cache.update(lines)
    for name in set(sys.modules) - modules:
        if str(ROOT / "examples") in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


@pytest.fixture
def untouched_logging() -> Iterator[None]:
    """Whatever a test does to the library's logger is undone."""
    logger = logging.getLogger("penguiflow")
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
    logger.propagate = propagate
