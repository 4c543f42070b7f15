"""What leans on what, what an install brings along, and what an import costs."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LEAF_MODULES = {"textual", "typer", "click", "rich", "websockets", "watchfiles", "playground", "flows", "sqlite3"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after a statement, without those it always has."""
    script = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


def imports_of(package: str) -> Iterator[tuple[Path, str]]:
    """Every dotted name that the files of a package import, with the file."""
    for file in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                yield from ((file, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield from ((file, f"{node.module}.{alias.name}") for alias in node.names)


def test_importing_the_library_loads_almost_nothing() -> None:
    loaded = loaded_by("import penguiflow")

    assert {name for name in loaded if name.startswith("penguiflow")} == {"penguiflow"}
    assert not loaded & {"pydantic", "asyncio", *LEAF_MODULES}


def test_using_the_library_loads_pydantic_and_no_tool() -> None:
    loaded = loaded_by("from penguiflow import *")

    assert "pydantic" in loaded
    assert not loaded & LEAF_MODULES
    assert not {name for name in loaded if name.startswith("penguiflow.recording")}
    state = {name for name in loaded if name.startswith("penguiflow.state")}
    assert state == {"penguiflow.state", *(f"penguiflow.state.{name}" for name in ("models", "protocol", "sessions"))}


def test_every_public_name_is_there() -> None:
    import penguiflow

    assert [name for name in penguiflow.__all__ if not hasattr(penguiflow, name)] == []
    assert set(penguiflow.__all__) <= set(dir(penguiflow))


def test_the_base_install_needs_pydantic_alone() -> None:
    needs = importlib.metadata.requires("penguiflow") or []

    base = [need for need in needs if "extra ==" not in need]
    assert [re.split(r"[^\w-]", need)[0] for need in base] == ["pydantic"]
    assert "playground" in importlib.metadata.metadata("penguiflow").get_all("Provides-Extra", [])


def test_the_pf_script_is_installed() -> None:
    scripts = {script.name: script.value for script in importlib.metadata.distribution("penguiflow").entry_points}
    assert scripts["pf"] == "playground.__main__:main"


def test_the_wheel_holds_the_packages_and_nothing_else(
    project: dict[str, Any],
) -> None:
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

    assert {"penguiflow", "playground"} <= set(packages)
    assert set(packages) <= {"penguiflow", "playground", "penguiflow_a2a"}
    assert all((ROOT / package / "py.typed").is_file() for package in packages)


@pytest.mark.parametrize("package", ["playground", "flows"])
def test_the_library_is_used_by_its_public_names(package: str) -> None:
    private = [
        f"{file.relative_to(ROOT)}: {name}"
        for file, name in imports_of(package)
        if name.startswith("penguiflow.") and re.search(r"\._(?!_)", name)
    ]
    assert private == []


def test_every_flow_imports_what_a_users_project_could() -> None:
    allowed = {*sys.stdlib_module_names, "penguiflow", "pydantic", "flows"}
    one_file_flows = [(file, name) for file, name in imports_of("flows") if file.parent == ROOT / "flows"]

    assert one_file_flows
    assert [(file.name, name) for file, name in one_file_flows if name.partition(".")[0] not in allowed] == []


def test_the_arrows_between_packages_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_turned_arrow_is_seen(tmp_path: Path) -> None:
    """The contracts see a library that imports what is built upon it."""
    for package in ("penguiflow", "playground", "flows"):
        (tmp_path / package).mkdir()
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    for file in (ROOT / "penguiflow").glob("*.py"):
        (tmp_path / "penguiflow" / file.name).write_text("")
    for folder in ("recording", "state"):
        (tmp_path / "penguiflow" / folder).mkdir()
        (tmp_path / "penguiflow" / folder / "__init__.py").write_text("")
    (tmp_path / "playground" / "__init__.py").write_text("import flows.probe\n")
    # `flows` is a namespace: the real folder stands beside this one, so the name must not be one of its own.
    (tmp_path / "flows" / "probe.py").write_text("import textual\n")
    (tmp_path / "penguiflow" / "types.py").write_text("import penguiflow.state\n")
    (tmp_path / "penguiflow" / "patterns.py").write_text("import playground\n")

    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "4 broken" in done.stdout
