"""What can go wrong in Peagen: one message each, where it happened, and what to do.

PeagenError
 ├─ PayloadError ── MissingProjectsListError, ProjectsPayloadFormatError, ProjectsPayloadValidationError
 ├─ PtreeError
 ├─ DependencySortError
 ├─ UnknownFile (also a ValueError), UnknownProject (also a ValueError)
 ├─ TemplateSetNotFound
 ├─ TemplateFailed ── TemplateTooSlow, TemplateTooLarge, TemplateUnsafe
 ├─ PathEscape, WriteFailed
 ├─ ModelFailed, BudgetExceeded
 ├─ Conflict, Drift, LockFailed
 ├─ GitError, WorkspaceNotFoundError
 └─ ConfigError, InvalidPluginSpecError (also a ValueError)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class PeagenError(Exception):
    """Something that the user is told in one message; no traceback.

    `message` says what happened, `where` names the file, line or record, `hint` what to do.
    `str()` is the message alone; `report()` is what a terminal shows.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def report(self) -> str:
        """The whole of it: `where: message`, and the hint on a line of its own."""
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  {self.hint}" if self.hint else text


class PayloadError(PeagenError):
    """The projects payload cannot be used."""


class MissingProjectsListError(PayloadError):
    """The payload's root has no list of PROJECTS."""


class ProjectsPayloadFormatError(PayloadError):
    """The payload is no YAML, or is neither a mapping nor a list."""


class ProjectsPayloadValidationError(PayloadError):
    """The payload does not match its schema; `errors` holds a path and a message for each place."""

    def __init__(self, errors: Sequence[str], *, where: str = "", hint: str = "") -> None:
        shown = "\n".join(f"  - {error}" for error in errors)
        super().__init__(f"the payload does not match its schema:\n{shown}", where=where, hint=hint)
        self.errors = list(errors)


class PtreeError(PeagenError):
    """What a set's ptree rendered to is no list of file records."""


class DependencySortError(PeagenError):
    """The files cannot be put in order: some depend on each other in a circle."""


class UnknownFile(PeagenError, ValueError):
    """A file was named that no record makes."""


class UnknownProject(PeagenError, ValueError):
    """A project was named that the payload does not have."""


class TemplateSetNotFound(PeagenError):
    """No template set of that name."""


class TemplateFailed(PeagenError):
    """A template could not be rendered."""


class TemplateTooSlow(TemplateFailed):
    """A template took more time than it may."""


class TemplateTooLarge(TemplateFailed):
    """A template made more text, or took more memory, than it may."""


class TemplateUnsafe(TemplateFailed):
    """A template reached for what templates may not touch."""


class PathEscape(PeagenError):
    """A file's name leads out of the work-tree, or into what is not for generated files."""


class WriteFailed(PeagenError):
    """A file could not be written or read."""


class ModelFailed(PeagenError):
    """The model gave no usable answer."""


class BudgetExceeded(PeagenError):
    """The run would cost more tokens or money than it may."""


class Conflict(PeagenError):
    """A file was changed by a person, and would be overwritten."""


class Drift(PeagenError):
    """What is on disk is not what would be generated."""


class LockFailed(PeagenError):
    """The lock file cannot be read, or another run holds it."""


class GitError(PeagenError):
    """A git command failed, or git is not there."""


class WorkspaceNotFoundError(PeagenError):
    """A workspace was named that is not there."""


class ConfigError(PeagenError):
    """The configuration cannot be used."""


class InvalidPluginSpecError(PeagenError, ValueError):
    """A plugin was named that is not installed, or is not what it should be."""
