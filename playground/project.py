"""Where a project begins, and where its state is kept."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from penguiflow.recording.masking import MaskingRules

PROJECT_FILE = "pyproject.toml"
HOME_VARIABLE = "PENGUIFLOW_HOME"
STORE_VARIABLE = "PENGUIFLOW_STORE"
"""Address of the store; `--store` sets it, for the processes that are started as well."""
BUS_VARIABLE = "PENGUIFLOW_BUS"
"""Address of the bus of distributed flows; `--bus` sets it, likewise."""
DEFAULT_FOLDER = "flows"
STORE_SCHEMES = ("postgresql://", "postgres://")
FILE_SCHEME = "sqlite:///"
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""How an address begins that is no file's: `memory:`, `mysql://`. One letter is a drive."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class ProjectError(Exception):
    """The project cannot be used as it is; the text says what to change."""


class Project(NamedTuple):
    """One folder of code, with the place of its state."""

    root: Path
    """Absolute; nearest folder upward with a pyproject.toml, else the working directory."""
    home: Path
    """`.penguiflow` in the root, or the folder that `PENGUIFLOW_HOME` names. It may not exist yet."""

    @property
    def database(self) -> Path:
        """The SQLite file that keeps the project's traces: its own, or the one that is named as its store."""
        given = self._address(STORE_VARIABLE, "store", "postgresql://host/database")[0]
        if given is None or given.startswith(STORE_SCHEMES):
            return self.home / "state.db"
        return self.root / given.removeprefix(FILE_SCHEME)

    def store_address(self) -> str | None:
        """Where the project's traces are kept if not in a file: the address of a PostgreSQL server.

        It is what `PENGUIFLOW_STORE` says, else `[tool.penguiflow] store` of pyproject.toml, where `${NAME}` stands for
        a variable of the environment: passwords belong there. A file may be named as well, by its path or
        `sqlite:///path`; from the project's root where it is relative. Raises `ProjectError` for other addresses.
        """
        given, origin = self._address(STORE_VARIABLE, "store", "postgresql://host/database")
        if given is None:
            return None
        if not given.startswith(STORE_SCHEMES):
            if not SCHEME.match(given.removeprefix(FILE_SCHEME)):
                return None
            known = f"{STORE_SCHEMES[0]}… or {FILE_SCHEME}FILE"
            said = f"--store or {origin}" if origin == STORE_VARIABLE else origin
            raise ProjectError(f"{said} is no address of a store: give {known}")
        if find_spec("asyncpg") is None:
            raise ProjectError('a store in PostgreSQL needs asyncpg: pip install "penguiflow[postgres]"')
        return given

    def bus_address(self) -> str | None:
        """Where the edges of the project's distributed flows are, if it says so; found as `store_address` is.

        A flow that has a bus of its own keeps that, unless `PENGUIFLOW_BUS` (or `--bus`) names another. Raises
        `ProjectError` when it is no address.
        """
        return self._address(BUS_VARIABLE, "bus", "redis://host:6379/0")[0]

    def _address(self, variable: str, key: str, example: str) -> tuple[str | None, str]:
        """What the variable says, else the key of pyproject.toml; and which of them it was."""
        given: object = os.environ.get(variable)
        if given:
            return str(given), variable
        origin = f"{self.root / PROJECT_FILE}: [tool.penguiflow] {key}"
        given = self._configuration().get(key)
        if given is None:
            return None, origin
        if not isinstance(given, str):
            raise ProjectError(f"{origin} must be an address, like '{example}' or '${{NAME}}'")
        return _VARIABLE.sub(lambda found: _variable(found[1], origin), given), origin

    def default_targets(self) -> list[str]:
        """What is loaded when nothing is named: `flows/`, then `[tool.penguiflow] flows` of pyproject.toml.

        Raises `ProjectError` when pyproject.toml cannot be read.
        """
        targets = [DEFAULT_FOLDER] if (self.root / DEFAULT_FOLDER).is_dir() else []
        configured = self._configuration().get("flows", [])
        named = [configured] if isinstance(configured, str) else configured
        if not isinstance(named, list) or not all(isinstance(item, str) for item in named):
            raise ProjectError(
                f"{self.root / PROJECT_FILE}: [tool.penguiflow] flows must be a list of paths or modules"
            )
        return targets + [item for item in named if item.rstrip("/") not in targets]

    def masking_rules(self) -> MaskingRules:
        """What is a secret: the usual, and what `[tool.penguiflow.masking]` says of `keys`, `environment`, `harmless`.

        Raises `ProjectError` when that is not lists of names.
        """
        from penguiflow.recording.masking import KEYS, MaskingRules

        section = self._configuration().get("masking", {})
        found: dict[str, list[str]] = {}
        for name in ("keys", "environment", "harmless"):
            names = section.get(name, []) if isinstance(section, dict) else None
            if not isinstance(names, list) or not all(isinstance(item, str) and item for item in names):
                raise ProjectError(
                    f"{self.root / PROJECT_FILE}: [tool.penguiflow.masking] {name} must be a list of names"
                )
            found[name] = names
        return MaskingRules([*KEYS, *found["keys"]], found["environment"], found["harmless"])

    def log_level(self) -> int | None:
        """From which level on what nodes log is kept in their traces; None for not at all.

        `[tool.penguiflow.recording] logs` is the name of a level, or true (the default: all that the loggers let
        through) or false. Raises `ProjectError` when it is something else.
        """
        import logging

        section = self._configuration().get("recording", {})
        wanted = section.get("logs", True) if isinstance(section, dict) else None
        if isinstance(wanted, bool):
            return logging.NOTSET if wanted else None
        known = logging.getLevelNamesMapping()
        if not isinstance(wanted, str) or wanted.upper() not in known:
            raise ProjectError(
                f"{self.root / PROJECT_FILE}: [tool.penguiflow.recording] logs must be true, false or the name of a "
                "level, like 'INFO'"
            )
        return known[wanted.upper()]

    def check(self) -> None:
        """Look at all that the project's file says of recording. Raises `ProjectError`."""
        self.masking_rules()
        self.log_level()
        self.store_address()
        self.bus_address()

    def _configuration(self) -> dict[str, Any]:
        import tomllib

        path = self.root / PROJECT_FILE
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ProjectError(f"{path} cannot be read: {error}") from None
        section = content.get("tool", {}).get("penguiflow", {})
        return section if isinstance(section, dict) else {}


def find_project(targets: Sequence[str] = (), *, cwd: Path | None = None) -> Project:
    """The project of the first target that is a file or folder, else that of the working directory."""
    here = (cwd or Path.cwd()).absolute()
    start = here
    for target in targets:
        path = here / split_attribute(target)[0]
        if path.exists():
            start = path if path.is_dir() else path.parent
            break
    start = Path(os.path.normpath(start))
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file():
            return project_at(folder)
    return project_at(here)


def project_at(root: Path) -> Project:
    """The project whose root is this folder."""
    moved = os.environ.get(HOME_VARIABLE)
    return Project(root, Path(moved).expanduser().absolute() if moved else root / ".penguiflow")


def _variable(name: str, origin: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ProjectError(f"{origin} needs the variable {name}, which is not set")
    return value


def split_attribute(target: str) -> tuple[str, str | None]:
    """Take `place:attribute` apart; a drive letter is no place."""
    place, colon, attribute = target.rpartition(":")
    if colon and len(place) > 1 and (attribute.isidentifier() or not attribute):
        return place, attribute or None
    return target, None
