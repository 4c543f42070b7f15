"""Which worker serves which module: the newest that loaded it well, and for a broken one the last that did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from playground.protocol import FlowInfo, ModuleInfo
from playground.supervisor.process import Worker

MAX_GENERATIONS = 4
"""Workers that serve at once; beyond it the oldest gives up what it still serves."""


class Generation:
    """A worker that serves, with what it loaded."""

    def __init__(self, worker: Worker, modules: Iterable[ModuleInfo]) -> None:
        self.worker = worker
        self.number = worker.generation
        self.loaded = {module.path: module for module in modules if module.flows}


class Generations:
    """The workers that serve, oldest first, and the state of every module."""

    def __init__(self) -> None:
        self.serving: list[Generation] = []
        self._latest: list[ModuleInfo] = []
        """The newest word on every module, in the order of the targets."""
        self._owners: dict[str, Generation] = {}

    @property
    def newest(self) -> Generation | None:
        """The one that accepts clients."""
        return self.serving[-1] if self.serving else None

    def imported(self, worker: Worker, versions: Mapping[str, str]) -> None:
        """A worker's flows have other versions since their runs imported more."""
        for generation in self.serving:
            if generation.worker is worker:
                for module in generation.loaded.values():
                    for flow in module.flows:
                        flow.version = versions.get(flow.target, flow.version)

    def serves(self, worker: Worker) -> bool:
        """Whether something is run by this worker."""
        return any(generation.worker is worker for generation in self.serving)

    def brings_news(self, modules: Iterable[ModuleInfo]) -> bool:
        """True when a load has something to run that is not served in just this version."""
        for module in modules:
            owner = self._owners.get(module.path)
            if owner is None and module.flows:
                return True
            if owner is not None and module.state == "loaded" and not _same(owner.loaded[module.path], module):
                return True
        return False

    def note(self, modules: list[ModuleInfo]) -> None:
        """Take over what a load found, without its worker: errors are shown, good modules stay as they are."""
        self._latest = modules
        self._disown({module.path for module in modules})

    def switch(self, generation: Generation, modules: list[ModuleInfo]) -> list[Generation]:
        """A new worker serves what it loaded well; returns those that serve nothing any more."""
        self._latest = modules
        self.serving.append(generation)
        for module in modules:
            has_older = module.path in self._owners
            if module.state == "loaded" or (module.flows and not has_older):
                self._owners[module.path] = generation
        self._disown({module.path for module in modules})
        return self._unused()

    def forget(self, worker: Worker) -> Generation | None:
        """A worker is gone, and what it served with it."""
        for generation in self.serving:
            if generation.worker is worker:
                self.serving.remove(generation)
                self._owners = {path: owner for path, owner in self._owners.items() if owner is not generation}
                return generation
        return None

    def modules(self) -> list[ModuleInfo]:
        """Every module with what can be run of it now."""
        return [self._merge(module) for module in self._latest]

    def find(self, target: str) -> tuple[Generation, FlowInfo] | None:
        """Who runs a target."""
        for owner in self.serving[::-1]:
            for path, module in owner.loaded.items():
                if self._owners.get(path) is not owner:
                    continue
                if target == path and len(module.flows) == 1:
                    return owner, module.flows[0]
                for flow in module.flows:
                    if target in (flow.target, f"{path}:{flow.name}"):
                        return owner, flow
        return None

    def _merge(self, module: ModuleInfo) -> ModuleInfo:
        owner = self._owners.get(module.path)
        if owner is None:
            # Nobody has it: it is broken, or the worker that had it died and another one is about to.
            return module.model_copy(update={"flows": [], "state": "error" if module.error else "loading"})
        served = owner.loaded[module.path]
        if module.state == "loaded":
            return served
        stale = served.state == "loaded"
        return module.model_copy(
            update={
                "state": "stale" if stale else "error",
                "flows": served.flows,
                "loaded_at": served.loaded_at,
            }
        )

    def _disown(self, known: set[str]) -> None:
        """Modules that are no longer there are no longer served."""
        self._owners = {path: owner for path, owner in self._owners.items() if path in known}

    def _unused(self) -> list[Generation]:
        owners = set(self._owners.values())
        needed = [generation for generation in self.serving[:-1] if generation in owners]
        for generation in needed[: max(0, len(needed) - (MAX_GENERATIONS - 1))]:
            self._owners = {path: owner for path, owner in self._owners.items() if owner is not generation}
            needed.remove(generation)
        unused = [generation for generation in self.serving[:-1] if generation not in needed]
        self.serving = [*needed, self.serving[-1]]
        return unused


def _same(one: ModuleInfo, other: ModuleInfo) -> bool:
    """True when both are the same code."""
    versions = [[(flow.target, flow.version) for flow in module.flows] for module in (one, other)]
    return versions[0] == versions[1]
