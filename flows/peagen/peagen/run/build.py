"""One file: whether it is up to date, what it is to contain, and what is written."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peagen.config.llm import ModelChoice
from peagen.core.answers import extract_answer
from peagen.core.cache import Answer, AnswerCache, Objects, sha, sha_of
from peagen.core.cost import Budget
from peagen.core.lock import LockEntry, LockFile, LockStore, resolved
from peagen.core.merge import NEW_SUFFIX, unified
from peagen.core.models import Model, answer_key, name_of, tokens_in
from peagen.core.plan import Decision, decide
from peagen.core.prompts import prompt_of
from peagen.core.worktree import Worktree
from peagen.errors import BudgetExceeded, ModelFailed, PathEscape, PeagenError
from peagen.run.files import Digests, Places, PlannedFile, declared, inputs_of
from peagen.run.options import FileResult, ProcessOptions, Status

if TYPE_CHECKING:
    from peagen.core.sandbox import Rendered
    from penguiflow import Context

Render = Callable[[PlannedFile], Any]
"""Gives an awaitable of `Rendered`: the file's template for COPY, its prompt for GENERATE."""


class NeedsModel(Exception):
    """In a dry run: what the file will contain is not known before a model was asked."""


@dataclass(kw_only=True)
class Generated:
    """What a file is to contain, and where that came from."""

    content: bytes | None
    """None where nothing new is generated and the earlier content is not at hand."""
    templates: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    prompt: str | None = None
    answer: str | None = None
    asked: bool = False
    cached: bool = False
    usage: Answer | None = None


@dataclass(kw_only=True)
class Builder:
    """Makes files; what they share in one run. All is used from one event loop."""

    options: ProcessOptions
    worktree: Worktree
    target: Worktree
    """Where files are written to: the work-tree, or a folder that is thrown away."""
    store: LockStore
    lock: LockFile
    cache: AnswerCache
    objects: Objects
    places: Places
    digests: Digests
    budget: Budget
    render: Render
    choice: ModelChoice | None = None
    """None where no model is named; a check can do without."""
    model: Model | None = None
    tell: Callable[[Mapping[str, Any]], None] = lambda event: None
    to_ask: list[int | None] = field(default_factory=list)
    """In a dry run: tokens of the prompts that a model would be asked; None where one cannot be rendered yet."""

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
        if generated and not (self.options.use_cache and self._same_model(entry) and self._same_prompt(file, entry)):
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
        # Asked for after all that it uses was read: these are what went into it.
        inputs = self._inputs(file, generated.templates, generated.data)
        new = LockEntry(
            project=file.project,
            template_set=file.set_name,
            type=file.process_type,
            inputs=inputs,
            key=self._key(file, inputs),
            output=decision.output,
            kept=decision.kept,
            pending=decision.pending,
            templates=generated.templates,
            data=generated.data,
            **self._about_answer(generated, entry),
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
                self.to_ask.append(None)
                raise NeedsModel from None
            raise
        used = {
            "templates": self._names(file, rendered.used_templates),
            "data": tuple(sorted({*self._names(file, rendered.used_data), *declared(file)})),
        }
        if file.process_type != "GENERATE":
            return Generated(content=rendered.text.encode(), templates=used["templates"], data=used["data"])
        generated = await self._answered(file, rendered.text, context)
        generated.templates, generated.data = used["templates"], used["data"]
        return generated

    async def _answered(self, file: PlannedFile, prompt: str, context: Context | None) -> Generated:
        entry = self.lock.files.get(file.name)
        choice = self._choice(entry)
        if choice is None:
            self.to_ask.append(tokens_in(prompt))
            raise NeedsModel
        key = answer_key(choice, prompt)
        if self.options.use_cache:
            if entry is not None and entry.prompt == key and not entry.pending:
                earlier = self._earlier(file, entry)
                if earlier is not None:
                    return replace(earlier, prompt=key)
            answer = self.cache.get(key)
            if answer is not None:
                content = self._content(file, answer)
                return Generated(content=content, prompt=key, answer=sha(answer.text), cached=True)
        if self.options.dry_run:
            self.to_ask.append(tokens_in(prompt))
            raise NeedsModel
        answer = await self._ask(file, prompt, choice, context)
        content = self._content(file, answer)
        # From here on nobody asks for it again, whatever happens to this process.
        await asyncio.to_thread(self.cache.put, key, answer)
        return Generated(content=content, prompt=key, answer=sha(answer.text), asked=True, usage=answer)

    def _earlier(self, file: PlannedFile, entry: LockEntry) -> Generated | None:
        """What was made of the same prompt before, where the cache is gone."""
        content, disk = self.objects.get(entry.output), self.worktree.read_bytes(file.name)
        if content is None and disk is not None and sha(disk) == entry.output:
            content = disk
        if content is None and (disk is None or self.options.force):
            return None
        return Generated(content=content, answer=entry.answer, cached=True)

    async def _ask(self, file: PlannedFile, prompt: str, choice: ModelChoice, context: Context | None) -> Answer:
        assert self.model is not None
        number = self.budget.reserve(choice, tokens_in(prompt))
        self.tell({"type": "file.asked", "file": file.name, "model": name_of(choice), "prompt": prompt})
        try:
            answer = await self.model.ask(
                prompt,
                purpose=file.name,
                context=context,
                on_retry=lambda attempt, error, seconds: self.tell(
                    {"type": "file.retry", "file": file.name, "attempt": attempt, "error": error, "seconds": seconds}
                ),
            )
        except BaseException:
            self.budget.release(number)
            raise
        self.budget.spend(number, answer)
        self.model.check(answer)
        return answer

    def _content(self, file: PlannedFile, answer: Answer) -> bytes:
        text = extract_answer(answer.text, file.name)
        if not text.strip():
            raise ModelFailed("the model's answer has no content for the file")
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            raise ModelFailed("the model's answer is no text that can be written as UTF-8") from error

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

    def _about_answer(self, generated: Generated, entry: LockEntry | None) -> dict[str, Any]:
        if generated.prompt is None:
            return {}
        tokens = entry.tokens if entry is not None and not generated.asked else None
        if generated.usage is not None:
            tokens = generated.usage.input_tokens, generated.usage.output_tokens
        choice = self._choice(entry)
        assert choice is not None
        return {
            "prompt": generated.prompt,
            "answer": generated.answer,
            "tokens": tokens,
            "model": name_of(choice),
            "settings": settings_of(choice),
        }

    def _choice(self, entry: LockEntry | None) -> ModelChoice | None:
        """Whom to ask; where nobody is named, a check takes whom the file is from."""
        if self.choice is not None or entry is None or entry.model is None:
            return self.choice
        provider, slash, model = entry.model.partition("/")
        settings = dict(entry.settings or {})
        return ModelChoice(provider=provider, model=model if slash else provider, **settings)

    def _same_model(self, entry: LockEntry) -> bool:
        choice = self.choice
        return choice is None or (entry.model == name_of(choice) and entry.settings == settings_of(choice))

    def _same_prompt(self, file: PlannedFile, entry: LockEntry) -> bool:
        """Whether the prompt template is the one that the file is from; its content is another question."""
        path = prompt_of(file.record, file.lookup, self.options.agent_prompt_template_file)
        return self.places.name(path, file.set_folder) in entry.templates

    def _inputs(self, file: PlannedFile, templates: tuple[str, ...], data: tuple[str, ...]) -> str:
        return inputs_of(file, templates, data, places=self.places, digests=self.digests)

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


def settings_of(choice: ModelChoice) -> dict[str, Any]:
    """What else decides an answer."""
    return {"temperature": choice.temperature, "max_tokens": choice.max_tokens}
