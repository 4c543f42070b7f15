#!/usr/bin/env python3
"""Run a command of this checkout on a machine that has only Python: `python3 bootstrap.py pf tui`.

Finds uv, or installs it into `.uv/`; has it make `.venv` as `uv.lock` says; then becomes `uv run COMMAND`.
The first run needs the network, later runs do not.

An old Python must be able to import this file, to be told that it is too old. Hence no f-strings, no
`from __future__`, and quoted annotations.
"""

# ruff: noqa: I002, S603, S606

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST_PYTHON = (3, 11)
OLDEST_UV = (0, 5, 0)  # reads the format of uv.lock and knows default groups
UV_REQUIREMENT = "uv>=0.5"
ROOT = Path(__file__).resolve().parent
OWN_UV = ROOT / ".uv" / ("uv.exe" if os.name == "nt" else "uv")
OWN_PACKAGES = ("penguiflow", "playground")
USAGE = """\
usage: python3 bootstrap.py COMMAND [ARGUMENT ...]

Sets this checkout up if need be, then runs COMMAND in it. For example:
  python3 bootstrap.py pf tui
  python3 bootstrap.py pytest
"""


class SetupError(Exception):
    """The checkout cannot be set up; the text says why and what to do."""


def say(text: str) -> None:
    """Tell the person in front of the terminal; stdout belongs to the command."""
    sys.stderr.write("penguiflow: " + text + "\n")
    sys.stderr.flush()


def main(argv: "list[str]") -> int:
    """Set up and run `argv`. Returns an exit code where the command did not take over this process."""
    if sys.version_info < OLDEST_PYTHON:
        wanted_python, this_python = (".".join(map(str, version[:2])) for version in (OLDEST_PYTHON, sys.version_info))
        say(
            "this needs Python " + wanted_python + " or newer, and " + (sys.executable or "this") + " is Python "
            + this_python + ". Use a newer one: python3.12 bootstrap.py " + " ".join(argv)
        )  # fmt: skip
        return 2
    if not argv or argv[0] in ("-h", "--help"):
        (sys.stdout if argv else sys.stderr).write(USAGE)
        return 0 if argv else 2
    try:
        return run(argv)
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def run(argv: "list[str]") -> int:
    """Have a ready environment, then become the command."""
    environ = environment(dict(os.environ))
    uv = find_uv() or install_uv(environ)
    if not is_ready(environ):
        set_up(uv, environ)
    # `set_up` has compiled what is installed; looking at every file again would cost more than all the rest.
    command = [uv, "run", *uv_options(), "--no-compile-bytecode", "--", *argv]
    if os.name == "posix":
        os.execve(uv, command, environ)
    return subprocess.call(command, env=environ)


def uv_options() -> "list[str]":
    """What every call of uv here has in common: this project, as locked, on the Python that runs this file."""
    return ["--project", str(ROOT), "--frozen", "--python", sys.executable]


def environment(environ: "dict[str, str]") -> "dict[str, str]":
    """The environment for uv and the command, without what would lead uv to another Python or project."""
    for contradiction in ("VIRTUAL_ENV", "UV_LOCKED", "UV_NO_SYNC"):
        environ.pop(contradiction, None)
    environ["UV_PYTHON_DOWNLOADS"] = "never"
    return environ


# -- uv ----------------------------------------------------------------------------------------------------------------


def find_uv() -> "str | None":
    """The path of a uv that is recent enough: the one on PATH, else the one in `.uv/`."""
    for candidate in (shutil.which("uv"), str(OWN_UV)):
        if candidate and uv_version(candidate) >= OLDEST_UV:
            return candidate
    return None


def uv_version(path: str) -> "tuple[int, ...]":
    """The version of a uv; `()` when the file is missing, is no uv or does not run."""
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()
    found = re.match(r"uv (\d+)\.(\d+)\.(\d+)", answer)
    return tuple(int(part) for part in found.groups()) if found else ()


def install_uv(environ: "dict[str, str]") -> str:
    """Put uv into `.uv/` and return its path. Two of these at once do not disturb each other."""
    import tempfile

    check_writable()
    say("installing uv into " + str(OWN_UV.parent) + " (once) ...")
    reasons = []
    try:
        OWN_UV.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="installing-", dir=OWN_UV.parent) as workspace:
            target = Path(workspace) / "target"
            program = target / "bin" / OWN_UV.name
            for name, commands in installers(Path(workspace) / "venv"):
                reason = run_installer(commands, target, environ)
                if reason is None and uv_version(str(program)) >= OLDEST_UV:
                    program.replace(OWN_UV)
                    return str(OWN_UV)
                reasons.append(name + ": " + (reason or "it installed no uv that runs here"))
    except OSError as error:
        raise SetupError("cannot install uv into " + str(OWN_UV.parent) + ": " + str(error)) from error
    if not reasons:
        raise SetupError(
            "cannot install uv: " + sys.executable + " has neither pip nor venv. Install one of them (on Debian and "
            "Ubuntu: apt install python3-venv) or uv itself (https://docs.astral.sh/uv), and try again."
        )
    raise SetupError(
        "cannot install uv. Is the network there? Or install uv yourself (https://docs.astral.sh/uv) and try again. "
        "Tried:\n  " + "\n  ".join(reasons)
    )


def installers(venv: Path) -> "list[tuple[str, list[list[str]]]]":
    """The ways to a pip on this machine, in the order to try: a name, and commands of which the last one is a pip."""
    from importlib.util import find_spec

    ways = []
    if find_spec("pip"):
        ways.append(("pip", [[sys.executable, "-m", "pip"]]))
    if find_spec("venv") and find_spec("ensurepip"):
        python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        ways.append(("venv", [[sys.executable, "-m", "venv", str(venv)], [str(python), "-m", "pip"]]))
    strange = shutil.which("pip3") or shutil.which("pip")
    if strange:
        # A pip of another Python will do: the wheel of uv holds a program and fits every Python.
        ways.append((strange, [[strange]]))
    return ways


def run_installer(commands: "list[list[str]]", target: Path, environ: "dict[str, str]") -> "str | None":
    """Run the commands, the last one as `pip install uv`; returns None, or why it failed.

    `--target` touches no environment: a system Python that refuses `pip install` (PEP 668) allows it.
    """
    options = ["--quiet", "--disable-pip-version-check", "--no-user", "--only-binary", ":all:", "--retries", "2"]
    install = [*commands[-1], "install", *options, "--target", str(target), UV_REQUIREMENT]
    # What the user configured is kept (mirror, proxy, certificates), but for what forbids this kind of install.
    settings = dict(environ, PIP_REQUIRE_VIRTUALENV="0", PIP_NO_INPUT="1")
    for command in [*commands[:-1], install]:
        try:
            done = subprocess.run(
                command,
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
        except OSError as error:
            return str(error)
        if done.returncode != 0:
            lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
            return lines[-1].strip() if lines else "exit code " + str(done.returncode)
    return None


# -- the environment ---------------------------------------------------------------------------------------------------


def venv_folder(environ: "dict[str, str]") -> Path:
    """Where uv keeps the environment of this project."""
    return ROOT / (environ.get("UV_PROJECT_ENVIRONMENT") or ".venv")


def ready_file(environ: "dict[str, str]") -> Path:
    """The file that says what the environment was last set up for; it comes and goes with the environment."""
    return venv_folder(environ) / ".set-up-for"


def wanted() -> str:
    """What an environment has to be set up for: this Python and these locked packages."""
    from hashlib import sha256

    digest = sha256((sys.base_prefix + "\n" + sys.version).encode("utf-8", "surrogateescape"))
    for name in ("pyproject.toml", "uv.lock"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def is_ready(environ: "dict[str, str]") -> bool:
    """Whether the environment has been set up for what is wanted now."""
    try:
        return ready_file(environ).read_text("ascii") == wanted()
    except (OSError, ValueError):
        return False


def set_up(uv: str, environ: "dict[str, str]") -> None:
    """Make the environment and compile our own packages, so that the first start is as quick as the others."""
    import compileall

    check_writable()
    folder = str(venv_folder(environ))
    say("setting up " + folder + " (once) ...")
    done = subprocess.run([uv, "sync", *uv_options()], env=trusting(environ), stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise SetupError("cannot set up " + folder + "; what uv says stands above. Is the network there?")
    for package in OWN_PACKAGES:
        compileall.compile_dir(str(ROOT / package), quiet=2)
    try:
        ready_file(environ).write_text(wanted(), "ascii")
    except OSError as error:
        raise SetupError("cannot finish setting up " + folder + ": " + str(error)) from error


def check_writable() -> None:
    """Raise `SetupError` where nothing can be installed because the checkout is read-only."""
    if not os.access(str(ROOT), os.W_OK):
        raise SetupError(str(ROOT) + " is read-only, and nothing is set up in it yet. Make it writable, or clone anew.")


def trusting(environ: "dict[str, str]") -> "dict[str, str]":
    """Let uv trust the certificates that this machine trusts, as pip and git do, unless told which to take."""
    import ssl

    chosen = {"SSL_CERT_FILE", "SSL_CERT_DIR", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS"} & set(environ)
    machine = ssl.get_default_verify_paths()
    if chosen or not (machine.cafile or machine.capath):
        return environ
    return dict(environ, UV_NATIVE_TLS="true", UV_SYSTEM_CERTS="true")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
