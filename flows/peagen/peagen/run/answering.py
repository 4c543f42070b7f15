"""What a model says to a prompt: asked for once, and known from then on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from peagen.config.llm import ModelChoice
from peagen.core.answers import extract_answer
from peagen.core.cache import Answer, AnswerCache, Objects, sha
from peagen.core.cost import Budget
from peagen.core.lock import LockEntry
from peagen.core.models import Model, answer_key, name_of, tokens_in
from peagen.core.sandbox import Limits
from peagen.core.worktree import Worktree
from peagen.errors import ModelFailed
from peagen.run.files import PlannedFile
from peagen.run.options import ProcessOptions

if TYPE_CHECKING:
    from penguiflow import Context

Tell = Callable[[Mapping[str, Any]], None]
"""Told of events; see `peagen.run.options.OnEvent`."""


class NeedsModel(Exception):
    """In a dry run: what the file will contain is not known before a model was asked."""


@dataclass(kw_only=True)
class Generated:
    """What a file is to contain, and where that came from."""

    content: bytes | None
    """None where nothing new is generated and the earlier content is not at hand."""
    templates: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    inputs: str = ""
    """The hash of what went in."""
    prompt: str | None = None
    """The hash of all that was asked."""
    answer: str | None = None
    asked: bool = False
    cached: bool = False
    usage: Answer | None = None


@dataclass(kw_only=True)
class Answers:
    """Answers for the files of one run: from before, or from the model."""

    options: ProcessOptions
    worktree: Worktree
    cache: AnswerCache
    objects: Objects
    budget: Budget
    choice: ModelChoice | None
    """None where no model is named; a check can do without."""
    model: Model | None
    places: asyncio.Semaphore
    """As many calls as there are workers are made at once."""
    tell: Tell
    to_ask: list[int | None] = field(default_factory=list)
    """In a dry run: tokens of the prompts that a model would be asked; None where one cannot be rendered yet."""

    async def get(self, file: PlannedFile, prompt: str, entry: LockEntry | None, context: Context | None) -> Generated:
        """The file's content. Raises `ModelFailed`, `BudgetExceeded`, and in a dry run `NeedsModel`."""
        choice = self.choice_for(entry)
        if choice is None:
            self.to_ask.append(tokens_in(prompt))
            raise NeedsModel
        key = answer_key(choice, prompt)
        if self.options.use_cache:
            if entry is not None and entry.prompt == key and not entry.pending:
                earlier = self._earlier(file, entry)
                if earlier is not None:
                    return replace(earlier, prompt=key)
            answer = self.cache.get(key)
            if answer is not None:
                content = _content(file, answer)
                return Generated(content=content, prompt=key, answer=sha(answer.text), cached=True)
        if self.options.dry_run:
            self.to_ask.append(tokens_in(prompt))
            raise NeedsModel
        async with self.places:
            answer = await self._ask(file, prompt, choice, context)
        content = _content(file, answer)
        # From here on nobody asks for it again, whatever happens to this process.
        await asyncio.to_thread(self.cache.put, key, answer)
        return Generated(content=content, prompt=key, answer=sha(answer.text), asked=True, usage=answer)

    def are_of(self, entry: LockEntry) -> bool:
        """Whether the model that is named is the one that an entry is from."""
        choice = self.choice
        return choice is None or (entry.model == name_of(choice) and entry.settings == _settings_of(choice))

    def choice_for(self, entry: LockEntry | None) -> ModelChoice | None:
        """Whom to ask; where nobody is named, a check takes whom the file is from."""
        if self.choice is not None or entry is None or entry.model is None:
            return self.choice
        provider, slash, model = entry.model.partition("/")
        return ModelChoice(provider=provider, model=model if slash else provider, **(entry.settings or {}))

    def about(self, generated: Generated, entry: LockEntry | None) -> dict[str, Any]:
        """What the file's new entry says of its answer."""
        choice = self.choice_for(entry)
        if generated.prompt is None or choice is None:
            return {}
        tokens = entry.tokens if entry is not None and not generated.asked else None
        if generated.usage is not None:
            tokens = generated.usage.input_tokens, generated.usage.output_tokens
        return {
            "prompt": generated.prompt,
            "answer": generated.answer,
            "tokens": tokens,
            "model": name_of(choice),
            "settings": _settings_of(choice),
        }

    def _earlier(self, file: PlannedFile, entry: LockEntry) -> Generated | None:
        """What was made of the same prompt before, where the cache is gone."""
        content, disk = self.objects.get(entry.output), self.worktree.read_bytes(file.name)
        if content is None and disk is not None and sha(disk) == entry.output:
            content = disk
        if content is None and (disk is None or self.options.force):
            return None
        return Generated(content=content, answer=entry.answer, cached=True)

    async def _ask(self, file: PlannedFile, prompt: str, choice: ModelChoice, context: Context | None) -> Answer:
        assert self.model is not None
        number = self.budget.reserve(choice, tokens_in(prompt))
        self.tell({"type": "file.asked", "file": file.name, "model": name_of(choice), "prompt": prompt})
        try:
            answer = await self.model.ask(
                prompt,
                purpose=file.name,
                context=context,
                on_retry=lambda attempt, error, seconds: self.tell(
                    {"type": "file.retry", "file": file.name, "attempt": attempt, "error": error, "seconds": seconds}
                ),
            )
        except BaseException:
            self.budget.release(number)
            raise
        self.budget.spend(number, answer)
        self.model.check(answer)
        return answer


def _content(file: PlannedFile, answer: Answer) -> bytes:
    text = extract_answer(answer.text, file.name)
    if not text.strip():
        raise ModelFailed("the model's answer has no content for the file")
    if "\0" in text:
        raise ModelFailed("the model's answer has a NUL in it, which no text has")
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise ModelFailed("the model's answer is no text that can be written as UTF-8") from error
    most = Limits().output_bytes
    if len(content) > most:
        raise ModelFailed(f"the model's answer has {len(content):,} bytes; a file may have {most:,}")
    return content


def _settings_of(choice: ModelChoice) -> dict[str, Any]:
    """What else decides an answer."""
    return {"temperature": choice.temperature, "max_tokens": choice.max_tokens}
