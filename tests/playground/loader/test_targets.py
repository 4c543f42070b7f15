from __future__ import annotations

from pathlib import Path

import pytest

from playground.loader.targets import Missing, Module, find_modules, module_name
from playground.project import Project, ProjectError, find_project, project_at, split_attribute


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("PENGUIFLOW_HOME", raising=False)
    for name in (
        "flows/b.py",
        "flows/a.py",
        "flows/_private.py",
        "flows/notes.txt",
        "flows/package/__init__.py",
        "flows/package/inner.py",
        "flows/other/pyproject.toml",
        "flows/other/__init__.py",
        "flows/__pycache__/a.py",
        "src/app/tool.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    (tmp_path / "pyproject.toml").write_text("")
    return project_at(tmp_path)


def found(project: Project, *targets: str, cwd: Path | None = None) -> list[str]:
    return [item.path for item in find_modules(targets, project, cwd or project.root)]


def test_a_folder_gives_its_modules_and_packages_by_name(project: Project) -> None:
    assert found(project, "flows") == ["flows/a.py", "flows/b.py", "flows/package"]


def test_a_package_with_code_of_its_own_is_one_module(project: Project) -> None:
    (module,) = find_modules(["flows/package"], project, project.root)
    assert module == Module("flows/package", project.root / "flows/package/__init__.py")


def test_a_package_without_code_is_a_folder(project: Project) -> None:
    (project.root / "flows/package/__init__.py").write_text('"""Nothing here."""\nfrom __future__ import annotations\n')
    assert found(project, "flows/package") == ["flows/package/inner.py"]


def test_a_module_is_listed_once_and_knows_what_was_named(project: Project) -> None:
    modules = find_modules(["flows", "flows/a.py:one", "flows/a.py:two"], project, project.root)
    named = [module for module in modules if isinstance(module, Module) and module.attributes]
    assert [module.path for module in modules] == ["flows/a.py", "flows/b.py", "flows/package"]
    assert named == [Module("flows/a.py", project.root / "flows/a.py", ("one", "two"))]


def test_paths_are_taken_from_the_working_directory_first_then_from_the_project(project: Project) -> None:
    inside = project.root / "flows"
    assert found(project, "a.py", cwd=inside) == ["flows/a.py"]
    assert found(project, "flows/a.py", cwd=inside) == ["flows/a.py"]


def test_dotted_names_are_left_to_the_import_system(project: Project) -> None:
    assert find_modules(["app.tool:flow"], project, project.root) == [Module("app.tool", None, ("flow",))]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("flows/none.py", "no such file or folder"),
        ("none/", "no such file or folder"),
        ("flows/notes.txt", "neither a Python file nor a folder"),
        ("not a name", "is no file, folder or module name"),
        ("src", "is a folder without Python modules"),
    ],
)
def test_what_leads_nowhere_says_so(project: Project, target: str, said: str) -> None:
    (missing,) = find_modules([target], project, project.root)
    assert isinstance(missing, Missing)
    assert said in missing.message


def test_names_are_dotted_from_the_first_root_that_holds_the_file(tmp_path: Path) -> None:
    roots = [tmp_path / "src", tmp_path]
    assert module_name(tmp_path / "flows/a.py", roots) == "flows.a"
    assert module_name(tmp_path / "src/app/tool.py", roots) == "app.tool"
    assert module_name(tmp_path / "flows/p/__init__.py", roots) == "flows.p"
    assert module_name(tmp_path / "my-flows/a.py", roots) is None
    assert module_name(Path("/elsewhere/a.py"), roots) is None


def test_an_attribute_is_split_off_at_the_last_colon() -> None:
    assert split_attribute("a/b.py:flow") == ("a/b.py", "flow")
    assert split_attribute("a.b:flow") == ("a.b", "flow")
    assert split_attribute("a/b.py") == ("a/b.py", None)
    assert split_attribute("a/b.py:") == ("a/b.py", None)
    assert split_attribute("odd:name.py") == ("odd:name.py", None)
    assert split_attribute("C:flow") == ("C:flow", None)


class TestProject:
    def test_the_root_is_the_nearest_folder_upward_with_a_pyproject(self, project: Project) -> None:
        assert find_project(cwd=project.root / "flows/package").root == project.root
        assert find_project(["flows/other/__init__.py"], cwd=project.root).root == project.root / "flows/other"
        assert find_project(["flows/a.py:flow"], cwd=project.root).root == project.root

    def test_without_a_pyproject_it_is_the_working_directory(self, tmp_path: Path) -> None:
        folder = tmp_path / "bare"
        folder.mkdir()
        assert find_project(["none.py"], cwd=folder).root == folder

    def test_state_is_kept_in_the_root_or_where_the_environment_says(
        self, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        assert project.database == project.root / ".penguiflow/state.db"
        monkeypatch.setenv("PENGUIFLOW_HOME", str(tmp_path / "elsewhere"))
        assert project_at(project.root).database == tmp_path / "elsewhere/state.db"

    def test_flows_come_first_then_what_is_configured(self, project: Project) -> None:
        file = project.root / "pyproject.toml"
        assert project.default_targets() == ["flows"]
        file.write_text('[tool.penguiflow]\nflows = ["flows/", "src/app", "app.tool"]\n')
        assert project.default_targets() == ["flows", "src/app", "app.tool"]
        file.write_text('[tool.penguiflow]\nflows = "src/app"\n')
        assert project.default_targets() == ["flows", "src/app"]

    @pytest.mark.parametrize("content", ["[tool.penguiflow]\nflows = [1]\n", "no toml", b"\xff\xfe"])
    def test_a_configuration_that_makes_no_sense_is_an_error(self, project: Project, content: str | bytes) -> None:
        file = project.root / "pyproject.toml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ProjectError, match=r"pyproject\.toml"):
            project.default_targets()
