"""What may be in a configuration, and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, model_validator

from peagen.config.llm import LlmConfig
from peagen.config.section import Section


class Workspace(Section):
    """`[workspace]`."""

    org: str | None = None
    template_set: str | None = None
    workers: int | None = Field(default=None, ge=0, le=1024)


class PluginSection(Section):
    """A section that names plugins: the default one, and what each is made with."""

    default_keys: ClassVar[tuple[str, ...]] = ()
    item_keys: ClassVar[tuple[str, ...]] = ()
    other_keys: ClassVar[tuple[str, ...]] = ()

    default: str | None = None
    items: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        found = dict(given)
        default = next((found[key] for key in cls.default_keys if key in found), None)
        items: dict[str, Any] = {}
        for key in cls.item_keys:
            tables = found.get(key, {})
            if not isinstance(tables, dict):
                raise ValueError(f"{key} must be a table")
            items.update(tables)
        # In `[evaluation.evaluators]` and `[storage.filters]` the default may stand among the items.
        for key in cls.default_keys:
            if isinstance(items.get(key), str):
                default = items[key]
                del items[key]
        return {**found, "default": default, "items": items}


class StorageConfig(PluginSection):
    """`[storage]`: where artifacts go."""

    default_keys = ("default_storage_adapter", "default_filter")
    item_keys = ("filters", "adapters")


class PublishersConfig(PluginSection):
    """`[publishers]`."""

    default_keys = ("default_publisher",)
    item_keys = ("adapters",)


class QueuesConfig(PluginSection):
    """`[queues]`."""

    default_keys = ("default_queue",)
    item_keys = ("adapters",)


class ResultBackendsConfig(PluginSection):
    """`[result_backends]`."""

    default_keys = ("default_backend",)
    item_keys = ("adapters",)


class EvaluationConfig(PluginSection):
    """`[evaluation]`."""

    default_keys = ("default_evaluator",)
    item_keys = ("evaluators",)
    other_keys = ("pool", "max_workers", "async", "strict")


class MutationConfig(PluginSection):
    """`[mutation]`."""

    default_keys = ("default_mutator",)
    item_keys = ("mutators",)


class VcsConfig(PluginSection):
    """`[vcs]`."""

    default_keys = ("default_vcs",)
    item_keys = ("adapters",)


class CryptosConfig(PluginSection):
    """`[cryptos]`."""

    default_keys = ("default_crypto",)
    item_keys = ("adapters",)


class KeyProvidersConfig(PluginSection):
    """`[key_providers]`."""

    default_keys = ("default_provider",)
    item_keys = ("providers",)


class SecretsConfig(PluginSection):
    """`[secrets]`."""

    default_keys = ("default_secret",)
    item_keys = ("adapters",)


class SelectorsConfig(PluginSection):
    """`[selectors]`."""

    default_keys = ("default_selector",)
    item_keys = ("adapters", "selectors")


class ProgramsConfig(PluginSection):
    """`[programs]`."""

    default_keys = ("default_program",)
    item_keys = ("adapters", "programs")


class PluginsConfig(Section):
    """`[plugins]`: which one counts where several have the same name."""

    mode: Literal["fan-out", "fallback", "switch"] = "fan-out"
    switch: dict[str, str] = Field(default_factory=dict)


class TemplateSetEntry(Section):
    """One of `[[template_sets]]`."""

    name: str
    type: Literal["pip", "git", "local", "bundle"] = "local"
    target: str | None = None
    ref: str | None = None
    bundle_file: str | None = None


class SourcePackageEntry(Section):
    """One of `[[source_packages]]`."""

    type: Literal["git", "local", "bundle", "uri"] = "local"
    uri: str | None = None
    ref: str | None = None
    path: str | None = None
    dest: str
    expose_to_jinja: bool = False
    checksum: str | None = None


class Config(Section):
    """A configuration, whole. What it does not know of is kept, and warned of."""

    schema_version: str | None = Field(default=None, alias="schemaVersion")
    workers: int | None = Field(default=None, ge=0, le=1024)
    workspace: Workspace = Field(default_factory=Workspace)
    llm: LlmConfig = Field(default_factory=LlmConfig)
    storage: StorageConfig = Field(default_factory=StorageConfig)
    publishers: PublishersConfig = Field(default_factory=PublishersConfig)
    queues: QueuesConfig = Field(default_factory=QueuesConfig)
    result_backends: ResultBackendsConfig = Field(default_factory=ResultBackendsConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    mutation: MutationConfig = Field(default_factory=MutationConfig)
    vcs: VcsConfig = Field(default_factory=VcsConfig)
    cryptos: CryptosConfig = Field(default_factory=CryptosConfig)
    key_providers: KeyProvidersConfig = Field(default_factory=KeyProvidersConfig)
    secrets: SecretsConfig = Field(default_factory=SecretsConfig)
    selectors: SelectorsConfig = Field(default_factory=SelectorsConfig)
    programs: ProgramsConfig = Field(default_factory=ProgramsConfig)
    plugins: PluginsConfig = Field(default_factory=PluginsConfig)
    template_sets: list[TemplateSetEntry] = Field(default_factory=list)
    source_packages: list[SourcePackageEntry] = Field(default_factory=list)

    _path: Path | None = PrivateAttr(default=None)
    _warnings: list[str] = PrivateAttr(default_factory=list)
    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def path(self) -> Path | None:
        """The file that was read; None without one."""
        return self._path

    @property
    def warnings(self) -> list[str]:
        """What is in the file that nobody reads, with its line."""
        return self._warnings

    @property
    def raw(self) -> dict[str, Any]:
        """What was read, merged, with its variables replaced."""
        return self._raw

    @property
    def worker_count(self) -> int:
        """How many files are worked on at once; 0 is one after the other."""
        return self.workers if self.workers is not None else self.workspace.workers or 0
