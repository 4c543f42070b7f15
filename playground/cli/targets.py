"""Targets before anything is loaded: a file that is not there is said at once, with what may have been meant."""

from __future__ import annotations

from pathlib import Path

from playground.cli.failures import ExitCode, Failure
from playground.project import DEFAULT_FOLDER, split_attribute

__all__ = ["check_target", "suggestion"]


def check_target(target: str) -> None:
    """Raise `Failure` (not found) for a target that names a file or folder which does not exist."""
    place = split_attribute(target)[0]
    if not place or "\0" in place:
        raise Failure("the target is empty", hint="name a file, a folder or a module")
    if ("/" in place or "\\" in place or place.endswith(".py")) and not Path(place).exists():
        raise Failure(f"no such file: {place}", ExitCode.NOT_FOUND, hint=suggestion(target))


def suggestion(target: str) -> str | None:
    """A hint with the file that was probably meant, or None."""
    from difflib import get_close_matches

    place = Path(split_attribute(target)[0])
    near = [folder for folder in (place.parent, Path(DEFAULT_FOLDER)) if folder.is_dir()]
    files = {path.stem: path for folder in near for path in sorted(folder.glob("*.py")) if _is_meant(path, place)}
    matches = get_close_matches(place.stem, list(files), n=3)
    if not matches:
        return None
    return "did you mean " + " or ".join(str(files[match]) for match in matches) + "?"


def _is_meant(path: Path, place: Path) -> bool:
    return path.stem != "__init__" and path != place and path.is_file()
