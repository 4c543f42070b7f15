"""Load everything that was asked for: import it, build its flows, and say what there is or why there is nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType

from playground.loader.errors import describe_error
from playground.loader.limits import LOAD_TIMEOUT_S
from playground.loader.offers import Offer, find_offers
from playground.loader.runnable import Runnable, make_runnable, same_shape
from playground.loader.sources import ProjectSources
from playground.loader.targets import Missing, Module, find_modules
from playground.project import Project
from playground.protocol import CodeError, ModuleInfo

NO_FLOW_HINT = (
    "A module offers a flow, a planner, a function build_flow() that returns one, or an object with "
    "`async def execute`; name an async function as `path.py:function`."
)


class LoadedModule:
    """One module of the project on its way from a file to its flows."""

    def __init__(self, wanted: Module) -> None:
        self.wanted = wanted
        self.info = ModuleInfo(path=wanted.path, state="loading")
        self.module: ModuleType | None = None
        self.offers: list[Offer] = []
        self.runnables: list[Runnable] = []

    def fail(self, error: CodeError) -> None:
        """Note the first thing that went wrong."""
        if self.info.error is None:
            self.info.error = error


class ProjectLoader:
    """Loads a project once, in a process that has loaded nothing of it before."""

    def __init__(
        self,
        project: Project,
        targets: Sequence[str],
        *,
        cwd: Path,
        skip: Mapping[str, CodeError] | None = None,
        on_import: Callable[[str], None] = lambda path: None,
        timeout_s: float = LOAD_TIMEOUT_S,
    ) -> None:
        """`skip` names modules that are not to be imported again, with why; `on_import` hears what is imported next.

        A factory may take `timeout_s` seconds to return. An import may take any time: only another thread can tell.
        """
        self.project = project
        self._skip = dict(skip or {})
        self._on_import = on_import
        self._timeout_s = timeout_s
        self.helpers: list[str] = []
        """Modules that are not listed: they were found in a folder, offer nothing, and are imported by others."""
        self._entries: list[LoadedModule | ModuleInfo] = []
        for item in find_modules(targets, project, cwd):
            if isinstance(item, Missing):
                error = CodeError(kind="not_found", message=item.message, hint="Check the spelling of the target.")
                self._entries.append(ModuleInfo(path=item.path, state="error", error=error))
            else:
                self._entries.append(LoadedModule(item))
        folders = [entry.wanted.file.parent for entry in self._loadable if entry.wanted.file is not None]
        self.sources = ProjectSources(project, folders)

    @property
    def _loadable(self) -> list[LoadedModule]:
        return [entry for entry in self._entries if isinstance(entry, LoadedModule)]

    @property
    def modules(self) -> list[ModuleInfo]:
        """What there is, in the order of the targets."""
        return [entry.info if isinstance(entry, LoadedModule) else entry for entry in self._entries]

    @property
    def runnables(self) -> dict[str, Runnable]:
        """Everything that can be run, by target."""
        return {runnable.info.target: runnable for entry in self._loadable for runnable in entry.runnables}

    def import_all(self) -> None:
        """Import every module. Call it outside any event loop, as Python itself would import."""
        self.sources.install()
        for entry in self._loadable:
            known_problem = self._skip.get(entry.wanted.path)
            if known_problem is not None:
                entry.fail(known_problem)
                continue
            self._on_import(entry.wanted.path)
            started = time.perf_counter()
            try:
                entry.module = self._import(entry.wanted)
                imported = self.sources.imported_names(entry.module.__name__)
                entry.offers = find_offers(entry.module, entry.wanted.attributes, imported)
            except BaseException as error:  # whatever a module raises while it is imported becomes its own error
                entry.fail(self._describe(error, entry.wanted))
            entry.info.load_ms = (time.perf_counter() - started) * 1e3

    async def build_all(self) -> None:
        """Call the factories and describe every flow. Call it inside the event loop that will run them."""
        for entry in self._loadable:
            if entry.module is not None and entry.info.error is None:
                self._on_import(entry.wanted.path)
                started = time.perf_counter()
                await self._build(entry, entry.module)
                entry.info.load_ms = (entry.info.load_ms or 0.0) + (time.perf_counter() - started) * 1e3
        helpers = [entry for entry in self._loadable if self._is_only_a_helper(entry)]
        self.helpers = [entry.wanted.path for entry in helpers]
        self._entries = [entry for entry in self._entries if entry not in helpers]
        for entry in self._loadable:
            self._finish(entry)

    def version(self, runnable: Runnable) -> str:
        """The hash of the code that a run of it has loaded so far."""
        return self.sources.version(runnable.module)

    def _import(self, wanted: Module) -> ModuleType:
        if wanted.file is not None:
            return self.sources.import_file(wanted.file)
        return self.sources.import_name(wanted.path)

    def _describe(self, error: BaseException, wanted: Module) -> CodeError:
        if isinstance(error, ModuleNotFoundError) and wanted.file is None and _names(wanted.path, error.name):
            message = f"no file, folder or module is named {wanted.path!r}"
            return CodeError(kind="not_found", message=message, hint="Check the spelling of the target.")
        described = describe_error(error, self.project)
        if described.file is None:
            described.file = wanted.path if wanted.file is not None else None
        return described

    async def _build(self, entry: LoadedModule, module: ModuleType) -> None:
        several = len(entry.offers) > 1 or bool(entry.wanted.attributes)
        # Flows first, so that a factory whose product the module already holds is recognized.
        for offer in sorted(entry.offers, key=lambda offer: offer.is_factory):
            target = f"{entry.wanted.path}:{offer.attribute}" if several else entry.wanted.path
            try:
                async with asyncio.timeout(self._timeout_s):
                    runnable = await make_runnable(offer, module, target)
            except TimeoutError as error:
                described = describe_error(error, self.project, during="stall")
                described.message = f"{offer.attribute}() did not return within {self._timeout_s:g} s"
                entry.fail(described)
            except BaseException as error:  # whatever a factory raises is an error of its module
                entry.fail(self._describe_build(error, offer))
            else:
                if not (offer.is_factory and any(same_shape(runnable, other) for other in entry.runnables)):
                    entry.runnables.append(runnable)

    def _describe_build(self, error: BaseException, offer: Offer) -> CodeError:
        described = describe_error(error, self.project, during="factory")
        if described.kind == "factory" and offer.is_factory and not described.message.startswith(offer.attribute):
            described.message = f"{offer.attribute}() raised {described.message}"
        return described

    def _is_only_a_helper(self, entry: LoadedModule) -> bool:
        return (
            entry.wanted.discovered
            and entry.module is not None
            and entry.info.error is None
            and not entry.runnables
            and self.sources.imported_by_others(entry.module.__name__)
        )

    def _finish(self, entry: LoadedModule) -> None:
        if not entry.runnables and entry.info.error is None:
            entry.fail(CodeError(kind="no_flow", message="offers nothing to run", hint=NO_FLOW_HINT))
        if entry.info.error is not None and entry.info.error.file is None and entry.wanted.file is not None:
            entry.info.error.file = entry.wanted.path
        if len(entry.runnables) == 1 and not entry.wanted.attributes:
            only = entry.runnables[0].info
            only.target, only.name = entry.wanted.path, _stem(entry.wanted.path)
        elif len(entry.runnables) == 1 and entry.runnables[0].info.name == "flow":
            # Named as `peeragent.flow:flow`: what it is called says nothing, where it is does.
            entry.runnables[0].info.name = _stem(entry.wanted.path.removesuffix(".flow"))
        for runnable in entry.runnables:
            runnable.info.version = self.version(runnable)
        entry.info.flows = [runnable.info for runnable in entry.runnables]
        entry.info.state = "error" if entry.info.error is not None else "loaded"
        entry.info.loaded_at = time.time()


def _stem(path: str) -> str:
    """The name of a file without its suffix, or the last part of a dotted name."""
    return PurePosixPath(path).stem if path.endswith(".py") or "/" in path else path.rpartition(".")[2]


def _names(wanted: str, missing: str | None) -> bool:
    """True when the module that is missing is the wanted one, or a package around it."""
    return missing is not None and (wanted == missing or wanted.startswith(missing + "."))
