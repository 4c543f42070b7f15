"""A run: projects one after the other, the files of each by their dependencies."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peagen.config.llm import ModelChoice
from peagen.core.cache import AnswerCache, Objects
from peagen.core.cost import Budget, estimate
from peagen.core.lock import STATE_DIR, LockFile, LockStore
from peagen.core.lookup import TemplateSets, set_roots
from peagen.core.models import BACKOFF_S, RETRIES, Model
from peagen.core.prompts import render_copy, render_prompt
from peagen.core.sandbox import Rendered, Renderer
from peagen.core.worktree import Worktree
from peagen.errors import PeagenError
from peagen.run.answering import Answers
from peagen.run.build import Builder
from peagen.run.files import Digests, Places, PlannedFile
from peagen.run.keeping import commit, upload
from peagen.run.options import CHANGED, FileResult, OnEvent, ProcessOptions, Report
from peagen.run.planning import Planner, ProjectRun

if TYPE_CHECKING:
    from penguiflow import Context


class Run:
    """What a run has in hand; `Run.begun` opens one."""

    def __init__(self, options: ProcessOptions, renderer: Renderer, overlay: Path | None, on_event: OnEvent | None):
        """Use `Run.begun`."""
        root = options.worktree.resolve()
        self.options = options
        self.report = Report()
        self.projects: list[ProjectRun] = []
        self._renderer = renderer
        self._overlay = overlay
        self._on_event = on_event
        self._began = time.monotonic()
        self._done = 0
        self._store = LockStore(root)
        self._lock = LockFile()
        self._objects = Objects(root)
        self._worktree = Worktree(root)
        self._budget = Budget(max_tokens=options.max_tokens, max_cost=options.max_cost)
        self._builder: Builder | None = None
        self._planner: Planner | None = None
        self._made = False
        """Whether anything was made in this run, or in one that did not come to its end."""

    @classmethod
    @contextlib.asynccontextmanager
    async def begun(
        cls, projects: Sequence[Mapping[str, Any]], options: ProcessOptions, on_event: OnEvent | None = None
    ) -> AsyncIterator[Run]:
        """A run whose files are planned; what it learnt is kept, however it ends.

        Raises `PeagenError` where it cannot begin: no such project, no template set, a circle, another run at work.
        """
        async with contextlib.AsyncExitStack() as stack:
            renderer = await stack.enter_async_context(Renderer())
            overlay = None
            if options.dry_run:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="peagen-dry-"))
                overlay = await asyncio.to_thread(Path(folder).resolve)
            run = cls(options, renderer, overlay, on_event)
            if not options.dry_run:
                options.worktree.mkdir(parents=True, exist_ok=True)
                stack.enter_context(run._store.held())
            run._lock = run._store.load()
            await run._plan(projects)
            try:
                yield run
            finally:
                run._save()

    async def _plan(self, projects: Sequence[Mapping[str, Any]]) -> None:
        options, root = self.options, self._worktree.root
        planner = Planner(
            options=options,
            renderer=self._renderer,
            sets=TemplateSets(set_roots(root, options.template_base)),
            root=root,
            overlay=self._overlay,
            keep_in=None if options.dry_run else root / STATE_DIR,
            made=set(self._lock.files),
        )
        self.projects = await planner.plan(projects)
        self.report.warnings += planner.warnings
        self._worktree = Worktree(root, closed=tuple(planner.used))
        files = [file for each in self.projects for file in each.files.values()]
        asks = any(isinstance(file, PlannedFile) and file.process_type == "GENERATE" for file in files)
        choice = self._choice() if asks else None
        answers = Answers(
            options=options,
            worktree=self._worktree,
            cache=AnswerCache(root),
            objects=self._objects,
            budget=self._budget,
            choice=choice,
            model=None if choice is None else self._model(choice),
            places=asyncio.Semaphore(max(options.workers, 1)),
            tell=self.tell,
        )
        self._builder = Builder(
            options=options,
            worktree=self._worktree,
            target=self._worktree if self._overlay is None else Worktree(self._overlay),
            store=self._store,
            lock=self._lock,
            objects=self._objects,
            places=Places(root, self._overlay),
            digests=Digests(),
            render=self._render,
            answers=answers,
            tell=self.tell,
        )
        self._planner = planner
        if not options.dry_run and self._store.was_interrupted():
            self._made = True
            self._sweep()

    def _choice(self) -> ModelChoice | None:
        options = self.options
        config = options.config
        if config is None:
            from peagen.config import load_config

            config = load_config(None, self._worktree.root)
        try:
            choice: ModelChoice = config.llm.resolve(options.agent_env, options.provider, options.model_name)
        except PeagenError:
            if options.dry_run:  # without a model it can be told, too, which files are out of date
                return None
            raise
        return choice

    def _model(self, choice: ModelChoice) -> Model:
        retries, backoff = self.options.model_retries, self.options.model_backoff_s
        return Model(
            choice,
            retries=RETRIES if retries is None else retries,
            backoff_s=BACKOFF_S if backoff is None else backoff,
        )

    async def _render(self, file: PlannedFile) -> Rendered:
        if file.process_type == "COPY":
            return await render_copy(file.context, file.record, file.lookup, self._renderer)
        prompt_file = self.options.agent_prompt_template_file
        return await render_prompt(file.context, file.record, file.lookup, self._renderer, prompt_file=prompt_file)

    def _sweep(self) -> None:
        """Take away what a run that was killed left half written."""
        names = []
        for project in self.projects:
            for name in project.order:
                with contextlib.suppress(PeagenError):
                    self._worktree.path_of(name)
                    names.append(name)
        self._worktree.sweep(names)

    # -- while it goes on --------------------------------------------------------------------------------------------

    def tell(self, event: Mapping[str, Any]) -> None:
        """Tell whoever listens."""
        if self._on_event is not None:
            self._on_event(event)

    def begin(self) -> None:
        """Say what is ahead."""
        self.tell({"type": "process.started", "projects": [each.name for each in self.projects], "files": self._total})

    @property
    def _total(self) -> int:
        return sum(len(each.order) for each in self.projects)

    def look_over(self, project: ProjectRun) -> bool:
        """Settle the files that are up to date, by what the lock file knows. Returns whether any is left."""
        assert self._builder is not None
        unsettled = set(project.order)
        for name in project.order:
            file = project.files[name]
            if isinstance(file, PeagenError) or not unsettled.isdisjoint(project.graph.parents[name]):
                continue
            with contextlib.suppress(PeagenError):  # told when it is its turn
                result = self._builder.unchanged(file)
                if result is not None:
                    unsettled.discard(name)
                    self._settle(project, result)
        return bool(unsettled)

    async def make(
        self,
        project: ProjectRun,
        name: str,
        context: Context | None = None,
        known: Callable[[], None] | None = None,
    ) -> bool:
        """Make one file; see `Builder.build`. Returns whether what depends on it can be made."""
        assert self._builder is not None
        self._made = True
        file = project.files[name]
        if isinstance(file, PeagenError):
            result = project.result(name, "failed", error=file.message, hint=file.hint)
        elif self._waits_for_a_model(project, file):
            self._builder.answers.to_ask.append(None)
            result = project.result(name, "pending")
        else:
            result = await self._builder.build(file, context, known)
        self._settle(project, result)
        return result.status not in {"failed", "skipped"}

    def lose(self, project: ProjectRun, name: str, because: str) -> None:
        """A file cannot be made, for another one could not."""
        error = f"it depends on {because}, which could not be made"
        self._settle(project, project.result(name, "skipped", because=because, error=error))

    def _waits_for_a_model(self, project: ProjectRun, file: PlannedFile) -> bool:
        """In a dry run: whether its prompt is not known, for a file that it includes is not."""
        if not self.options.dry_run or file.process_type != "GENERATE":
            return False
        parents = (project.results.get(parent) for parent in project.graph.parents[file.name])
        return any(parent is not None and parent.status == "pending" for parent in parents)

    def _settle(self, project: ProjectRun, result: FileResult) -> None:
        project.results[result.name] = result
        self._done += 1
        self.tell(
            {
                "type": "file.done",
                "project": project.name,
                "file": result.name,
                "status": result.status,
                "done": self._done,
                "files": self._total,
                "error": result.error,
                "tokens": result.input_tokens + result.output_tokens,
                "cost": result.cost,
            }
        )

    # -- when it is over ---------------------------------------------------------------------------------------------

    async def close(self, project: ProjectRun) -> None:
        """The project is worked through: keep what is known, commit it, copy it."""
        results = [project.results[name] for name in project.order]
        self.report.files.setdefault(project.name, []).extend(results)
        self.report.next_idx[project.name] = project.next_idx
        self._note_orphans(project)
        if self.options.dry_run:
            return
        if self._made and self._planner is not None:
            self._lock.sets.update(self._planner.sets_used())
        self._save()
        written = [each.name for each in results if each.status in CHANGED]
        vcs, storage = self.options.vcs, self.options.storage
        if vcs is not None and written:
            push = self.options.push
            await asyncio.to_thread(commit, vcs, self._worktree, project.name, written, self.report, push=push)
        if storage is not None:
            there = [each.name for each in results if each.status not in {"failed", "skipped"}]
            await asyncio.to_thread(upload, storage, self._worktree, project.name, there, self.report)

    def _note_orphans(self, project: ProjectRun) -> None:
        """What was generated for the project once, and is not any longer."""
        made = {name for each in self.projects for name in each.graph.records}
        for name, entry in list(self._lock.files.items()):
            if entry.project != project.name or name in made or name in self.report.orphaned:
                continue
            with contextlib.suppress(PeagenError):
                if self._worktree.read_bytes(name) is not None:
                    self.report.orphaned.append(name)
                    continue
            del self._lock.files[name]

    def _save(self) -> None:
        if not self.options.dry_run and self._store.save(self._lock):
            self._objects.prune({entry.output for entry in self._lock.files.values()})

    def count(self) -> Report:
        """The report so far, with what was asked of models."""
        report, budget = self.report, self._budget
        report.calls = budget.calls
        report.input_tokens, report.output_tokens = budget.input_tokens, budget.output_tokens
        report.cost = budget.cost if budget.cost_known else None
        return report

    def finish(self) -> Report:
        """What the run did."""
        report = self.report
        report.seconds = time.monotonic() - self._began
        self.count()
        builder = self._builder
        if self.options.dry_run and builder is not None and builder.answers.choice is not None:
            report.estimate = estimate(builder.answers.choice, builder.answers.to_ask, self._usual_answer())
        self.tell({"type": "process.done", "seconds": report.seconds, "counts": report.counts})
        return report

    def _usual_answer(self) -> int:
        known = [entry.tokens[1] for entry in self._lock.files.values() if entry.tokens]
        return sum(known) // len(known) if known else self._budget.usual_answer
