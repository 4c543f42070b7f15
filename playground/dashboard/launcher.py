"""From a flow to a run: at once where that is possible, else by way of the form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from playground.dashboard.control import run_options
from playground.dashboard.text import one_line

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp
    from playground.dashboard.run_form import Answer, Draft
    from playground.protocol import FlowInfo, ModuleInfo


class Launcher:
    """Starts runs and opens forms."""

    def __init__(self, app: DashboardApp) -> None:
        self._app = app
        self._drafts: dict[str, Draft] = {}
        """By target: what stood in a form that was closed without running."""

    def _keep(self, target: str, draft: Draft | None) -> None:
        if draft is None:
            self._drafts.pop(target, None)
        else:
            self._drafts[target] = draft

    def run_now(self, module: ModuleInfo | None, flow: FlowInfo | None, *, stop_first: bool = False) -> None:
        """Run with the last input, the sample or the defaults; ask when there is none of these."""
        from playground.dashboard.form import ready_input

        if flow is None:
            self._app.say(f"{module.path} offers nothing to run" if module else "no flow is selected", "warning")
            return
        ready = ready_input(flow.input_schema, flow.samples, self._app.state.inputs.get(flow.target, []))
        if ready is None:
            self.open_form(flow, stop_first=stop_first)
        else:
            self.run(flow, ready[0], stop_first=stop_first)

    def run(self, flow: FlowInfo, value: Any, extra: dict[str, Any] | None = None, *, stop_first: bool = False) -> None:
        """Run, remember the input, and follow the run; `stop_first`: until it has stopped at its first checkpoint."""
        if stop_first:
            extra = {**(run_options(flow) if extra is None else extra), "stop_first": True}
        self._app.state.remember_input(flow.target, value)
        self._app.run_rows.follow_newest = True
        self._app.control.run(flow, value, extra)

    def refused(self, flow: FlowInfo, value: Any, message: str, details: list[dict[str, Any]]) -> None:
        """The host would not run it: say why, next to the fields if it named some."""
        if details:
            self.open_form(flow, value=value, message=message, details=details)
        else:
            self._app.say(one_line(message), "error")

    def open_form(
        self,
        flow: FlowInfo,
        *,
        value: Any = None,
        message: str = "",
        details: Iterable[dict[str, Any]] = (),
        stop_first: bool = False,
    ) -> None:
        """Ask for the input; with `details`, say what was wrong with the last one."""
        from playground.dashboard.run_form import RunForm

        app = self._app
        if isinstance(app.screen, RunForm):
            app.screen.refuse(message, list(details))
            return
        form = RunForm(
            flow,
            recent=app.state.inputs.get(flow.target, []),
            value=value,
            draft=self._drafts.get(flow.target),
            keep=lambda draft: self._keep(flow.target, draft),
        )

        def answered(answer: Answer | None) -> None:
            if answer is not None:
                self.run(flow, *answer, stop_first=stop_first)

        app.push_screen(form, answered)
        if message or details:
            app.call_after_refresh(form.refuse, message, list(details))
