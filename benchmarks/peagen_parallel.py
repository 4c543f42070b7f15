"""Peagen on 300 files with 8 workers and a model that takes 50 ms; then once more, with nothing changed.

    python -m benchmarks.peagen_parallel [--files 300 --workers 8 --model-ms 50 --sequential --rounds 3]

The files are in layers: each needs two of the layer before. Prints how long a run takes beside what it cannot be
shorter than, max(critical path, all model time / workers); the aim is 1.3 of that. Then the command `peagen local
process` is run as a process of its own on what is there: no model is asked, no file is touched; the aim is a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peagen.core.models
from peagen.core.payload import load_projects_payload
from peagen.run import ProcessOptions, process
from penguiflow.llm import LLMRequest, ScriptedModel

AIM, AGAIN_AIM = 1.3, 1.0  # of the bound; seconds
LAYERS = 10
PTREE = """\
{% set PKG = PROJ.PKGS[0] %}
{% for MOD in PKG.MODULES %}
- FILE_NAME: module.py.j2
  RENDERED_FILE_NAME: "src/{{ MOD.NAME }}.py"
  PROCESS_TYPE: GENERATE
  AGENT_PROMPT_TEMPLATE: agent.j2
  PROJECT_NAME: "{{ PROJ.NAME }}"
  PACKAGE_NAME: "{{ PKG.NAME }}"
  MODULE_NAME: "{{ MOD.NAME }}"
  EXTRAS: {DEPENDENCIES: {{ MOD.EXTRAS.NEEDS | tojson }} }
{% endfor %}
"""
AGENT = """\
Write {{ MOD.NAME }}.
{% include FILE.FILE_NAME %}
{% for each in FILE.EXTRAS.DEPENDENCIES %}{% include each %}
{% endfor %}
"""


def payload(files: int) -> dict[str, Any]:
    """Modules in layers, each of which needs two of the layer before."""
    width = max(files // LAYERS, 1)
    modules = []
    for number in range(files):
        layer, place = divmod(number, width)
        above = [f"src/m{(layer - 1) * width + (place + step) % width:04}.py" for step in (0, 1)] if layer else []
        modules.append({"NAME": f"m{number:04}", "EXTRAS": {"NEEDS": sorted(set(above))}})
    project = {"NAME": "Many", "TEMPLATE_SET": "many", "PACKAGES": [{"NAME": "many", "MODULES": modules}]}
    return {"schemaVersion": "1.0.0", "PROJECTS": [project]}


def prepare(root: Path, files: int) -> Path:
    """A work-tree with a template set and a payload."""
    folder = root / "many"
    folder.mkdir(parents=True)
    (folder / "ptree.yaml.j2").write_text(PTREE)
    (folder / "agent.j2").write_text(AGENT)
    (folder / "module.py.j2").write_text("# {{ MOD.NAME }}\n")
    found = root / "payload.yaml"
    found.write_text(json.dumps(payload(files)))
    return found


def longest_path(project: Mapping[str, Any]) -> int:
    """Files on the longest way through the graph."""
    depth: dict[str, int] = {}
    for module in project["PACKAGES"][0]["MODULES"]:
        needs = module["EXTRAS"]["NEEDS"]
        depth[f"src/{module['NAME']}.py"] = 1 + max((depth[name] for name in needs), default=0)
    return max(depth.values())


async def generate(root: Path, files: int, workers: int, model_s: float) -> tuple[float, float]:
    """Seconds of a run, and what it cannot be shorter than."""

    async def say(request: LLMRequest) -> str:
        await asyncio.sleep(model_s)
        return f"```python\n# {request.messages[-1].text.splitlines()[0]}\n```"

    model = ScriptedModel(rules=[(lambda request: True, say)])
    peagen.core.models.connect = lambda choice: model
    projects = load_projects_payload(prepare(root, files))
    began = time.perf_counter()
    report = await process(projects, ProcessOptions(worktree=root, provider="scripted", workers=workers))
    took = time.perf_counter() - began
    assert report.counts == {"created": files}, report.counts
    return took, model_s * max(longest_path(projects[0]), files / max(workers, 1))


def again(root: Path) -> float:
    """Seconds of the command, where nothing is to be done."""
    command = [str(Path(sys.executable).with_name("peagen")), "local", "process", "payload.yaml", "--repo", "."]
    command += ["--provider", "scripted"]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["calls"] == 0
    return took


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--model-ms", type=float, default=50.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sequential", action="store_true", help="one after the other, too")
    told = parser.parse_args()
    for workers in (told.workers, *((0,) if told.sequential else ())):
        for _ in range(told.rounds):
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                took, bound = asyncio.run(generate(root, told.files, workers, told.model_ms / 1000))
                second = again(root)
            print(
                f"{told.files} files, {workers} workers: {took:.2f} s, {took / bound:.2f} of {bound:.2f} s (aim {AIM});"
                f" again: {second:.2f} s (aim {AGAIN_AIM:g})"
            )


if __name__ == "__main__":
    main()
