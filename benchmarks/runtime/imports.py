"""What an import costs beyond asyncio and pydantic, measured in the process that runs this file.

It imports nothing of the benchmarks, because it runs where only the measured package is installed.
"""

from __future__ import annotations

import asyncio  # noqa: F401 - not what is measured
import json
import sys
import time

from pydantic import BaseModel, TypeAdapter


class First(BaseModel):
    """A model: pydantic imports most of itself for the first one, and every flow has one."""

    text: str


TypeAdapter(First)


def main() -> None:
    """Print milliseconds of CPU time: for the package, and with the names that a first flow needs."""
    modules = len(sys.modules)
    started = time.process_time()
    import penguiflow

    imported = time.process_time()
    for name in ("create", "Node", "NodePolicy", "ModelRegistry", "Message", "Headers", "Context"):
        getattr(penguiflow, name)
    named = time.process_time()
    figures = {"import_ms": (imported - started) * 1e3, "names_ms": (named - started) * 1e3}
    print(json.dumps({**figures, "modules": len(sys.modules) - modules}))


if __name__ == "__main__":
    main()
