"""The dashboard in a browser: who gets in, what they see, and that its processes end. A real server and client."""

from __future__ import annotations

import asyncio
import json
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import WSMsgType

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow, RunCommand

LIMIT_S = 60.0
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?<>=]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")

NONSENSE = ["", "no json", "{}", "[]", '["stdin"]', '["resize", 5]', '["resize", {"width": "x"}]', '["x", 1]']
"""What no page would say to the server."""


class Web:
    """A `pf web`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.link = self.next_link()
        self.address = urlsplit(self.link).netloc
        self.base = f"http://{self.address}"

    def next_link(self) -> str:
        """The link that is printed next."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], LIMIT_S)
        assert ready, "no link was printed"
        return str(json.loads(self.process.stdout.readline())["link"])

    def dashboards(self) -> set[int]:
        """The processes of its tabs."""
        return {pid for pid, command in children_of(self.process.pid).items() if b"--attach" in command}

    @asynccontextmanager
    async def browser(self, *, let_in: bool = True) -> AsyncIterator[aiohttp.ClientSession]:
        """A client with a jar for cookies; it has followed the link if it is let in."""
        jar = aiohttp.CookieJar(unsafe=True)  # which means: also for addresses that are numbers
        async with aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(LIMIT_S)) as session:
            if let_in:
                async with session.get(self.link) as response:
                    assert response.status == 200
                self.link = self.next_link()
            yield session

    @asynccontextmanager
    async def tab(self, session: aiohttp.ClientSession) -> AsyncIterator[Tab]:
        """A tab that shows the dashboard."""
        url = f"{self.base}/ws?width=140&height=40"
        async with session.ws_connect(url, headers={"Origin": self.base}, max_msg_size=0) as socket:
            await socket.send_json(["focus"])
            yield Tab(socket)


class Tab:
    """What a page does with its WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.text = ""

    async def press(self, keys: str) -> None:
        """Type."""
        await self.socket.send_json(["stdin", keys])

    async def until(self, *needles: str) -> None:
        """Wait until all of these were drawn since the last time."""
        async with asyncio.timeout(LIMIT_S):
            while not all(needle in self.text for needle in needles):
                message = await self.socket.receive()
                assert message.type in (WSMsgType.BINARY, WSMsgType.TEXT), (message, self.text[-5000:])
                if message.type == WSMsgType.BINARY:
                    self.text += ESCAPES.sub("", message.data.decode("utf-8", "replace"))
        self.text = ""

    async def closed(self) -> None:
        """Wait until the other side has hung up."""
        async with asyncio.timeout(LIMIT_S):
            while (await self.socket.receive()).type not in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING):
                pass


def children_of(pid: int) -> dict[int, bytes]:
    """Processes that this one has started and that have not ended, with their command lines."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if fields[1] == str(pid) and fields[0] != "Z":
                found[int(folder.name)] = command
    return found


def is_gone(pid: int) -> bool:
    """Whether a process has ended, whoever may still have to look at that."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@pytest.fixture
def arguments() -> list[str]:
    """Of `pf web`."""
    return []


@pytest.fixture
def web(project: Path, add_flow: AddFlow, arguments: list[str]) -> Iterator[Web]:
    add_flow("greet")
    source = (project / "flows" / "greet.py").read_text()
    (project / "flows" / "greet.py").write_text(source + '__flow__ = {"samples": [{"name": "you"}]}\n')
    process = subprocess.Popen(
        [sys.executable, "-m", "playground", "web", "--json", *arguments],
        cwd=project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    children: set[int] = set()
    try:
        yield Web(process)
        children = set(children_of(process.pid))
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT_S)
    wait_until(lambda: all(is_gone(pid) for pid in children), "processes are left")


class TestTheDoor:
    async def test_nothing_is_given_to_who_has_not_followed_the_link(self, web: Web) -> None:
        async with web.browser(let_in=False) as session:
            for path in ("/", "/static/js/textual.js", "/ws", "/download/any", "/?code=wrong", "/nothing"):
                async with session.get(web.base + path) as response:
                    assert response.status == (403 if "code" in path else 401), path
                    assert "link" in await response.text()
                    assert not response.cookies

    async def test_a_websocket_is_refused_before_the_upgrade(self, web: Web) -> None:
        async with web.browser(let_in=False) as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"{web.base}/ws", headers={"Origin": web.base})
            assert refused.value.status == 401
        assert web.dashboards() == set()

    async def test_a_link_is_good_once_and_gives_a_cookie_for_this_site_alone(self, web: Web) -> None:
        link = web.link
        async with web.browser(let_in=False) as session:
            async with session.get(link, allow_redirects=False) as response:
                assert (response.status, response.headers["Location"]) == (303, "/")
                (cookie,) = response.cookies.values()
                assert (cookie["samesite"], cookie["httponly"], cookie["path"]) == ("Strict", True, "/")
                assert response.headers["Referrer-Policy"] == "no-referrer"
            async with session.get(link, allow_redirects=False) as response:
                assert response.status == 403
        again = web.next_link()
        assert again != link
        async with web.browser(let_in=False) as other, other.get(again) as response:
            assert response.status == 200

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Host": "evil.test"}, 421),
            ({"Host": "127.0.0.1:1"}, 421),
            ({"Origin": "https://evil.test"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
        ],
    )
    async def test_a_foreign_page_gets_nothing_even_with_the_cookie(
        self, web: Web, headers: dict[str, str], status: int
    ) -> None:
        async with web.browser() as session:
            async with session.get(web.base, headers=headers) as response:
                assert response.status == status
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"{web.base}/ws", headers=headers)
            assert refused.value.status == status
        assert web.dashboards() == set()

    async def test_the_page_loads_nothing_from_elsewhere(self, web: Web) -> None:
        async with web.browser() as session, session.get(web.base) as response:
            page = await response.text()
            policy = response.headers["Content-Security-Policy"]
        assert set(re.findall(r"\b(?:https?|wss?)://[^/\"' ]+", page)) == {
            web.base,
            f"ws://{web.address}",
            "http://www.w3.org",  # the name of SVG's language
        }
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy


class TestTabs:
    async def test_a_tab_is_the_dashboard_and_its_process_ends_with_it(self, web: Web) -> None:
        async with web.browser() as session:
            async with web.tab(session) as tab:
                await tab.until("greet", "ready")
                (pid,) = web.dashboards()
                command = children_of(web.process.pid)[pid]
                assert b"--token-file" in command
                await tab.press("r")
                await tab.until("✔")
            await asyncio.to_thread(wait_until, lambda: is_gone(pid), "the dashboard is left")
            # The host has not ended: what ran is there in the next tab.
            async with web.tab(session) as tab:
                await tab.until("greet", "✔")
                await tab.press("q")
                await tab.closed()

    async def test_no_process_shows_a_token(self, project: Path, web: Web) -> None:
        async with web.browser() as session, web.tab(session) as tab:
            await tab.until("greet", "ready")
            folder = project / ".penguiflow" / "hosts"
            tokens = [read(path).strip() for path in sorted(folder.glob("*.[cv]*"))]
            assert len(tokens) == 2
            for pid in (web.process.pid, *children_of(web.process.pid)):
                shown = read(Path(f"/proc/{pid}/cmdline")) + read(Path(f"/proc/{pid}/environ"))
                assert not any(token in shown for token in tokens)

    async def test_what_no_page_would_say_does_no_harm(self, web: Web) -> None:
        async with web.browser() as session, web.tab(session) as tab:
            for number, said in enumerate(NONSENSE):
                await tab.socket.send_str(said)
                await tab.socket.send_json(["resize", {"width": 10**9, "height": -5}])
                await tab.socket.send_json(["resize", {"width": 120 + number, "height": 40}])
                await tab.socket.send_json(["ping", str(number)])
                async with asyncio.timeout(LIMIT_S):
                    while (message := await tab.socket.receive()).type != WSMsgType.TEXT:
                        assert message.type == WSMsgType.BINARY, said
                assert json.loads(message.data) == ["pong", str(number)], said
                # Another size is drawn anew.
                await tab.until("greet")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    async def test_no_process_is_left_when_it_ends(self, web: Web, number: signal.Signals) -> None:
        async with web.browser() as session, web.tab(session) as tab:
            await tab.until("greet", "ready")
            children = set(children_of(web.process.pid))
            assert len(children) >= 2
            web.process.send_signal(number)
            await tab.closed()
        assert web.process.wait(LIMIT_S) == (-9 if number == signal.SIGKILL else 0)
        await asyncio.to_thread(wait_until, lambda: all(is_gone(pid) for pid in children), "processes are left")


def read(path: Path) -> bytes:
    """The content of a file."""
    return path.read_bytes()


class TestCommand:
    def test_what_cannot_be_served_is_one_message(self, web: Web, pf: RunCommand) -> None:
        for arguments, code, told in (
            (["--port", web.address.rpartition(":")[2]], 2, "Address already in use"),
            (["--host", "0.0.0.0"], 2, "--allow-remote"),
            (["flows/missing.py"], 3, "no such file"),
        ):
            done = pf("web", *arguments)
            assert (done.returncode, done.stdout) == (code, "")
            assert told in done.stderr
            assert "Traceback" not in done.stderr

    def test_without_its_packages_it_names_the_extra(self, project: Path) -> None:
        program = (
            "import sys; sys.modules['aiohttp'] = None; from playground.__main__ import main; sys.exit(main(['web']))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=project, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert done.returncode == 2
        assert 'pip install "penguiflow[web]"' in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("arguments", [["--read-only"]])
    async def test_looking_on_changes_nothing(self, web: Web) -> None:
        async with web.browser() as session, web.tab(session) as tab:
            await tab.until("greet", "(looking on)")
            await tab.press("r")
            await tab.until("nothing can be run here")
