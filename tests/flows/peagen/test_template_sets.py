"""The bundled sets: their example payloads make projects that are good, and whose tests pass."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from peagen.core.lookup import TemplateSets
from peagen.core.payload import load_projects_payload
from peagen.core.ptree import project_records
from peagen.core.sandbox import Renderer
from peagen.run import ProcessOptions, Report, check, process

SETS = Path(sys.modules["peagen.core.lookup"].__file__ or "").parent.parent / "template_sets"
NAMES = ["fastapi_service", "pythonpkg", "swarmauri_base"]


def ran(folder: Path, *arguments: str, path: str = "") -> str:
    """What Python says to these arguments; it has to succeed."""
    environ = {"PATH": "", "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ran_tests_of(folder: Path) -> str:
    """What the tests of a project say; they have to pass."""
    return ran(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore")


async def made(name: str, worktree: Path) -> Report:
    projects = load_projects_payload(SETS / name / "example.payload.yaml")
    return await process(projects, ProcessOptions(worktree=worktree, workers=4, provider="scripted"))


@pytest.mark.parametrize(
    ("name", "folder", "tests"), [("pythonpkg", "textkit", 6), ("fastapi_service", "notes-service", 8)]
)
async def test_the_tests_of_the_example_pass(worktree_root: Path, name: str, folder: str, tests: int) -> None:
    report = await made(name, worktree_root)
    assert report.exit_code == 0
    said = ran_tests_of(worktree_root / folder)
    assert f"{tests} passed" in said
    ran(worktree_root / folder, "-m", "ruff", "check", "--no-cache", ".")


async def test_a_module_without_functions_is_tested_too(worktree_root: Path) -> None:
    (project,) = load_projects_payload(SETS / "pythonpkg" / "example.payload.yaml")
    project["PACKAGES"] = [
        {"NAME": "deep/my-tool", "MODULES": [{"NAME": "core", "EXTRAS": {"PURPOSE": 'It\'s "new"'}}]}
    ]
    report = await process([project], ProcessOptions(worktree=worktree_root, provider="scripted"))
    assert report.exit_code == 0
    assert (worktree_root / "deep/my-tool/src/my_tool/core.py").read_text().startswith('"""It\'s "new"."""')
    said = ran_tests_of(worktree_root / "deep/my-tool")
    assert "1 passed" in said


async def test_the_package_is_what_its_pyproject_says(worktree_root: Path) -> None:
    await made("pythonpkg", worktree_root)
    import tomllib

    about = tomllib.loads((worktree_root / "textkit/pyproject.toml").read_text())
    assert about["project"]["name"] == "textkit"
    workflow = yaml.safe_load((worktree_root / "textkit/.github/workflows/tests.yml").read_text())
    assert workflow["jobs"]["tests"]["steps"][1]["with"]["python-version"] == "${{ matrix.python }}"


@pytest.mark.parametrize("name", NAMES)
async def test_a_second_run_asks_nobody(worktree_root: Path, name: str) -> None:
    await made(name, worktree_root)
    assert (await made(name, worktree_root)).calls == 0
    projects = load_projects_payload(SETS / name / "example.payload.yaml")
    assert (await check(projects, ProcessOptions(worktree=worktree_root, provider="scripted"))).drift == []


@pytest.mark.parametrize("name", NAMES)
def test_what_an_example_uses_is_documented(name: str) -> None:
    documented = set(re.findall(r"^- (\w+)$", (SETS / name / "EXTRAS.md").read_text(), re.MULTILINE))
    payload: dict[str, Any] = yaml.safe_load((SETS / name / "example.payload.yaml").read_text())
    used: set[str] = set()
    for project in payload["PROJECTS"]:
        assert project["TEMPLATE_SET"] == name
        levels = [project, *project["PACKAGES"], *(mod for pkg in project["PACKAGES"] for mod in pkg["MODULES"])]
        used.update(key for level in levels for key in level.get("EXTRAS", {}))
    assert used <= documented
    read = {
        key
        for path in (SETS / name).rglob("*.j2")
        for key in re.findall(r"(?:MOD|PKG|PROJ)\.EXTRAS\.(\w+)", path.read_text())
    }
    assert read <= documented


async def test_swarmauri_base_makes_two_records_of_each_module(worktree_root: Path) -> None:
    (project,) = load_projects_payload(SETS / "swarmauri_base" / "example.payload.yaml")
    module = project["PACKAGES"][0]["MODULES"][0]
    module["EXTRAS"] |= {
        "EXTERNAL_DOC_FILES": ["docs/parsers.md"],
        "DEPENDENCIES": ["core.parsers.py", "ComponentBase.py"],
        "MIXIN_FILES": ["mixins/Loud.py"],
    }
    async with Renderer() as renderer:
        records = await project_records(project, TemplateSets(), renderer)
    folder = "pkgs/base/swarmauri_base/parsers"
    assert [(each["PROCESS_TYPE"], each["RENDERED_FILE_NAME"]) for each in records] == [
        ("COPY", f"{folder}/__init__.py"),
        ("GENERATE", f"{folder}/ParserBase.py"),
    ]
    braces = "{{ PROJ.ROOT }}/base/swarmauri_base/{{ MOD.EXTRAS.RESOURCE_KIND }}"
    assert [each["FILE_NAME"] for each in records] == [f"{braces}/__init__.py.j2", f"{braces}/{{{{ MOD.NAME }}}}.py.j2"]
    extras = records[1]["EXTRAS"]
    assert extras["DEPENDENCIES"] == [
        "pkgs/core/swarmauri_core/parsers/IParser.py",
        "docs/parsers.md",
        "pkgs/core/core/parsers.py",
        "pkgs/base/swarmauri_base/ComponentBase.py",
        "mixins/Loud.py",
    ]
    assert len(extras["REQUIREMENTS"]) == 4
    assert extras["REQUIREMENTS"][-1] == "Should inherit from the interface first and ComponentBase second."


async def test_what_swarmauri_base_writes_can_be_used(worktree_root: Path, write_files: Any) -> None:
    write_files(
        worktree_root,
        {
            "pkgs/base/swarmauri_base/ComponentBase.py": """\
                from enum import Enum
                from pydantic import BaseModel

                class ResourceTypes(Enum):
                    PARSER = "Parser"

                class ComponentBase(BaseModel):
                    name: str = ""
                """,
            "pkgs/core/swarmauri_core/parsers/IParser.py": """\
                class IParser:
                    '''What parses.'''
                """,
        },
    )
    report = await made("swarmauri_base", worktree_root)
    assert report.exit_code == 0
    program = (
        "from swarmauri_base.parsers.ParserBase import ParserBase as P; print(P().resource, P.__mro__[1].__name__)"
    )
    said = ran(worktree_root, "-c", program, path=f"{worktree_root}/pkgs/base:{worktree_root}/pkgs/core")
    assert said == "Parser IParser\n"
