"""The code agent: a program, its language, and a few words about it."""

from __future__ import annotations

import re
import textwrap
from functools import lru_cache

from peeragent.agents import prompts
from peeragent.agents.tools import Tools, made
from peeragent.keywords import bounded
from peeragent.models.agents import CodeOutput
from peeragent.models.turns import Routed, TurnRequest, TurnResult
from penguiflow import Context

DEFAULT_LANGUAGE = "python"
REMEMBERED = 300
"""Characters of texts that are looked at once."""
LOOKED_AT = 2000
"""Characters of a text that are looked at for the name of a language."""
MAX_EXPLANATION = 500
"""Characters."""

LANGUAGES: dict[str, str] = {
    "python": r"python3?|django|flask|fastapi|pandas|numpy|pytest",
    "typescript": r"typescript|ts|angular|deno",
    "javascript": r"javascript|js|node(?:\.?js)?|react|vue|express\.js|jquery",
    "java": r"java|spring boot|junit|jvm",
    "kotlin": r"kotlin",
    "csharp": r"c#|csharp|c-sharp|\.net|dotnet",
    "cpp": r"c\+\+|cpp",
    "go": r"golang|go (?:function|program|code|script|struct|routine|module|test)s?|(?:in|using|with) go",
    "rust": r"rust|cargo",
    "ruby": r"ruby|rails",
    "php": r"php|laravel",
    "swift": r"swift|swiftui",
    "scala": r"scala",
    "haskell": r"haskell",
    "perl": r"perl",
    "lua": r"lua",
    "r": r"(?:in|using|with) r|r (?:script|code|function)s?",
    "sql": r"sql|postgres(?:ql)?|mysql|sqlite|t-sql|select statement",
    "bash": r"bash|shell scripts?|zsh|shell command",
    "powershell": r"powershell",
    "html": r"html5?|web page",
    "css": r"css|stylesheet",
    "c": r"(?:in|using|with) c|c (?:function|program|code)s?|ansi c",
    "yaml": r"yaml|docker-compose|compose file",
    "dockerfile": r"dockerfile",
}
"""Names of languages, as fences have them, and the words that speak for each."""
_ALIASES = {
    "py": "python",
    "python3": "python",
    "js": "javascript",
    "jsx": "javascript",
    "node": "javascript",
    "ts": "typescript",
    "tsx": "typescript",
    "c++": "cpp",
    "cxx": "cpp",
    "c#": "csharp",
    "cs": "csharp",
    "golang": "go",
    "rs": "rust",
    "rb": "ruby",
    "sh": "bash",
    "shell": "bash",
    "zsh": "bash",
    "console": "bash",
    "kt": "kotlin",
    "hs": "haskell",
    "pl": "perl",
    "ps1": "powershell",
    "yml": "yaml",
    "postgresql": "sql",
    "mysql": "sql",
    "sqlite": "sql",
    "plpgsql": "sql",
    "tsql": "sql",
    "htm": "html",
}
_SAID = {language: bounded([words]) for language, words in LANGUAGES.items()}
_SAID_HERE = re.compile(rf"(?={bounded(LANGUAGES.values()).pattern})", re.IGNORECASE)
"""Where words begin that speak for a language, whichever: one look at a text in place of one for each language."""
_EXPLICIT = re.compile(r"\b(?:in|into|to|using|with)\s+([A-Za-z][\w+#]*)", re.IGNORECASE)
_FENCE = re.compile(
    r"^[ \t]*(```+|~~~+)[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE
)


def language_of(task: str, request: TurnRequest | None = None) -> str:
    """The language that a task asks for, by what it says, then by what the session said; `python` by default.

    Of several the one after a word such as *in* or *to* is meant, else the first.
    """
    for text in (task, *([] if request is None else _said_before(request))):
        found = _language_in(text)
        if found is not None:
            return found
    return DEFAULT_LANGUAGE


def _said_before(request: TurnRequest) -> list[str]:
    wanted = request.context.get("language")
    return [*([wanted] if isinstance(wanted, str) else []), *(turn.text for turn in reversed(request.history))]


def _language_in(text: str) -> str | None:
    # What a session said is looked at in each of its turns.
    return _named_in(text) if len(text) <= REMEMBERED else _named_in.__wrapped__(text[:LOOKED_AT])


@lru_cache(1024)
def _named_in(text: str) -> str | None:
    here = [match.start() for match in _SAID_HERE.finditer(text)]
    places = {}
    for language, pattern in _SAID.items() if here else ():
        for place in here:
            if pattern.match(text, place) is not None:
                places[language] = place
                break
    if not places:
        return None
    if len(places) > 1:
        # "Convert this python script to java": what comes last after such a word is what is wanted.
        for match in reversed(list(_EXPLICIT.finditer(text))):
            for language in places:
                if _SAID[language].fullmatch(match[1]):
                    return language
    return min(places, key=lambda language: places[language])


def parsed(reply: str, wanted: str) -> CodeOutput:
    """A reply taken apart: its first fenced block is the code, the rest explains it; without a fence all is code."""
    match = _FENCE.search(reply)
    if match is None or not match[3].strip():
        return CodeOutput(code=reply.strip("`~ \n") or reply, language=wanted, explanation="")
    said = match[2].casefold()
    language = _ALIASES.get(said, said) or wanted
    explanation = f"{reply[: match.start()].strip()}\n\n{reply[match.end() :].strip()}".strip()
    return CodeOutput(code=textwrap.dedent(match[3]).strip("\n"), language=language, explanation=_cut(explanation))


def _cut(text: str) -> str:
    if len(text) <= MAX_EXPLANATION:
        return text
    return f"{text[: MAX_EXPLANATION - 1].rsplit(None, 1)[0]}…"


async def code(turn: Routed, ctx: Context, tools: Tools) -> TurnResult:
    """Have a program written."""
    request = turn.request
    wanted = language_of(request.task, request)
    asked = prompts.messages(prompts.CODE, request, language=wanted)
    reply, used = await tools.model.text(ctx, asked, purpose="code", stream=request.stream)
    return made(turn, "code", parsed(reply, wanted), used)
