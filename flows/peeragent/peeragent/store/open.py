"""The store that the settings name."""

from __future__ import annotations

from peeragent.settings import Settings
from peeragent.store.base import TaskStore


def make_store(settings: Settings) -> TaskStore:
    """SQLite in `data_dir`, or Redis where `redis_url` is set. It is not open yet."""
    times = {
        "task_ttl_s": settings.task_ttl_hours * 3600,
        "session_ttl_s": settings.session_ttl_minutes * 60,
        "timeout_s": settings.store_timeout,
    }
    attempts = settings.worker_max_attempts
    if settings.redis_url is not None:
        from peeragent.store.redis import RedisTaskStore

        url = settings.redis_url.get_secret_value()
        return RedisTaskStore(url, max_attempts=attempts, pool_size=settings.redis_pool_size, **times)
    from peeragent.store.sqlite import SQLiteTaskStore

    return SQLiteTaskStore(settings.data_dir / "tasks.db", max_attempts=attempts, **times)
