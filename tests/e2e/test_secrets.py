"""A secret that a flow handles turns up in no file, in no output of a command and on no screen."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]
AddFlow = Callable[..., str]

HEADER, KEYED, FIELD, VARIABLE = "planted-header-1", "planted-keyed-2", "planted-field-3", "sk-planted-variable-4"
LEAKY = """
    from __future__ import annotations

    import logging
    import os

    from pydantic import BaseModel, SecretStr

    from penguiflow import Node, NodePolicy, StreamChunk, create


    class Prompt(BaseModel):
        text: str
        login: SecretStr = SecretStr("planted-field-3")
        settings: dict[str, object] = {}


    async def ask(message, ctx):
        secret = os.environ["PLANTED_API_KEY"]
        for piece in ("use ", secret[:3], secret[3:9], secret[9:] + " now"):
            await ctx.emit_chunk(parent=message, text=piece)
        await ctx.emit_chunk(parent=message, text="", done=True)
        print("printed", secret)
        logging.getLogger("flow").warning("logged %s password=planted-keyed-2", secret)
        prompt = Prompt(text=f"the key is {secret}", settings={"api_key": "planted-keyed-2"})
        return message.model_copy(update={"payload": prompt, "meta": {"authorization": "Bearer planted-header-1"}})


    async def answer(message, ctx):
        if isinstance(message.payload, StreamChunk):
            return message
        secret = message.payload.text.rsplit(" ", 1)[-1]
        if message.payload.settings["api_key"] == "planted-keyed-2" and not ctx.trace_state.get("failed"):
            ctx.trace_state["failed"] = secret
            raise ConnectionError(f"cannot reach http://x/?token=planted-keyed-2 with {secret}")
        return message


    last = Node(answer, name="answer", policy=NodePolicy(max_retries=1, backoff_base=0.01))
    flow = create(Node(ask, name="ask").to(last), last.to())
"""
PLANTED = (HEADER, KEYED, FIELD, VARIABLE)


def clean(text: str) -> bool:
    return not any(secret in text for secret in PLANTED)


def test_a_planted_secret_is_nowhere(pf: RunCommand, add_flow: AddFlow, tmp_path: Path) -> None:
    target = add_flow("leaky", LEAKY)
    # The flow's source names some of them: tracebacks and fixtures do too.
    environment = {"PLANTED_API_KEY": VARIABLE}
    headers = '{"tenant": "t", "topic": "x"}'
    ran = pf(
        "run", target, "-i", '"hi"', "--headers", headers, "--meta", f'{{"x-api-key": "{HEADER}"}}', env=environment
    )
    assert ran.returncode == 0, ran.stderr
    assert clean(ran.stdout)
    assert clean(ran.stderr)
    assert "printed ⟦$secret env:PLANTED_API_KEY⟧" in ran.stderr
    for view in ("--tree", "--events", "--json", "--mermaid"):
        shown = pf("inspect", "last", view, env=environment)
        assert shown.returncode == 0
        assert clean(shown.stdout + shown.stderr), view
    assert "⟦$secret env:PLANTED_API_KEY⟧" in pf("inspect", "last", "--json").stdout
    listed = pf("traces", "--json")
    assert clean(listed.stdout)
    picture = tmp_path / "screen.svg"
    drawn = pf(
        "tui", target, "--screenshot", str(picture), "--size", "160x50", "--run", target, "--keys", "enter",
        env=environment,
    )  # fmt: skip
    assert drawn.returncode == 0, drawn.stderr
    assert clean(picture.read_text(encoding="utf-8"))

    files = [path for path in tmp_path.rglob("*") if path.is_file() and ".penguiflow" in path.parts]
    assert any(path.name == "state.db" for path in files)
    for path in files:
        if path.name != "masking.key":
            assert clean(path.read_bytes().decode("utf-8", "replace")), path
    (key,) = (path for path in files if path.name == "masking.key")
    assert key.stat().st_mode & 0o077 == 0
