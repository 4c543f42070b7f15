"""What the scripted model says about texts, documents and numbers."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from peeragent.words import STOP

SHORT = 2000
"""Characters of a task that are looked at for what it names."""

_WORD = re.compile(r"[^\W_]+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_DOCUMENT = re.compile(r"\[(https?://[^\]\s]+)\]\n([^\n]*)\n(.*?)(?=\n\n\[https?://|\Z)", re.DOTALL)
_NAME = re.compile(r"(?<![.!?]\s)(?<!^)\b([A-Z][\w&-]+(?: [A-Z][\w&-]+)*)")


def _words(text: str) -> set[str]:
    found = {word.casefold() for word in _WORD.findall(text)} - STOP
    return {word.removesuffix("s") if len(word) > 3 else word for word in found}


def _sentences(text: str) -> list[str]:
    return [each.strip() for each in _SENTENCE.split(text) if each.strip()]


def _documents(parts: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """URL, title and text of each."""
    return [(match[1], match[2], match[3].strip()) for match in _DOCUMENT.finditer(parts.get("documents", ""))]


def content(parts: Mapping[str, str]) -> str:
    """Of each document what fits the task best, with its citation."""
    asked = _words(parts.get("task", ""))
    paragraphs = []
    for place, (url, title, text) in enumerate(_documents(parts)):
        sentences = _sentences(text)
        shared = len(asked & _words(f"{title} {text}"))
        if not sentences or not shared or (place and shared < max(1, len(asked) // 3)):
            continue
        ranked = sorted(sentences, key=lambda each: len(asked & _words(each)), reverse=True)
        chosen = {*ranked[: 3 if not place else 1]}
        said = " ".join(each for each in sentences if each in chosen)
        paragraphs.append(f"{said} [{url}]" if not place else f"{title}: {said} [{url}]")
        if len(paragraphs) == 4:
            break
    if not paragraphs:
        return "The documents that were found do not answer this."
    return "\n\n".join(paragraphs)


def _text_of(task: str) -> str:
    """What a task is about, without what is to be done with it."""
    head, sign, rest = task.partition(":")
    if sign and len(head) < 120 and rest.strip():
        return rest.strip()
    head, sign, rest = task.partition("\n")
    if sign and len(head) < 120 and rest.strip():
        return rest.strip()
    return task.strip()


def _given_text(parts: Mapping[str, str]) -> str:
    try:
        context = json.loads(parts.get("context", "{}"))
    except ValueError:
        context = {}
    text = context.get("text") if isinstance(context, dict) else None
    return text if isinstance(text, str) and text.strip() else _text_of(parts.get("task", ""))


def summary(parts: Mapping[str, str]) -> dict[str, Any]:
    """The sentences whose words are most frequent."""
    text = _given_text(parts)
    sentences = _sentences(text) or ["Nothing was said"]
    counted = Counter(word.casefold() for word in _WORD.findall(text) if word.casefold() not in STOP)

    def weight(sentence: str) -> float:
        words = [word.casefold() for word in _WORD.findall(sentence)]
        return sum(counted[word] for word in words) / (len(words) + 4)

    best = sorted(range(len(sentences)), key=lambda place: (-weight(sentences[place]), place))
    points = [sentences[place] for place in sorted(best[: min(4, max(1, len(sentences) // 2 + 1))])]
    details = f"The text has {len(text.split())} words in {len(sentences)} sentences. {' '.join(points)}"
    return {"tldr": sentences[best[0]], "key_points": points, "details": details}


@cache
def _phrases() -> dict[str, dict[str, str]]:
    """English phrases and what they are in other languages; see `phrases.txt`."""
    found: dict[str, dict[str, str]] = {}
    known: dict[str, str] = {}
    for line in (files("peeragent") / "phrases.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            known = found.setdefault(line[3:].strip(), {})
        elif " = " in line:
            phrase, _, said = line.partition(" = ")
            known[phrase.strip()] = said.strip()
    return found


def translation(parts: Mapping[str, str]) -> dict[str, Any]:
    """Phrases that it knows; the rest stays as it is, and the notes say so."""
    target = parts.get("target", "English")
    text = re.sub(r"^[\"'“”«»]+|[\"'“”«»]+$", "", _quoted(parts))
    known = _phrases().get(target, {})
    phrases = sorted(known, key=len, reverse=True)
    if not phrases:
        notes = f"The scripted model knows no {target}: set a key for a real translation."
        return {"source_language": "English", "original_text": text, "translated_text": text or "…", "notes": notes}
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, phrases))})\b", re.IGNORECASE)

    def said(match: re.Match[str]) -> str:
        word = known[match[0].casefold()]
        return word[:1].upper() + word[1:] if match[0][:1].isupper() else word

    translated = pattern.sub(said, text)
    left = set(_WORD.findall(pattern.sub(" ", text)))
    notes = "" if not left else "The scripted model knows a few phrases only; what it does not know is left as it is."
    return {"source_language": "English", "original_text": text, "translated_text": translated or "…", "notes": notes}


def _quoted(parts: Mapping[str, str]) -> str:
    """The text that is to be translated."""
    task = parts.get("task", "")
    text = _given_text(parts)
    if text != task.strip():
        return text
    if len(task) > SHORT:
        return text
    quoted = re.search(r"[\"'“«](.+)[\"'”»]", task, re.DOTALL)
    if quoted is not None:
        return quoted[1]
    text = re.sub(r"^\W*(?:please )?(?:translate|how (?:do|would) you say)\s+", "", text, flags=re.IGNORECASE)
    return re.sub(r"\s+(?:in)?to\s+\w+\W*$|\s+in\s+\w+\W*$", "", text, flags=re.IGNORECASE)


def email(parts: Mapping[str, str]) -> dict[str, Any]:
    """A letter to whom the task names, about what it names."""
    task = " ".join(parts.get("task", "")[:SHORT].split())
    try:
        context = json.loads(parts.get("context", "{}"))
    except ValueError:
        context = {}
    context = context if isinstance(context, dict) else {}
    to = re.search(r"\bto ((?:my |our |the |a )?[\w-]+(?: [A-Z][\w-]+)?)", task)
    about = re.search(r"\b(?:about|regarding|concerning|on) (.+?)[.?!]*$", task)
    asking = re.search(r"\b(?:asking|telling|inviting|thanking) .+?[.?!]*$", task)
    subject = about[1] if about else asking[0] if asking else task
    subject = subject.rstrip(".?!")[:120]
    whom = str(context.get("recipient") or (to[1] if to else "all"))
    name = re.sub(r"^(?:my|our|the|a) ", "", whom)
    tone = str(
        context.get("tone")
        or next((t for t in ("friendly", "formal", "casual") if t in task.casefold()), "professional")
    )
    closing = "Best regards," if tone in ("professional", "formal") else "Cheers,"
    body = (
        f"I am writing to you about {subject}.\n\n"
        "I would like to give you an overview of where we stand, to hear what matters to you, and to agree on the next "
        "step. Would a short call this week suit you? I am happy to fit in with your schedule."
    )
    return {
        "subject": subject[:1].upper() + subject[1:] or "A short message",
        "greeting": f"Dear {name},",
        "body": body,
        "closing": closing,
        "signature": str(context.get("sender") or "[Your name]"),
        "tone": tone,
        "tips": ["Say in the first sentence what you want.", "Name a date for the next step."],
    }


def reading(parts: Mapping[str, str]) -> dict[str, Any]:
    """Sentences about statistics."""
    computed = json.loads(parts.get("statistics", "{}"))
    columns: dict[str, Any] = computed.get("columns", {})
    patterns, insights, quality, pictures = [], [], [], []
    for name, told in columns.items():
        if told.get("missing"):
            quality.append(f"{told['missing']} values of {name} are missing")
        if told.get("unreadable"):
            quality.append(f"{told['unreadable']} values of {name} are no numbers")
        if told.get("kind") != "number":
            common = told.get("most_common") or [["nothing", 0]]
            patterns.append(f"{name} has {told.get('distinct')} distinct values, most often {common[0][0]}.")
            pictures.append(f"Bar chart of {name}")
            continue
        patterns.append(f"{name} lies between {told['min']} and {told['max']}, with a mean of {told['mean']}.")
        if told.get("change"):
            way = "higher" if told["change"] > 0 else "lower"
            insights.append(f"The second half of {name} is {way} than the first by {abs(told['change'])} on average.")
        if told.get("outlier_count"):
            listed = ", ".join(map(str, told["outliers"]))
            insights.append(f"{name} has {told['outlier_count']} outliers ({listed}): look at them first.")
        pictures.append(f"Line chart and histogram of {name}")
    for pair in computed.get("correlations", [])[:3]:
        one, other = pair["columns"]
        if abs(pair["correlation"]) >= 0.5:
            insights.append(f"{one} and {other} go together (correlation {pair['correlation']}).")
    return {
        "data_overview": f"{computed.get('rows', 0)} rows in {len(columns)} columns: {', '.join(columns)}.",
        "patterns_found": patterns,
        "insights": insights or ["Nothing stands out."],
        "recommendations": ["Check the outliers and gaps at their source before deciding on these numbers."],
        "data_quality": "; ".join(quality) or "No values are missing.",
        "visualization_suggestions": pictures[:5],
    }


def competitors(parts: Mapping[str, str]) -> dict[str, Any]:
    """What documents say about a market and the names in it."""
    asked = _words(parts.get("task", ""))
    documents = [each for each in _documents(parts) if asked & _words(f"{each[1]} {each[2]}")]
    names: Counter[str] = Counter()
    where: dict[str, tuple[str, str]] = {}
    for url, _, text in documents:
        for sentence in _sentences(text):
            for name in _NAME.findall(sentence):
                names[name] += 1
                where.setdefault(name, (sentence, url))
    listed = [
        {
            "name": name,
            "strengths": [f"{where[name][0]} [{where[name][1]}]"],
            "weaknesses": ["The documents name none."],
        }
        for name, _ in names.most_common(4)
    ]
    first = documents[0] if documents else None
    overview = f"{first[2]} [{first[0]}]" if first else "The documents that were found do not tell of this market."
    matrix = [{"criterion": each["name"], "assessment": each["strengths"][0]} for each in listed]
    others = [f"{' '.join(_sentences(text)[:1])} [{url}]" for url, _, text in documents[1:3]]
    return {
        "market_overview": overview,
        "competitors": listed,
        "comparison_matrix": matrix,
        "market_positioning": "Serve a segment well that the large ones serve badly, and say so plainly.",
        "opportunities": others[:1] or ["Ask ten customers why they chose somebody else."],
        "threats": others[1:] or ["A larger rival may follow with a lower price."],
        "recommendations": ["Compare prices and delivery times each quarter.", "Interview customers who left."],
    }
