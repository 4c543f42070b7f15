"""What a run is asked for, and what it tells when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from peagen.core.cost import Estimate
from peagen.core.records import FileRecord

Status = Literal["created", "updated", "merged", "unchanged", "kept", "conflict", "pending", "failed", "skipped"]
"""What became of a file.

- `created`, `updated`: written. In a dry run: would be.
- `merged`: a person's changes and the template's are both in it now.
- `unchanged`: it was as it is to be.
- `kept`: a person changed it, and nothing new was generated; left alone.
- `conflict`: a person changed it, and so did what is generated: that lies beside it, as `<name>.peagen-new`.
- `pending`: in a dry run, a model would have to be asked to know.
- `failed`, `skipped`: it could not be made; a file that it depends on could not.
"""
CHANGED: frozenset[Status] = frozenset({"created", "updated", "merged"})
BAD: frozenset[Status] = frozenset({"conflict", "failed", "skipped"})

OnEvent = Callable[[Mapping[str, Any]], None]
"""Gets what happens in a run, as it happens: mappings with `type`, and what belongs to it.

`process.started` (`projects`, `files`, `estimate`), `file.started` (`project`, `file`, `process_type`), `file.asked`
(`file`, `model`, `prompt`), `file.retry` (`file`, `attempt`, `error`, `seconds`), `file.done` (`project`, `file`,
`status`, `done`, `files`, `error`, `tokens`, `cost`), `process.done` (`seconds`, `counts`).
"""


@dataclass(frozen=True, kw_only=True)
class ProcessOptions:
    """How a run goes."""

    worktree: Path
    """The folder that files are generated into."""
    workers: int = 0
    """Files that are worked on at once; 0 and 1: one after the other."""
    start_idx: int = 0
    start_file: str | None = None
    transitive: bool = False
    """With `start_file`: only that file and what it needs. These three are as in `sort_file_records`."""
    project_name: str | None = None
    """Only this project of the payload."""
    agent_env: Mapping[str, Any] = field(default_factory=dict)
    provider: str | None = None
    model_name: str | None = None
    agent_prompt_template_file: Path | None = None
    """Takes the place of every record's prompt template."""
    template_base: tuple[Path, ...] = ()
    """Further folders in which template sets are looked for."""
    template_set: str | None = None
    """For projects that name none."""
    force: bool = False
    """Overwrite what a person changed."""
    dry_run: bool = False
    """Ask no model, write nothing; tell what would happen."""
    diff: bool = False
    """Have each result tell its change as a unified diff."""
    use_cache: bool = True
    """Take answers that were given before; False asks again."""
    max_cost: float | None = None
    """US dollars for the whole run."""
    max_tokens: int | None = None
    """Tokens of prompts and answers for the whole run."""
    vcs: Any | None = None
    """Commits what was written, by project: `commit(paths, message)`, as `peagen.plugins.protocols.Vcs` has it."""
    push: bool = False
    """Push the branch after a commit, where it has a remote."""
    config: Any | None = None
    """`peagen.config.Config`; by default that of the work-tree."""
    publisher: Any | None = None
    """Told of the run: `publish(channel, event)`."""
    channel: str = "peagen.events"
    storage: Any | None = None
    """Gets a copy of every file: `upload(key, file)`."""
    record: Path | None = None
    """A database that the run is recorded in, for `pf traces` and `pf tui`."""
    model_retries: int | None = None
    model_backoff_s: float | None = None


@dataclass(kw_only=True)
class FileResult:
    """What became of one file."""

    project: str
    name: str
    status: Status
    process_type: str = "COPY"
    error: str = ""
    hint: str = ""
    because: str = ""
    """For a file that was skipped: the one that failed."""
    asked: bool = False
    """Whether a model was asked in this run."""
    cached: bool = False
    """Whether an answer was there from before."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    seconds: float = 0.0
    diff: str = ""
    record: FileRecord = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """As plain data, without what does not apply."""
        said: dict[str, Any] = {"file": self.name, "status": self.status, "process_type": self.process_type}
        for name in ("error", "hint", "because", "diff", "asked", "cached", "input_tokens", "output_tokens", "cost"):
            value = getattr(self, name)
            if value or (name == "cost" and value is not None):
                said[name] = value
        return said


@dataclass(kw_only=True)
class Report:
    """What a run did."""

    files: dict[str, list[FileResult]] = field(default_factory=dict)
    """By project, in the order of the files."""
    orphaned: list[str] = field(default_factory=list)
    """Files that were generated once, and that no record makes any longer."""
    seconds: float = 0.0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = 0.0
    """In US dollars; None when that of a call is not known."""
    estimate: Estimate | None = None
    commit: str | None = None
    commits: list[str] = field(default_factory=list)
    oids: list[str] = field(default_factory=list)
    """Of git, for what was committed."""
    next_idx: dict[str, int] = field(default_factory=dict)
    trace_id: str | None = None
    warnings: list[str] = field(default_factory=list)
    incomplete: bool = False
    """Whether what was to be done with the files afterwards, a commit or copies, failed; `warnings` tell."""

    @property
    def results(self) -> list[FileResult]:
        """Of all projects."""
        return [result for results in self.files.values() for result in results]

    def of(self, *statuses: Status) -> list[FileResult]:
        """Those that ended so."""
        return [result for result in self.results if result.status in statuses]

    @property
    def counts(self) -> dict[str, int]:
        """How many files ended how."""
        return dict(sorted(Counter(result.status for result in self.results).items()))

    @property
    def processed(self) -> dict[str, list[FileRecord]]:
        """The records of files that are there now, by project."""
        return {
            project: [result.record for result in results if result.status not in {"failed", "skipped"}]
            for project, results in self.files.items()
        }

    @property
    def failed(self) -> list[FileResult]:
        """Files that could not be made."""
        return self.of("failed")

    @property
    def skipped(self) -> list[FileResult]:
        """Files that depend on those."""
        return self.of("skipped")

    @property
    def unchanged(self) -> list[FileResult]:
        """Files that were as they are to be."""
        return self.of("unchanged")

    @property
    def conflicts(self) -> list[FileResult]:
        """Files that a person has to look at."""
        return self.of("conflict")

    @property
    def drift(self) -> list[tuple[str, str]]:
        """In a check: what is not as it would be generated, and why."""
        why = {
            "created": "it is missing",
            "updated": "it is out of date",
            "merged": "it is out of date, and was changed by hand",
            "kept": "it was changed by hand since the last run",
            "conflict": "it was changed by hand, and what would be generated changed too",
            "pending": "it is out of date: a model would have to be asked",
        }
        found = [(each.name, why[each.status]) for each in self.results if each.status in why]
        found += [(each.name, each.error or "it cannot be made") for each in self.of("failed", "skipped")]
        return found + [(name, "no record makes it any longer") for name in self.orphaned]

    @property
    def exit_code(self) -> int:
        """0 where every file is as it is to be, and where it is to be, else 1."""
        return int(self.incomplete or any(result.status in BAD for result in self.results))

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        return {
            "processed": self.processed,
            "commit": self.commit,
            "oids": self.oids,
            "files": {project: [each.to_json() for each in results] for project, results in self.files.items()},
            "counts": self.counts,
            "orphaned": self.orphaned,
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost": self.cost,
            "estimate": None if self.estimate is None else self.estimate.to_json(),
            "seconds": round(self.seconds, 3),
            "warnings": self.warnings,
        }
