"""How long `pf tui` takes to show itself, and to list the flows of a project with ten modules.

Run with the environment's Python: `python benchmarks/first_paint.py [rounds]`. Each round starts the environment's own
`pf` in a pty and reads what it draws.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.terminal import PF, Terminal, quantile

MODULES = 10
PAINT_LIMIT_S = 0.4
FLOWS_LIMIT_S = 1.2
FLOW = '''"""Flow number {number}."""

from __future__ import annotations

from pydantic import BaseModel

from penguiflow import Context, ModelRegistry, Node, create


class Question{number}(BaseModel):
    text: str = "hello"


class Answer{number}(BaseModel):
    text: str


async def shout(message: Question{number}, ctx: Context) -> Answer{number}:
    return Answer{number}(text=message.text.upper())


node = Node(shout)
registry = ModelRegistry()
registry.register("shout", Question{number}, Answer{number})
flow = create(node.to())
'''


def make_project(folder: Path) -> None:
    """A project with ten modules."""
    (folder / "pyproject.toml").write_text('[project]\nname = "ten"\nversion = "0"\n')
    (folder / "flows").mkdir()
    for number in range(MODULES):
        (folder / "flows" / f"zflow{number}.py").write_text(FLOW.format(number=number))


def measure(folder: Path) -> tuple[float, float]:
    """Seconds to the first paint and to the list of flows."""
    with Terminal([PF, "tui"], cwd=folder) as terminal:
        paint = terminal.until("FLOWS", "RUNS", "TRACE", "OUTPUT")
        flows = terminal.until(*(f"zflow{number}" for number in range(MODULES)))
        return paint, flows


def main() -> int:
    """Print both, with their limits; exit code 1 when one is broken."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_project(folder)
        measure(folder)
        results = [measure(folder) for _ in range(rounds)]
    paints, flows = [paint for paint, _ in results], [listed for _, listed in results]
    paint, worst = quantile(paints, 0.5), max(flows)
    limits = (("first paint", paints, "p50 400 ms"), (f"{MODULES} modules listed", flows, "max 1200 ms"))
    for name, values, limit in limits:
        p50, p95, most = (quantile(values, share) * 1000 for share in (0.5, 0.95, 1.0))
        print(f"{name:<18} p50 {p50:4.0f} ms  p95 {p95:4.0f} ms  max {most:4.0f} ms  limit {limit}")
    return 0 if paint <= PAINT_LIMIT_S and worst <= FLOWS_LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
