"""Plugins by name: what is built in, what installed packages bring, and who wins."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peagen.config import load_config
from peagen.errors import InvalidPluginSpecError
from peagen.plugins import PluginManager
from peagen.plugins.git_filters.file_filter import FileFilter
from peagen.plugins.groups import GROUPS
from peagen.plugins.publishers.redis_publisher import RedisPublisher
from peagen.plugins.publishers.webhook_publisher import WebhookPublisher

MODULE = '''
class Pigeon:
    def __init__(self, home="loft"):
        self.home = home

    def publish(self, channel, payload):
        """Off it goes."""


class Mute:
    """Cannot publish."""


def publish(channel, payload):
    """No class."""
'''
Install = Callable[[dict[str, str]], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution with entry points of `peagen.plugins.publishers`, by name, in the module `pigeons`."""
    installed: list[int] = []
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pigeons", raising=False)
    (tmp_path / "pigeons.py").write_text(MODULE)

    def put(points: dict[str, str]) -> None:
        installed.append(1)
        folder = tmp_path / f"pigeons{len(installed)}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pigeons{len(installed)}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (folder / "entry_points.txt").write_text("\n".join(["[peagen.plugins.publishers]", *lines, ""]))

    return put


@pytest.mark.parametrize("group", ["publishers", "git_filters", "storage_adapters", "result_backends", "vcs"])
def test_what_is_built_in_can_be_loaded(group: str) -> None:
    manager = PluginManager()
    names = manager.names(group)
    assert names
    for name in names:
        made = manager.load(group, name)
        assert all(callable(getattr(made, method)) for method in GROUPS[group].methods)


def test_a_plugin_is_made_as_the_configuration_says(tmp_path: Path) -> None:
    (tmp_path / ".peagen.toml").write_text(
        '[publishers]\ndefault_publisher = "webhook"\n'
        '[publishers.adapters.webhook]\nurl = "https://example.com/x"\nchannel = "builds"\n'
        f'[storage.filters.file]\noutput_dir = "{tmp_path}/kept"\n'
    )
    manager = PluginManager(load_config(tmp_path))
    made = manager.get("publishers")
    assert isinstance(made, WebhookPublisher)
    assert made.address == "https://example.com/x"
    kept = manager.get("peagen.plugins.git_filters")
    assert isinstance(kept, FileFilter)
    assert kept.folder == tmp_path / "kept"
    assert type(manager.get("result_backends")).__name__ == "LocalFsResultBackend"
    assert manager.options("publishers", "webhook")["channel"] == "builds"


def test_what_is_installed_stands_beside_what_is_built_in(install: Install) -> None:
    install({"pigeon": "pigeons:Pigeon"})
    manager = PluginManager({"publishers": {"adapters": {"pigeon": {"home": "dovecote"}}}})
    assert manager.names("publishers") == ["pigeon", "rabbitmq", "redis", "webhook"]
    assert manager.get("publishers", "pigeon").home == "dovecote"
    assert manager.get("publishers", "pigeon", home="roof").home == "roof"
    assert "pigeons" in sys.modules


def test_nothing_is_imported_before_it_is_asked_for(install: Install) -> None:
    install({"pigeon": "pigeons:Pigeon"})
    assert "pigeon" in PluginManager().names("publishers")
    assert "pigeons" not in sys.modules


def test_fan_out_refuses_two_of_one_name(install: Install) -> None:
    install({"redis": "pigeons:Pigeon"})
    with pytest.raises(RuntimeError, match="two plugins 'redis'"):
        PluginManager().names("publishers")


def test_fan_out_makes_all(install: Install) -> None:
    install({"pigeon": "pigeons:Pigeon"})
    adapters = {"redis": {"host": "cache"}, "rabbitmq": {"host": "mq"}, "webhook": {"url": "http://x"}}
    made = PluginManager({"publishers": {"adapters": adapters}}).all("publishers")
    assert sorted(made) == ["pigeon", "rabbitmq", "redis", "webhook"]


def test_fallback_takes_what_is_built_in(install: Install) -> None:
    install({"redis": "pigeons:Pigeon"})
    manager = PluginManager({"plugins": {"mode": "fallback"}})
    assert manager.load("publishers", "redis") is RedisPublisher


def test_switch_takes_the_one_that_is_named(install: Install) -> None:
    install({"redis": "pigeons:Pigeon", "pigeon": "pigeons:Pigeon"})
    config: dict[str, Any] = {"plugins": {"mode": "switch", "switch": {"publishers": "pigeon"}}}
    manager = PluginManager(config)
    assert manager.names("publishers") == ["pigeon"]
    assert type(manager.get("publishers")).__name__ == "Pigeon"
    assert len(manager.names("git_filters")) > 1
    config["plugins"]["switch"] = {"peagen.plugins.publishers": "redis"}
    assert PluginManager(config).load("publishers", "redis").__name__ == "Pigeon"
    config["plugins"]["switch"] = {"publishers": "nobody"}
    with pytest.raises(InvalidPluginSpecError, match=r"Expected an entry-point name.*nobody"):
        PluginManager(config).get("publishers")


@pytest.mark.parametrize(
    ("name", "told"),
    [("mute", "no publish"), ("function", "no class"), ("pigeons:Pigeon", "Expected an entry-point name")],
)
def test_what_is_no_plugin_is_refused(install: Install, name: str, told: str) -> None:
    install({"mute": "pigeons:Mute", "function": "pigeons:publish"})
    with pytest.raises(InvalidPluginSpecError, match=told):
        PluginManager().get("publishers", name)


def test_questions_without_an_answer_are_told() -> None:
    with pytest.raises(InvalidPluginSpecError, match="is named") as caught:
        PluginManager().get("publishers")
    assert "default_publisher" in caught.value.hint
    with pytest.raises(InvalidPluginSpecError, match="no group"):
        PluginManager().names("pigeons")
    with pytest.raises(InvalidPluginSpecError, match="no mode"):
        PluginManager({"plugins": {"mode": "all"}})
    with pytest.raises(InvalidPluginSpecError, match="cannot be made"):
        PluginManager({"publishers": {"adapters": {"redis": {"hots": "x"}}}}).get("publishers", "redis")
