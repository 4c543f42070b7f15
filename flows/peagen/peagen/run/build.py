"""One file: whether it is up to date, what it is to contain, and what is written."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peagen.core.cache import Objects, sha, sha_of
from peagen.core.lock import LockEntry, LockFile, LockStore, resolved
from peagen.core.merge import NEW_SUFFIX, unified
from peagen.core.plan import Decision, decide
from peagen.core.prompts import prompt_of
from peagen.core.worktree import Worktree
from peagen.errors import BudgetExceeded, PathEscape, PeagenError
from peagen.run.answering import Answers, Generated, NeedsModel, Tell
from peagen.run.files import Digests, Places, PlannedFile, declared, inputs_of
from peagen.run.options import FileResult, ProcessOptions, Status

if TYPE_CHECKING:
    from peagen.core.sandbox import Rendered
    from penguiflow import Context

Render = Callable[[PlannedFile], Any]
"""Gives an awaitable of `Rendered`: the file's template for COPY, its prompt for GENERATE."""


@dataclass(kw_only=True)
class Builder:
    """Makes files; what they share in one run. All is used from one event loop."""

    options: ProcessOptions
    worktree: Worktree
    target: Worktree
    """Where files are written to: the work-tree, or a folder that is thrown away."""
    store: LockStore
    lock: LockFile
    objects: Objects
    places: Places
    digests: Digests
    render: Render
    answers: Answers
    tell: Tell

    async def build(
        self, file: PlannedFile, context: Context | None = None, known: Callable[[], None] | None = None
    ) -> FileResult:
        """Make one file. What goes wrong with it is told in the result.

        `known` is called when its content is: what is left is to write it, which waits for the disk alone.
        """
        began = time.monotonic()
        self.tell(
            {"type": "file.started", "project": file.project, "file": file.name, "process_type": file.process_type}
        )
        try:
            result = self.unchanged(file) or await self._made(file, context, known)
        except BudgetExceeded as error:
            result = self._result(file, "skipped", error=error.message, hint=error.hint)
        except PeagenError as error:
            where = error.where.removeprefix(file.name).removeprefix(", ")
            told = f"{where}: {error.message}" if where else error.message
            result = self._result(file, "failed", error=told, hint=error.hint)
        except (OSError, ValueError) as error:  # what a set or a disk can be wrong with is this file's failure alone
            result = self._result(file, "failed", error=f"{type(error).__name__}: {error}"[:500])
        result.seconds = time.monotonic() - began
        return result

    def unchanged(self, file: PlannedFile) -> FileResult | None:
        """The result for a file that is up to date, found without rendering anything; None for one that may not be.

        What it depends on must be settled. Raises `PathEscape` for a name that may not be written.
        """
        entry = self.lock.files.get(file.name)
        if entry is None or entry.type != file.process_type or entry.template_set != file.set_name:
            return None
        generated = file.process_type == "GENERATE"
        if generated and not (self.options.use_cache and self.answers.are_of(entry) and self._same_prompt(file, entry)):
            return None
        if entry.key != self._key(file, self._inputs(file, entry.templates, entry.data)):
            return None
        found = self.digests.of(self.worktree.path_of(file.name))
        if found is None:
            return None
        if entry.pending is not None and not self.options.force:
            if self.worktree.path_of(file.name + NEW_SUFFIX).exists():
                return self._result(file, "conflict")
            entry = self._keep(file, resolved(entry, entry.pending, found))
        if found == entry.output:
            return self._result(file, "unchanged")
        if self.options.force:
            return None
        if found == entry.kept:
            return self._result(file, "unchanged")
        self._keep(file, replace(entry, kept=found))
        return self._result(file, "kept")

    async def _made(self, file: PlannedFile, context: Context | None, known: Callable[[], None] | None) -> FileResult:
        self._check_name(file.name)
        try:
            generated = await self._generate(file, context)
        except NeedsModel:
            return self._result(file, "pending")
        if known is not None:
            known()
        entry, disk = self.lock.files.get(file.name), self.worktree.read_bytes(file.name)
        if generated.content is None:
            assert entry is not None
            assert disk is not None
            found = sha(disk)
            status: Status = "unchanged" if found == entry.kept else "kept"
            decision = Decision(status=status, output=entry.output, kept=found)
        else:
            decision = await asyncio.to_thread(
                decide,
                generated.content,
                disk,
                entry,
                base=self.objects.get,
                beside=self._beside(file, entry),
                force=self.options.force,
            )
        new = LockEntry(
            project=file.project,
            template_set=file.set_name,
            type=file.process_type,
            inputs=generated.inputs,
            key=self._key(file, generated.inputs),
            output=decision.output,
            kept=decision.kept,
            pending=decision.pending,
            templates=generated.templates,
            data=generated.data,
            **self.answers.about(generated, entry),
        )
        await _to_its_end(self._write, file, decision, new, generated.content)
        result = self._result(file, decision.status, asked=generated.asked, cached=generated.cached)
        if generated.usage is not None:
            result.input_tokens, result.output_tokens = generated.usage.input_tokens, generated.usage.output_tokens
            result.cost = generated.usage.cost
        if self.options.diff:
            after = decision.write if decision.write is not None else decision.beside
            result.diff = "" if after is None else unified(file.name, disk, after)
        return result

    async def _generate(self, file: PlannedFile, context: Context | None) -> Generated:
        try:
            rendered: Rendered = await self.render(file)
        except PeagenError:
            if self.options.dry_run and file.process_type == "GENERATE":
                # What it includes is perhaps not there yet: it is to be generated, too.
                self.answers.to_ask.append(None)
                raise NeedsModel from None
            raise
        read = {**rendered.used_templates, **rendered.used_data}
        known = {self.places.name(Path(path), file.set_folder): digest for path, digest in read.items()}
        templates = self._names(file, rendered.used_templates)
        data = tuple(sorted({*self._names(file, rendered.used_data), *declared(file)}))
        # Now, and as they were read: while a model answers they may be changed.
        inputs = self._inputs(file, templates, data, known)
        if file.process_type == "COPY":
            generated = Generated(content=rendered.text.encode())
        else:
            generated = await self.answers.get(file, rendered.text, self.lock.files.get(file.name), context)
        generated.templates, generated.data, generated.inputs = templates, data, inputs
        return generated

    def _write(self, file: PlannedFile, decision: Decision, entry: LockEntry, content: bytes | None) -> None:
        """Write what was decided. Killed at any point, the next run finds either the old state or the new one."""
        if not self.options.dry_run:
            if content is not None and decision.pending is None:
                self.objects.put(content)
            if decision.write is not None:
                self.store.note(file.name, entry)
            if decision.beside is not None:
                self.worktree.write(file.name + NEW_SUFFIX, decision.beside)
            self._clear_beside(file, decision)
        if decision.write is not None:
            self.target.write(file.name, decision.write, executable=_is_executable(file) or None)
        self._keep(file, entry)

    def _beside(self, file: PlannedFile, entry: LockEntry | None) -> bytes | None:
        """What a conflict laid there."""
        if entry is None or entry.pending is None:
            return None
        return self.worktree.read_bytes(file.name + NEW_SUFFIX)

    def _clear_beside(self, file: PlannedFile, decision: Decision) -> None:
        """What an earlier conflict laid there is of no use once the conflict is gone."""
        entry = self.lock.files.get(file.name)
        beside = self._beside(file, entry) if decision.pending is None else None
        if beside is not None and entry is not None and sha(beside) == entry.pending:
            self.worktree.remove(file.name + NEW_SUFFIX)

    def _keep(self, file: PlannedFile, entry: LockEntry) -> LockEntry:
        self.lock.files[file.name] = entry
        return entry

    def _same_prompt(self, file: PlannedFile, entry: LockEntry) -> bool:
        """Whether the prompt template is the one that the file is from; its content is another question."""
        path = prompt_of(file.record, file.lookup, self.options.agent_prompt_template_file)
        return self.places.name(path, file.set_folder) in entry.templates

    def _inputs(
        self,
        file: PlannedFile,
        templates: tuple[str, ...],
        data: tuple[str, ...],
        known: Mapping[str, str] | None = None,
    ) -> str:
        used: dict[str, str | None] = dict(known or {})
        for name in (*templates, *data):
            if name not in used:
                used[name] = self.digests.of(self.places.path(name, file.set_folder))
        return inputs_of(file, used)

    def _key(self, file: PlannedFile, inputs: str) -> str:
        prompt_file = self.options.agent_prompt_template_file if file.process_type == "GENERATE" else None
        return sha_of([inputs, file.shared_digest, str(prompt_file or "")])

    def _names(self, file: PlannedFile, used: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(sorted({self.places.name(Path(path), file.set_folder) for path in used}))

    def _check_name(self, name: str) -> None:
        self.worktree.path_of(name)
        if name.casefold().endswith(NEW_SUFFIX):
            raise PathEscape(f"names that end in {NEW_SUFFIX} are for what could not be merged", where=name)

    def _result(self, file: PlannedFile, status: Status, **more: Any) -> FileResult:
        return FileResult(
            project=file.project,
            name=file.name,
            status=status,
            process_type=file.process_type,
            record=file.record,
            **more,
        )


async def _to_its_end(function: Callable[..., None], *arguments: Any) -> None:
    """Call in a thread; who is cancelled meanwhile waits for it: what is written and what is known go together."""
    writing = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing])
        raise


def _is_executable(file: PlannedFile) -> bool:
    """What is copied from something executable is executable."""
    return file.process_type == "COPY" and os.access(file.lookup.template(file.record), os.X_OK)
