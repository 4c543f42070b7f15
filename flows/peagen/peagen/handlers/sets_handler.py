"""`peagen local template-set …`: what there is, and what is added and removed.

Sets are files, so none of their code has to run to add them: a folder is copied, an archive or wheel is unpacked, and
what an index has is downloaded as a wheel and unpacked. What was added, from where, and its hash is noted beside them.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peagen.core.lookup import PTREE, TemplateSet, TemplateSets, set_roots, sets_home
from peagen.errors import PeagenError, TemplateSetNotFound
from peagen.handlers.archives import is_archive, unpack
from peagen.handlers.distributions import SetFolder, installed_sets, is_set_name, sets_of_project

RECORD = "sets.json"
_INSTALL_S = 600.0


class TemplateSetProblem(PeagenError):
    """A template set cannot be added or removed."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is added."""

    name: str
    """As it is written: a folder, an archive, a wheel, or the name of a distribution with or without a version."""
    bundle: Path | None = None
    editable: bool = False
    force: bool = False
    may_run_code: Callable[[str], bool] = lambda _: False
    """Asked, with the reason, before anything of the set's own code runs."""


def list_sets(worktree: Path) -> list[TemplateSet]:
    """All sets, by name."""
    return list(TemplateSets(set_roots(worktree)).all().values())


def show_set(name: str, worktree: Path) -> dict[str, Any]:
    """One set: where it is, its files, its hash, and which ones it hides."""
    found = TemplateSets(set_roots(worktree)).find(name)
    if not found.ptree.is_file():
        raise TemplateSetNotFound(f"Template-set '{name}' not found", hint=f"{found.folder} has no {PTREE}.")
    return {
        "name": found.name,
        "location": str(found.folder),
        "source": found.source,
        "digest": f"sha256:{found.digest}",
        "files": list(found.files),
        "other_locations": [str(folder) for folder in found.other_locations],
        **({"added": record} if (record := read_record().get(name)) and _is_ours(found.folder) else {}),
    }


def add_set(source: Source) -> list[dict[str, Any]]:
    """Add the sets of a source; returns what was noted of each.

    Raises:
        TemplateSetProblem: it has no sets, one is there already, or its code would have to run.
    """
    home = sets_home()
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".adding-", dir=home) as temporary:
        found, about = _found(source, Path(temporary))
        taken = [each.name for each in found if os.path.lexists(home / each.name)]
        if taken and not source.force:
            raise TemplateSetProblem(f"{', '.join(taken)} is there already", hint="--force replaces it")
        noted = [_put(each, about, home, Path(temporary), link=source.editable) for each in found]
    record = read_record()
    _write_record({**record, **{each["name"]: each for each in noted}})
    return noted


def remove_set(name: str, worktree: Path, *, may_run: Callable[[str], bool]) -> dict[str, Any]:
    """Remove a set that was added, or uninstall the distribution that brings it.

    Raises:
        TemplateSetProblem: it is bundled, or a folder of the work-tree; or nobody said yes.
        TemplateSetNotFound: there is none of that name.
    """
    found = TemplateSets(set_roots(worktree)).find(name)
    if not is_set_name(name):
        raise TemplateSetProblem(f"{name!r} was not added with `template-set add`", hint="delete it yourself")
    place = sets_home() / name
    if found.source == "bundled" and not os.path.lexists(place):
        raise TemplateSetProblem("Cannot uninstall bundled template-set")
    if found.source == "entry point" and found.distribution:
        if not may_run(f"uninstall {found.distribution}?"):
            raise TemplateSetProblem("nothing was removed", hint="--yes removes without asking")
        _install(["uninstall", *_yes(), found.distribution])
        return {"name": name, "removed": found.distribution}
    if not os.path.lexists(place):
        raise TemplateSetProblem(f"{found.folder} was not added with `template-set add`", hint="delete it yourself")
    if not may_run(f"remove {place}?"):
        raise TemplateSetProblem("nothing was removed", hint="--yes removes without asking")
    _delete(place)
    record = read_record()
    record.pop(name, None)
    _write_record(record)
    return {"name": name, "removed": str(place)}


def read_record() -> dict[str, dict[str, Any]]:
    """What was added: by name, where it comes from and its hash."""
    try:
        found = json.loads((sets_home() / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _found(source: Source, temporary: Path) -> tuple[list[SetFolder], dict[str, Any]]:
    """The folders of the sets in a source, and what is known of it."""
    given = source.bundle or Path(source.name).expanduser()
    if given.is_dir():
        folder = given.resolve()
        return _in_folder(folder, folder.name, source, temporary), {"type": "local", "source": str(folder)}
    if source.editable:
        raise TemplateSetProblem("only a folder can be added with -e", where=source.name)
    if given.is_file():
        about = {"type": "bundle", "source": str(given.resolve())}
        about["sha256"] = hashlib.sha256(given.read_bytes()).hexdigest()
        if not is_archive(given):
            raise TemplateSetProblem("it is no folder, zip, tar or wheel", where=str(given))
        unpack(given, temporary / "archive")
        if given.suffix == ".whl":
            return _some(installed_sets(temporary / "archive"), source.name), about
        folder = _only_folder(temporary / "archive")
        name = given.name.partition(".")[0] if folder.name == "archive" else folder.name
        return _in_folder(folder, name, source, temporary), about
    if os.path.lexists(given):
        raise TemplateSetProblem("it cannot be read", where=str(given))
    if source.bundle is not None or "/" in source.name or os.sep in source.name or source.name.startswith("."):
        raise TemplateSetProblem(f"there is nothing at {given}")
    return _from_index(source, temporary)


def _in_folder(folder: Path, name: str, source: Source, temporary: Path) -> list[SetFolder]:
    """A folder is a set, holds sets, or is a Python project that declares them."""
    if (folder / PTREE).is_file():
        if not is_set_name(name):
            raise TemplateSetProblem(f"a set cannot be called {name!r}", where=str(folder))
        return [SetFolder(name, folder)]
    if declared := sets_of_project(folder):
        return declared
    inner = [SetFolder(each.name, each) for each in sorted(folder.iterdir()) if (each / PTREE).is_file()]
    if inner:
        return inner
    if not any((folder / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise TemplateSetProblem(f"no folder with a {PTREE} is in it", where=str(folder))
    # Only its build knows its entry points.
    if not source.may_run_code(f"{folder} has to be built, which runs its code"):
        raise TemplateSetProblem("it has to be built, which runs its code", where=str(folder), hint="--yes allows it")
    target = temporary / "built"
    _install(["install", "--no-deps", "--target", str(target), str(folder)])
    return _some(installed_sets(target), source.name)


def _from_index(source: Source, temporary: Path) -> tuple[list[SetFolder], dict[str, Any]]:
    if source.name.startswith("-"):
        raise TemplateSetProblem(f"{source.name!r} is no name of a distribution")
    target = temporary / "wheel"
    # A wheel is only unpacked; nothing of it runs.
    _install(["install", "--no-deps", "--only-binary", ":all:", "--target", str(target), source.name])
    found = _some(installed_sets(target), source.name)
    about = {"type": "pip", "source": source.name, "distribution": found[0].distribution, "version": found[0].version}
    return found, about


def _some(found: list[SetFolder], name: str) -> list[SetFolder]:
    if not found:
        raise TemplateSetProblem("it declares no template sets", where=name)
    return found


def _only_folder(folder: Path) -> Path:
    inner = list(folder.iterdir())
    alone = len(inner) == 1 and inner[0].is_dir() and not (folder / PTREE).is_file()
    return inner[0] if alone and not (folder / "pyproject.toml").is_file() else folder


def _put(each: SetFolder, about: Mapping[str, Any], home: Path, temporary: Path, *, link: bool) -> dict[str, Any]:
    place, new = home / each.name, temporary / f"new-{each.name}"
    if link:
        new.symlink_to(each.folder, target_is_directory=True)
    else:
        ignored = shutil.ignore_patterns("__pycache__", ".git", ".venv", "*.pyc", ".peagen")
        shutil.copytree(each.folder, new, ignore=ignored, symlinks=True)
    if os.path.lexists(place):
        place.rename(temporary / f"old-{each.name}")
    new.rename(place)
    digest = TemplateSet(each.name, place.resolve(), "folder").digest
    return {"name": each.name, **about, "editable": link, "digest": f"sha256:{digest}"}


def _install(arguments: list[str]) -> None:
    """Run uv, or pip where there is no uv."""
    uv = shutil.which("uv")
    if uv is None and importlib.util.find_spec("pip") is None:
        raise TemplateSetProblem(
            "neither uv nor pip is there to get it", hint="install uv, or name a folder or a wheel"
        )
    for_this = ["--python", sys.executable] if "--target" not in arguments else []
    command = [uv, "pip", arguments[0], *for_this, *arguments[1:]] if uv else [sys.executable, "-m", "pip", *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - an argument list; names that look like options are refused before
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise TemplateSetProblem(f"{Path(command[0]).name} took more than {_INSTALL_S:.0f} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        tool = "uv" if uv else "pip"
        raise TemplateSetProblem(f"{tool} failed: {' '.join(said[-3:])}"[:600], where=arguments[-1])


def _yes() -> list[str]:
    return [] if shutil.which("uv") else ["--yes"]


def _delete(place: Path) -> None:
    if place.is_symlink():
        place.unlink()
    else:
        shutil.rmtree(place)


def _is_ours(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return any(each.resolve() == folder for each in sets_home().iterdir())
    return False


def _write_record(record: Mapping[str, Any]) -> None:
    path = sets_home() / RECORD
    temporary = path.with_name(f".{RECORD}.{os.getpid()}")
    temporary.write_text(json.dumps(record, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)
