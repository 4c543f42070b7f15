"""All configuration: from the environment and `.env`, checked before anything starts."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from limits import parse
from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from peeragent import VERSION

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
SCHEMES = {
    "redis_url": ("redis", "rediss", "unix"),
    "mongodb_url": ("mongodb", "mongodb+srv"),
    "search_url": ("http", "https"),
    "openai_base_url": ("http", "https"),
}


class Settings(BaseSettings):
    """Every field is the environment variable of its name, in any case; `.env` of the working directory counts too."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", case_sensitive=False)

    app_name: str = "PeerAgent"
    app_version: str = VERSION
    debug: bool = False
    """Errors of the server tell what happened."""
    environment: Literal["development", "staging", "production", "test"] = "development"
    api_prefix: str = Field(default="/v1", pattern=r"^(/[\w.-]+)+$")
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=0, le=65535)

    # who may
    api_keys: Annotated[dict[str, SecretStr], NoDecode] = Field(default_factory=dict)
    """`owner:key,owner:key`; a key has at least 16 characters. Without any the service listens on loopback only."""
    admin_keys: Annotated[dict[str, SecretStr], NoDecode] = Field(default_factory=dict)
    """As `api_keys`; they may also list connections."""
    cors_origins: Annotated[list[str], NoDecode] = Field(default_factory=list)
    cors_allow_credentials: bool = False
    max_body_bytes: int = Field(default=1_000_000, ge=1)
    max_frame_bytes: int = Field(default=256_000, ge=1)
    max_task_chars: int = Field(default=20_000, ge=1)
    rate_limits: bool = True
    rate_limit_execute: str = "10/minute"
    rate_limit_stream: str = "5/minute"
    rate_limit_status: str = "30/minute"
    rate_limit_default: str = "60/minute"
    rate_limit_tasks: str = "20/minute"
    rate_limit_demo: str = "5/minute"
    webhook_secret: SecretStr | None = None
    webhook_hosts: Annotated[list[str], NoDecode] = Field(default_factory=list)
    """Hosts that callbacks may go to; a private address needs to be named here. Empty: any public host."""

    # the model
    llm_provider: Literal["openai", "anthropic", "google"] = "openai"
    llm_model: str | None = None
    llm_temperature: float = Field(default=0.7, ge=0, le=2)
    llm_max_tokens: int = Field(default=2000, ge=1)
    llm_timeout: float = Field(default=60.0, gt=0)
    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = None
    google_api_key: SecretStr | None = None
    anthropic_api_key: SecretStr | None = None
    search_provider: Literal["corpus", "http"] = "corpus"
    search_url: str | None = None
    """Of `http`: a server that answers `GET ?q=&limit=` with a JSON list of `{title, url, text}`."""
    search_api_key: SecretStr | None = None
    search_timeout: float = Field(default=10.0, gt=0)

    # what is kept
    data_dir: Path = Path(".peeragent")
    redis_url: SecretStr | None = None
    redis_pool_size: int = Field(default=50, ge=1)
    store_timeout: float = Field(default=2.0, gt=0)
    """Seconds that a request waits for the store."""
    task_ttl_hours: float = Field(default=24, gt=0)
    session_ttl_minutes: float = Field(default=60, gt=0)
    max_messages_per_session: int = Field(default=50, ge=2)
    mongodb_url: SecretStr | None = None
    mongodb_db_name: str = "peeragent"
    interactions: bool = True
    """Whether the log of interactions is kept."""

    # work
    worker_concurrency: int = Field(default=4, ge=1)
    worker_lease: float = Field(default=30.0, gt=0)
    worker_max_attempts: int = Field(default=3, ge=1)
    task_timeout: float = Field(default=300.0, gt=0)
    embedded_worker: bool = True
    """Whether `peeragent serve` works on queued tasks too, so that nothing else need be started."""
    max_waiting_per_session: int = Field(default=20, ge=0)
    """Requests, or queued tasks, that a busy session lets wait; one more is a 429."""
    double_text: Literal["enqueue", "reject", "interrupt"] = "enqueue"
    ws_ping_interval: float = Field(default=20.0, gt=0)
    max_connections: int = Field(default=1000, ge=1)
    shutdown_grace: float = Field(default=10.0, ge=0)

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Literal["json", "console"] = "json"
    record_traces: bool = True
    """Whether runs are recorded, for `pf tui` and `pf inspect`."""
    record_per_second: float = Field(default=50.0, ge=0)
    """Runs of a second that are recorded at most, by each process; 0: all. What is more is done all the same."""

    @field_validator("api_keys", "admin_keys", mode="before")
    @classmethod
    def _pairs(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        pairs = [part.strip() for part in given.split(",") if part.strip()]
        if any(":" not in pair for pair in pairs):
            raise ValueError("must be owner:key,owner:key")
        return dict(pair.split(":", 1) for pair in pairs)

    @field_validator("cors_origins", "webhook_hosts", mode="before")
    @classmethod
    def _names(cls, given: object) -> object:
        return [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else given

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, given: object) -> object:
        return given.upper() if isinstance(given, str) else given

    @field_validator(
        *(f"rate_limit_{name}" for name in ("execute", "stream", "status", "default", "tasks", "demo")),
    )
    @classmethod
    def _limit(cls, given: str) -> str:
        try:
            parse(given)
        except ValueError:
            raise ValueError(f"{given!r} is no limit: it must be like 10/minute") from None
        return given

    @field_validator(*SCHEMES)
    @classmethod
    def _url(cls, given: SecretStr | str | None, info: ValidationInfo) -> SecretStr | str | None:
        text = given.get_secret_value() if isinstance(given, SecretStr) else given
        schemes = SCHEMES[info.field_name or ""]
        # The text may hold a password: it is not told.
        if text and not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return given if text else None

    @model_validator(mode="after")
    def _fits(self) -> Settings:
        keys = [*self.api_keys.items(), *self.admin_keys.items()]
        for owner, key in keys:
            if not owner or len(key.get_secret_value()) < 16:
                raise ValueError(f"the key of {owner!r} must have at least 16 characters")
        if "*" in self.cors_origins and self.cors_allow_credentials:
            raise ValueError("cors_origins=* and cors_allow_credentials do not go together")
        if self.debug and self.environment == "production":
            raise ValueError("debug tells callers what is inside: it does not go with environment=production")
        if self.search_provider == "http" and not self.search_url:
            raise ValueError("search_provider=http needs search_url")
        return self

    @property
    def needs_keys(self) -> bool:
        """Whether requests must have a key."""
        return bool(self.api_keys or self.admin_keys)


@lru_cache
def settings() -> Settings:
    """Those of this process."""
    return Settings()
