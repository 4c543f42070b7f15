"""A task that processes a payload: what a command, or a worker, hands on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peagen.core.payload import load_projects_payload
from peagen.errors import ConfigError
from peagen.run import ProcessOptions, Report, process
from peagen.run.options import OnEvent

_PLAIN = ("start_file", "project_name", "provider", "model_name", "template_set", "max_cost", "max_tokens")


async def process_handler(task: Any, *, on_event: OnEvent | None = None) -> dict[str, Any]:
    """Process what `task.args` says.

    Args:
        task: has `args` as an attribute or a key, or is the arguments itself. `projects_payload` (any form that
            `load_projects_payload` takes) and `worktree` have to be there; what the command line has may be:
            `project_name`, `start_idx`, `start_file`, `transitive`, `agent_env`, `workers`, `force`, …
        on_event: see `peagen.run.options.OnEvent`.

    Returns:
        `{"processed": {project: records}, "commit": …, "oids": […], …}`: see `Report.to_json`.

    Raises:
        PeagenError: an argument is missing, or the run could not begin.
    """
    report = await process_task(task, on_event=on_event)
    return report.to_json()


async def process_task(task: Any, *, on_event: OnEvent | None = None) -> Report:
    """As `process_handler`, with the whole report."""
    args = arguments_of(task)
    options = options_of(args)
    return await process(load_projects_payload(args["projects_payload"]), options, on_event=on_event)


def arguments_of(task: Any) -> Mapping[str, Any]:
    """The arguments of a task."""
    args = task.get("args", task) if isinstance(task, Mapping) else getattr(task, "args", None)
    if not isinstance(args, Mapping):
        raise ConfigError("the task has no args", where=type(task).__name__)
    for name in ("projects_payload", "worktree"):
        if not args.get(name):
            raise ConfigError(f"the task has no {name}", where="task.args")
    return args


def options_of(args: Mapping[str, Any]) -> ProcessOptions:
    """How a task is to be done."""
    prompt_file = args.get("agent_prompt_template_file")
    return ProcessOptions(
        worktree=Path(args["worktree"]),
        workers=int(args.get("workers") or 0),
        start_idx=int(args.get("start_idx") or 0),
        transitive=bool(args.get("transitive")),
        agent_env=args.get("agent_env") or {},
        agent_prompt_template_file=None if prompt_file is None else Path(prompt_file),
        force=bool(args.get("force")),
        dry_run=bool(args.get("dry_run")),
        vcs=args.get("vcs"),
        config=args.get("config"),
        **{name: args[name] for name in _PLAIN if args.get(name) is not None},
    )
