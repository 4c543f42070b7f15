"""The kinds of plugins: their entry-point groups, where the configuration speaks of them, what is built in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PREFIX = "peagen.plugins."


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One kind."""

    name: str
    """As callers say it: `publishers`."""
    entry_points: str
    section: str
    """The configuration's table."""
    items: tuple[str, ...] = ("adapters",)
    """Tables in the section that say what each plugin is made with."""
    default: str = ""
    """The section's key that names the plugin to take."""
    built_in: Mapping[str, str] = field(default_factory=dict)
    """`module:Class` by name."""
    methods: tuple[str, ...] = ()
    """What its classes must have."""


def _group(name: str, section: str, **about: Any) -> Group:
    return Group(name=name, entry_points=PREFIX + name, section=section, **about)


_FILTERS = {
    "file": "peagen.plugins.git_filters.file_filter:FileFilter",
    "s3fs": "peagen.plugins.git_filters.s3fs_filter:S3FSFilter",
    "s3": "peagen.plugins.git_filters.s3fs_filter:S3FSFilter",
    "minio": "peagen.plugins.git_filters.minio_filter:MinioFilter",
}
_STORAGE_METHODS = ("upload", "download", "clean", "smudge")

GROUPS: dict[str, Group] = {
    each.name: each
    for each in (
        _group(
            "publishers",
            "publishers",
            default="default_publisher",
            built_in={
                "redis": "peagen.plugins.publishers.redis_publisher:RedisPublisher",
                "rabbitmq": "peagen.plugins.publishers.rabbitmq_publisher:RabbitMQPublisher",
                "webhook": "peagen.plugins.publishers.webhook_publisher:WebhookPublisher",
            },
            methods=("publish",),
        ),
        _group(
            "git_filters",
            "storage",
            items=("filters",),
            default="default_filter",
            built_in=_FILTERS,
            methods=_STORAGE_METHODS,
        ),
        _group(
            "storage_adapters",
            "storage",
            default="default_storage_adapter",
            built_in=_FILTERS,
            methods=("upload", "download"),
        ),
        _group(
            "result_backends",
            "result_backends",
            default="default_backend",
            built_in={
                "local_fs": "peagen.plugins.result_backends.local_fs:LocalFsResultBackend",
                "postgres": "peagen.plugins.result_backends.postgres:PostgresResultBackend",
                "in_memory": "peagen.plugins.result_backends.in_memory:InMemoryResultBackend",
            },
            methods=("store", "list_tasks"),
        ),
        _group(
            "vcs",
            "vcs",
            default="default_vcs",
            built_in={"git": "peagen.plugins.vcs.git_vcs:GitVCS"},
            methods=("commit", "push"),
        ),
        _group("queues", "queues", default="default_queue"),
        _group("evaluators", "evaluation", items=("evaluators",), default="default_evaluator"),
        _group("evaluator_pools", "evaluation", items=("pools",), default="pool"),
        _group("mutators", "mutation", items=("mutators",), default="default_mutator"),
        _group("programs", "programs", items=("adapters", "programs"), default="default_program"),
        _group("selectors", "selectors", items=("adapters", "selectors"), default="default_selector"),
        _group("consumers", "consumers", default="default_consumer"),
        _group("indexers", "indexers", default="default_indexer"),
        _group("cryptos", "cryptos", default="default_crypto"),
        _group("secret_drivers", "secrets", default="default_secret"),
        Group(
            name="key_providers",
            entry_points="swarmauri.key_providers",
            section="key_providers",
            items=("providers",),
            default="default_provider",
        ),
    )
}
"""By name."""
