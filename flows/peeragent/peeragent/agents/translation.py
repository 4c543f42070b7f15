"""The translation agent: a text in another language, a programming language included."""

from __future__ import annotations

import re

from pydantic import BaseModel

from peeragent.agents import prompts
from peeragent.agents.tools import Tools, made
from peeragent.llm import Form
from peeragent.models.agents import Text, TranslationOutput
from peeragent.models.turns import Routed, TurnRequest, TurnResult
from penguiflow import Context

DEFAULT_TARGET = "English"
HEAD = 800
TAIL = 400
"""Characters at both ends of a task that are looked at."""
NATURAL = {
    **{name.casefold(): name for name in ("English", "Spanish", "French", "German", "Italian", "Portuguese", "Dutch")},
    **{name.casefold(): name for name in ("Russian", "Chinese", "Japanese", "Korean", "Arabic", "Turkish", "Hindi")},
    **{name.casefold(): name for name in ("Polish", "Swedish", "Danish", "Norwegian", "Finnish", "Greek", "Hebrew")},
    **{name.casefold(): name for name in ("Ukrainian", "Czech", "Romanian", "Hungarian", "Vietnamese", "Thai")},
    "mandarin": "Chinese",
    "brazilian portuguese": "Portuguese",
    "castilian": "Spanish",
    "farsi": "Persian",
    "deutsch": "German",
    "español": "Spanish",
    "français": "French",
    "italiano": "Italian",
    "türkçe": "Turkish",
    "persian": "Persian",
}
"""Languages by what they are called."""
PROGRAMMING = {
    **{name.casefold(): name for name in ("Python", "JavaScript", "TypeScript", "Java", "Kotlin", "Rust", "Ruby")},
    **{name.casefold(): name for name in ("PHP", "Swift", "Scala", "Go", "C++", "C#", "SQL", "Bash")},
    "golang": "Go",
}
_NAMES = {**NATURAL, **PROGRAMMING}
_BY_LENGTH = "|".join(re.escape(name) for name in sorted(_NAMES, key=len, reverse=True))
_TO = re.compile(rf"(?<!\w)(?:to|into|in|auf|en|al|vers)\s+(?:the\s+)?({_BY_LENGTH})(?![\w#+])", re.IGNORECASE)

_QUOTED = re.compile(r"\"[^\"]*\"|“[^“”]*”|«[^«»]*»|(?<!\w)'[^']*'(?!\w)")
_TEXT_BEGINS = re.compile(r"[:\n]")


class _Translation(BaseModel):
    source_language: Text
    original_text: str
    translated_text: Text
    notes: str = ""


TRANSLATION = Form(_Translation)


def target_of(request: TurnRequest) -> str:
    """The language that is wanted: `context["target_language"]`, else what follows *to*, else English.

    What the request says before a colon or the end of its first line counts more than what comes after, and nothing
    between quotation marks counts: that is the text.
    """
    wanted = request.context.get("target_language")
    if isinstance(wanted, str) and wanted.strip():
        return _NAMES.get(wanted.strip().casefold(), wanted.strip()[:50])
    task = request.task
    said = _QUOTED.sub(" ", task if len(task) <= HEAD + TAIL else f"{task[:HEAD]}\n{task[-TAIL:]}")
    for text in (_TEXT_BEGINS.split(said, 1)[0], said):
        # In small letters it is the verb.
        found = [match[1] for match in _TO.finditer(text) if match[1] != "go"]
        if found:
            return _NAMES[found[-1].casefold()]
    return DEFAULT_TARGET


async def translation(turn: Routed, ctx: Context, tools: Tools) -> TurnResult:
    """Have a text translated."""
    request = turn.request
    target = target_of(request)
    asked = prompts.messages(prompts.TRANSLATION, request, target=target)
    field = "translated_text" if request.stream else None
    said, used = await tools.model.form(ctx, asked, TRANSLATION, purpose="translation", stream_field=field)
    return made(turn, "translation", TranslationOutput(**said.model_dump(), target_language=target), used)
