"""The first command on a new machine, without the network: uv is a script here that writes down what it is told."""

from __future__ import annotations

import ast
import importlib.util
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

FAKE_UV = """#!/bin/sh
if [ "$1" = --version ]; then echo "uv VERSION (a test)"; exit 0; fi
echo "$@" >> "$UV_CALLS"
env | grep -E '^(UV_|VIRTUAL_ENV)' | sort > "$UV_CALLS.$1.env"
if [ "$1" = sync ]; then
    [ -z "$UV_FAILS" ] || { echo "error: no network" >&2; exit 2; }
    mkdir -p "$3/.venv"; exit 0
fi
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""

FAKE_PIP = """
import os, pathlib, sys
pathlib.Path(os.environ["PIP_CALLS"]).write_text(" ".join(sys.argv[1:]))
if os.environ.get("PIP_FAILS"):
    sys.exit("ERROR: no network")
uv = pathlib.Path(sys.argv[sys.argv.index("--target") + 1]) / "bin" / "uv"
uv.parent.mkdir(parents=True)
uv.write_text({script!r})
uv.chmod(0o755)
"""


class Checkout:
    """A checkout with the file under test, a fake uv on PATH, and a fake pip that could install one."""

    def __init__(self, folder: Path, *, uv_on_path: str | None = "0.9.1") -> None:
        self.folder = folder / "checkout"
        self.calls = folder / "calls"
        self.pip_calls = folder / "pip_calls"
        package = self.folder / "penguiflow"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (self.folder / "pyproject.toml").write_text("[project]\n")
        (self.folder / "uv.lock").write_text("version = 1\n")
        shutil.copy(ROOT / "bootstrap.py", self.folder)
        tools = folder / "bin"
        tools.mkdir()
        if uv_on_path is not None:
            (tools / "uv").write_text(FAKE_UV.replace("VERSION", uv_on_path))
            (tools / "uv").chmod(0o755)
        modules = folder / "modules" / "pip"
        modules.mkdir(parents=True)
        (modules / "__init__.py").write_text("")
        (modules / "__main__.py").write_text(FAKE_PIP.format(script=FAKE_UV.replace("VERSION", "0.9.1")))
        self.environ = {
            "PATH": f"{tools}:/usr/bin:/bin",
            "PYTHONPATH": str(modules.parent),
            "UV_CALLS": str(self.calls),
            "PIP_CALLS": str(self.pip_calls),
            "VIRTUAL_ENV": "/elsewhere",
            "UV_LOCKED": "1",
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.folder / "bootstrap.py"), *arguments]

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), env={**self.environ, **environ}, capture_output=True, text=True, check=False
        )

    def told(self) -> list[str]:
        """The calls of uv so far; forgets them."""
        calls = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return calls


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap_under_test", ROOT / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_first_run_sets_up_and_becomes_the_command(checkout: Checkout) -> None:
    done = checkout.run("printf", "%s|", "a b", "--help", "*")

    assert (done.returncode, done.stdout) == (0, "a b|--help|*|")
    assert done.stderr == f"penguiflow: setting up {checkout.folder / '.venv'} (once) ...\n"
    same = f"--project {checkout.folder} --frozen --python {sys.executable}"
    assert checkout.told() == [f"sync {same}", f"run {same} --no-compile-bytecode -- printf %s| a b --help *"]
    assert list((checkout.folder / "penguiflow" / "__pycache__").iterdir())


def test_what_would_mislead_uv_is_kept_from_it(checkout: Checkout) -> None:
    checkout.run("true")

    for step in ("sync", "run"):
        settings = Path(f"{checkout.calls}.{step}.env").read_text()
        assert "UV_PYTHON_DOWNLOADS=never" in settings
        assert "VIRTUAL_ENV" not in settings
        assert "UV_LOCKED" not in settings


def test_later_runs_only_run(checkout: Checkout) -> None:
    checkout.run("true")
    checkout.told()

    done = checkout.run("true")

    assert (done.returncode, done.stderr) == (0, "")
    assert [call.split()[0] for call in checkout.told()] == ["run"]


@pytest.mark.parametrize("changed", ["uv.lock", "pyproject.toml"])
def test_changed_dependencies_are_set_up_again(checkout: Checkout, changed: str) -> None:
    checkout.run("true")
    checkout.told()
    (checkout.folder / changed).write_text("changed = true\n")

    checkout.run("true")

    assert [call.split()[0] for call in checkout.told()] == ["sync", "run"]


def test_exit_codes_pass_through(checkout: Checkout) -> None:
    assert checkout.run("sh", "-c", "exit 7").returncode == 7


def test_signals_reach_the_command(checkout: Checkout) -> None:
    script = (
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(9)); "
        "print('ready', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        checkout.command(sys.executable, "-c", script),
        env=checkout.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    # Leaving closes the command's stdin, which ends it even if it was never told.
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 9


def test_a_failed_set_up_is_one_message_and_is_tried_again(checkout: Checkout) -> None:
    done = checkout.run("true", UV_FAILS="1")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("penguiflow: cannot set up ")
    assert "Traceback" not in done.stderr

    assert checkout.run("true").returncode == 0
    assert [call.split()[0] for call in checkout.told()] == ["sync", "sync", "run"]


@pytest.mark.parametrize("on_path", [None, "0.4.30", "of the sort that tells no number"])
def test_without_a_recent_uv_one_is_installed_beside_the_file(tmp_path: Path, on_path: str | None) -> None:
    checkout = Checkout(tmp_path, uv_on_path=on_path)

    done = checkout.run("echo", "hello", PIP_REQUIRE_VIRTUALENV="1")

    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert "installing uv" in done.stderr
    assert [file.name for file in (checkout.folder / ".uv").iterdir()] == ["uv"]
    assert checkout.pip_calls.read_text().startswith("install ")
    assert checkout.pip_calls.read_text().endswith("uv>=0.5")

    checkout.pip_calls.unlink()
    assert checkout.run("echo", "again").stderr == ""
    assert not checkout.pip_calls.exists()


def test_every_way_to_install_uv_is_tried_and_told(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, uv_on_path=None)
    for name in ("pip3", "pip"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\necho 'strange pip fails' >&2\nexit 3\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "modules" / "venv.py").write_text("raise SystemExit('Error: venv fails')")

    done = checkout.run("true", PIP_FAILS="1")

    assert done.returncode == 1
    assert "Is the network there?" in done.stderr
    assert "  pip: ERROR: no network" in done.stderr
    assert "  venv: Error: venv fails" in done.stderr
    assert f"  {tmp_path}/bin/pip3: strange pip fails" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((checkout.folder / ".uv").iterdir()) == []


@pytest.mark.parametrize(
    ("modules", "programs", "expected"),
    [
        ({"pip", "venv", "ensurepip"}, {"pip3"}, ["pip", "venv", "/bin/pip3"]),
        ({"venv", "ensurepip"}, set(), ["venv"]),
        ({"pip"}, set(), ["pip"]),
        ({"venv"}, {"pip"}, ["/bin/pip"]),
        ({"venv"}, set(), []),
        (set(), set(), []),
    ],
)
def test_the_choice_of_installers(
    bootstrap: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    modules: set[str],
    programs: set[str],
    expected: list[str],
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in modules else None)
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: f"/bin/{name}" if name in programs else None)

    ways = bootstrap.installers(Path("/workspace/venv"))

    assert [name for name, _ in ways] == expected
    for name, commands in ways:
        pip = commands[-1]
        assert pip == {
            "pip": [sys.executable, "-m", "pip"],
            "venv": ["/workspace/venv/bin/python", "-m", "pip"],
        }.get(name, [name])


def test_neither_pip_nor_venv_is_one_message(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bootstrap, "OWN_UV", tmp_path / ".uv" / "uv")
    monkeypatch.setattr(bootstrap, "installers", lambda venv: [])

    with pytest.raises(bootstrap.SetupError, match="has neither pip nor venv"):
        bootstrap.install_uv({})


def test_a_read_only_checkout_is_one_message(
    bootstrap: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bootstrap, "find_uv", lambda: "/usr/bin/uv")
    monkeypatch.setattr(bootstrap, "is_ready", lambda environ: False)
    monkeypatch.setattr(bootstrap.os, "access", lambda path, mode: False)

    assert bootstrap.main(["pf"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is read-only" in said


def test_an_old_python_is_told_so(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 10, 13))

    assert bootstrap.main(["pf", "tui"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "needs Python 3.11 or newer" in said
    assert "Python 3.10" in said
    assert "bootstrap.py pf tui" in said


def test_an_old_python_can_read_the_file() -> None:
    # Python 3.5 is the oldest whose grammar the parser can be asked for, and even that one knows no f-strings.
    tree = ast.parse((ROOT / "bootstrap.py").read_text(), feature_version=(3, 5))
    too_new = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Match)
    assert [node for node in ast.walk(tree) if isinstance(node, too_new)] == []
    assert [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "__future__"] == []
    notes = [node.returns for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    notes += [node.annotation for node in ast.walk(tree) if isinstance(node, ast.arg)]
    assert all(isinstance(note, ast.Name | ast.Constant) for note in notes), "annotations are quoted or plain names"


def test_it_uses_the_standard_library_alone() -> None:
    tree = ast.parse((ROOT / "bootstrap.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--help"], 0)])
def test_usage(checkout: Checkout, arguments: list[str], code: int) -> None:
    done = checkout.run(*arguments)

    assert done.returncode == code
    assert "usage: python3 bootstrap.py COMMAND" in (done.stdout if code == 0 else done.stderr)
    assert checkout.told() == []
