from __future__ import annotations

from pathlib import Path

import pytest

from playground.__main__ import main
from playground.cli.app import app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "no such command 'rnu'. Did you mean 'run'?"),
        (["run", "x.py", "--inptu", "1"], "no such option: --inptu (Possible options: --input"),
        (["run"], "missing argument 'TARGET'"),
        (["run", "x.py", "extra"], "extra"),
        (["traces", "--limit", "many"], "--limit"),
        (["traces", "--limit", "0"], "--limit must be at least 1"),
        (["traces", "--status", "eror"], "did you mean error?"),
        (["traces", "--since", "soon"], "'soon' is no time"),
        (["inspect", "last", "--json", "--events"], "choose one of"),
        (["graph", "x.py", "--dot", "--mermaid"], "choose one of"),
        (["run", "m", "--timeout", "0"], "--timeout must be more than 0"),
        (["run", "m", "--input", "-", "--meta", "-"], "stdin can be read once"),
        (["run", "m", "--headers", "[]"], "--headers must be a JSON object"),
        (["run", "m", "--trace-id", ""], "--trace-id"),
        (["tui"], "needs a terminal"),
        (["tui", "--port", "99999"], "--port: 99999 is no port"),
        (["tui", "flows"], "needs a terminal"),
        (["tui", "--screenshot", "x.svg", "--size", "huge"], "--size: 'huge' is no size"),
        (["tui", "--screenshot", "x.png"], "--screenshot: x.png: the picture is an SVG"),
        (["tui", "--screenshot", "x.svg", "--theme", "zzz"], "--theme: no theme is named 'zzz'"),
        (["tui", "--screenshot", "x.svg", "--keys", "tab,bogus"], "--keys: no key is named 'bogus'"),
        (["tui", "--screenshot", "no/such/x.svg"], "--screenshot: no such folder: no/such"),
        (["tui", "--screenshot", "x.svg", "--port", "70000"], "70000 is no port"),
    ],
)
def test_usage_errors_are_one_message(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pf: ")
    assert said in err
    assert "Traceback" not in err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert main([]) == 0
    assert main(["--version"]) == 0
    assert main(["version"]) == 0

    out, err = capsys.readouterr()
    assert out.count("Usage: pf") == 2
    assert out.count("penguiflow 4.") == 2
    assert err == ""


def test_a_file_that_is_not_there_names_its_neighbor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "triage.py").touch()
    monkeypatch.chdir(tmp_path)

    assert main(["run", "flows/traige.py"]) == 3

    err = capsys.readouterr().err
    assert "no such file: flows/traige.py" in err
    assert f"did you mean {Path('flows/triage.py')}?" in err
    assert list(tmp_path.iterdir()) == [tmp_path / "flows"]


def test_a_defect_is_one_message_and_a_traceback_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> int:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("playground.cli.app.invoke", broken)

    assert main(["version"]) == 1
    assert "unexpected ZeroDivisionError: oops" in capsys.readouterr().err
    monkeypatch.setenv("PENGUIFLOW_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["version"])


def test_an_interrupt_is_130_wherever_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("playground.cli.traces.list_traces", interrupted)
        assert main(["traces"]) == 130
    with monkeypatch.context() as patch:
        patch.setattr("playground.cli.traces.TracesOptions", interrupted)  # while the parser is at work
        assert main(["traces"]) == 130
    with monkeypatch.context() as patch:
        patch.setattr("playground.cli.boundary.guard", interrupted)
        assert main(["traces"]) == 130


COMMANDS = sorted(str(each.name or getattr(each.callback, "__name__", "")) for each in app.registered_commands)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_calls_arguments_by_their_names(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"Usage: pf {name} [OPTIONS]")
    assert not set("<>{}") & set(told)


def test_help_says_what_may_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    main(["export", "--help"])
    told = capsys.readouterr().out
    assert told.startswith("Usage: pf export [OPTIONS] TRACE_ID [FILE]\n")
    assert "  TRACE_ID  An id, the beginning of one, or `last`.  [required]\n  [FILE]    The file" in told
    main(["tui", "--help"])
    assert capsys.readouterr().out.startswith("Usage: pf tui [OPTIONS] [PATHS]...\n")
