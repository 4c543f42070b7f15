"""`pf export --otlp`, and what is said when OpenTelemetry is not installed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from playground.__main__ import main

WriteTrace = Callable[..., Coroutine[Any, Any, None]]


class Received:
    """What came in."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.names: list[str] = []
        self.text = b""


@pytest.fixture
def receiver() -> Iterator[Received]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.text += body
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    received.names += [span.name for span in scope.spans]
            self.send_response(received.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Be quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    received.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield received
    server.shutdown()
    server.server_close()
    thread.join(timeout=60)


@pytest.fixture
def trace(write_trace: WriteTrace) -> None:
    asyncio.run(write_trace("one", nodes=600))


@pytest.mark.usefixtures("trace")
def test_a_stored_trace_is_sent(receiver: Received, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "one", "--otlp", receiver.url]) == 0
    assert capsys.readouterr().out == "one: 601 spans sent\n"
    assert receiver.names.count("node work") == 600
    assert receiver.names.count("invoke_workflow digest") == 1
    assert b"number" not in receiver.text
    assert main(["export", "one", "--otlp", receiver.url, "--content", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spans"] == 601
    assert b"number" in receiver.text


@pytest.mark.usefixtures("trace")
def test_refusals(receiver: Received, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    receiver.status = 400
    assert main(["export", "one", "--otlp", receiver.url]) == 1
    told = capsys.readouterr().err
    assert "did not take the spans" in told
    assert len(told.splitlines()) == 2
    assert main(["export", "one", "--otlp", "nowhere"]) == 2
    assert main(["export", "one"]) == 2
    assert main(["export", "one", "x.pftrace", "--otlp", receiver.url]) == 2
    assert main(["export", "one", "x.pftrace", "--content"]) == 2
    assert not (project / "x.pftrace").exists()


@pytest.mark.usefixtures("trace")
def test_the_extra_is_named_when_it_is_missing(project: Path) -> None:
    script = """
import sys
sys.modules["opentelemetry"] = None
from playground.__main__ import main
sys.exit(main(["export", "one", "--otlp", "http://127.0.0.1:1"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=project, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert 'pip install "penguiflow[otel]"' in done.stderr
