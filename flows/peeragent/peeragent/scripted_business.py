"""What the scripted model says about problems of a business."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d")
_EVASIVE = re.compile(
    r"^\W*(?:i )?(?:do ?n[o']t|dont|dunno|no idea|not sure|idk|maybe|whatever|n/?a|none|no|yes|ok(?:ay)?|hm+|nothing|"
    r"something|asdf\w*|test|foo|bar|blah)\b[\w\s']{0,20}\W*$",
    re.IGNORECASE,
)
_PAIR = re.compile(r"^Q: (.*?)\nA: (.*?)(?=\nQ: |\Z)", re.DOTALL | re.MULTILINE)

_SUBJECTS = (
    ("Cost", r"costs?|expens\w*|budget|spend\w*|margins?|overhead", "costs"),
    ("Technology", r"systems?|software|outages?|platform|servers?|downtime|bugs?|technolog\w*|data breach", "systems"),
    ("Regulation", r"regulat\w*|complian\w*|gdpr|audit\w*|licen[cs]\w*|fines?|legal|law", "compliance"),
    ("Organizational", r"employees?|staff|teams?|morale|attrition|hiring|turnover|culture|managers?|people", "team"),
    (
        "Operational",
        r"deliver\w*|suppl\w*|product(?:ion|ivity)|quality|delays?|logistics|inventory|process\w*|warehouse|shipping",
        "operations",
    ),
    ("Growth", r"sales|revenues?|customers?|clients?|churn|growth|market\w*|conversion\w*|retention|orders?", "sales"),
)
_CRITICAL = re.compile(r"critical|urgent|crisis|million|\$\s?\d{1,9}\s?m|\d\d\s?%|bankrupt|immediately|losing", re.I)
_LOW = re.compile(r"\b(?:minor|slight(?:ly)?|small|low|eventually|no hurry)\b", re.I)

_QUESTIONS: dict[str, tuple[str, ...]] = {
    "identify": (
        "When did you first notice the problem with your {subject}, and what happened just before?",
        "How large is the effect on your {subject} in numbers: money, percent or units?",
        "Is this among your three most important problems now, and why?",
    ),
    "clarify": (
        "Which customers, regions, products or teams are hit most by the problem with your {subject}?",
        "What will have happened to your {subject} in six months if nothing changes?",
        "What have you tried by now, and what came of it?",
    ),
    "diagnose": (
        "Do you need a solution for your {subject}, or first a clear view of what drives the problem?",
        "Which data about your {subject} do you track, and since when?",
        "How will you know that the problem is solved: which number, by which date?",
    ),
}
_CATEGORIES = {"identify": "Problem identification", "clarify": "Scope and impact", "diagnose": "Root cause"}

_TREES: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "Growth": (
        ("Fewer new customers arrive", ("Marketing reaches the wrong segments", "Leads wait too long for an offer")),
        (
            "Existing customers buy less or leave",
            ("Onboarding ends before value is visible", "Service response became slower", "Loyalty is not rewarded"),
        ),
        ("The offer lost against alternatives", ("Rivals undercut prices", "Features lag behind expectations")),
        ("Demand in the market shifted", ("Budgets of buyers shrink", "Season and trends moved elsewhere")),
    ),
    "Cost": (
        ("Purchased goods became dearer", ("Contracts follow raw material indices", "Volumes are split among vendors")),
        ("Work takes more hours per unit", ("Manual rework after errors", "Idle time between shifts")),
        ("Overhead grew ahead of output", ("Licences without users", "Offices larger than needed")),
        ("Waste and scrap are not controlled", ("Forecasts miss real demand", "Damages happen in storage")),
    ),
    "Operational": (
        ("Planning does not match demand", ("Forecasts are updated monthly only", "Promotions are not announced")),
        (
            "Capacity has bottlenecks",
            ("One machine limits the line", "Skilled operators are missing", "Maintenance is unplanned"),
        ),
        ("Suppliers are unreliable", ("Single sourcing of key parts", "Lead times are not monitored")),
        ("Hand-overs lose information", ("Orders are typed twice", "Responsibilities end at departments")),
    ),
    "Technology": (
        ("Architecture does not scale", ("One database serves everything", "Load is not balanced")),
        ("Changes reach production untested", ("Automated checks are missing", "Releases are large and rare")),
        ("Failures are noticed late", ("Alerts cover servers only", "Nobody owns on-call duty")),
        ("Knowledge is concentrated", ("Documentation is outdated", "Vendors hold the expertise")),
    ),
    "Regulation": (
        ("Rules are understood too late", ("Nobody watches new legislation", "Legal advice joins at the end")),
        ("Processes do not produce evidence", ("Records stay in mailboxes", "Approvals are verbal")),
        ("Partners do not comply", ("Contracts lack audit rights", "Subprocessors are unknown")),
    ),
    "Organizational": (
        ("Goals conflict between units", ("Bonuses reward local targets", "Priorities change weekly")),
        ("People leave faster than they are replaced", ("Pay lags the market", "Career paths are unclear")),
        ("Decisions take too long", ("Every purchase needs the board", "Meetings end without owners")),
        ("Skills do not fit the work", ("Training stopped", "Hiring profiles are outdated")),
    ),
}


def _kind(text: str) -> tuple[str, str]:
    """The type of a problem, and the word for what it is about."""
    best, most = ("Growth", "business"), 0
    for kind, words, noun in _SUBJECTS:
        found = re.findall(rf"\b(?:{words})\b", text, re.IGNORECASE)
        if len(found) > most or (found and len(found) == most and kind == "Growth"):
            best, most = (kind, found[0].casefold() if noun in ("costs", "sales") else noun), len(found)
    return best


def _pairs(text: str) -> list[tuple[str, str]]:
    return [(match[1].strip(), match[2].strip()) for match in _PAIR.finditer(text)]


def _numbered(text: str) -> list[str]:
    return [line.partition(". ")[2] for line in text.splitlines() if line.partition(". ")[0].isdecimal()]


def questions(parts: Mapping[str, str]) -> dict[str, Any]:
    """Three questions of the round, about what the task is about."""
    phase = parts.get("round", "identify")
    _, subject = _kind(parts.get("task", ""))
    asked = [each.replace("{subject}", subject) for each in _QUESTIONS.get(phase, _QUESTIONS["identify"])]
    return {"questions": asked, "category": _CATEGORIES.get(phase, phase)}


def judgment(parts: Mapping[str, str]) -> dict[str, Any]:
    """Answers with a number in them, or some words, do; evasions do not."""
    asked = _numbered(parts.get("questions", ""))
    good: list[str] = []
    addressed: list[int] = []
    for place, (question, answer) in enumerate(_pairs(parts.get("answers", ""))):
        if not answer or _EVASIVE.match(answer):
            continue
        if not _NUMBER.search(answer) and len(_WORD.findall(answer)) < 3:
            continue
        number = asked.index(question) + 1 if question in asked else place + 1
        if number <= len(asked) and number not in addressed:
            addressed.append(number)
            good.append(answer[:200])
    missing = [each for number, each in enumerate(asked, start=1) if number not in addressed]
    if not addressed:
        feedback = "That does not say enough yet. Please give numbers, dates or names."
        return {"quality": "vague", "addressed": [], "evidence": [], "missing_info": missing, "feedback": feedback}
    quality = "good" if 2 * len(addressed) > len(asked) else "partial"
    feedback = "Thank you." if not missing else f"Thank you. Still open: {missing[0]}"
    if quality == "partial":
        feedback = f"Please also answer: {missing[0]}"
    return {
        "quality": quality,
        "addressed": addressed,
        "evidence": good,
        "missing_info": missing,
        "feedback": feedback,
    }


def answers(parts: Mapping[str, str]) -> dict[str, Any]:
    """What a customer might say."""
    _, subject = _kind(parts.get("task", ""))
    known = (
        ("When did you", "About three months ago, right after we changed our prices and a new rival opened."),
        ("How large", f"Our {subject} are 20% worse than a year ago, about $2 million so far."),
        ("three most important", "Yes, it is the most important one: the board discusses it every week."),
        ("Which customers", "Mostly small business customers in the north region; large accounts hardly notice."),
        ("six months", "We would miss the annual plan by a third and have to close one location."),
        ("What have you tried", "A discount campaign in spring: it brought orders for two weeks and then nothing."),
        ("Do you need", "First a clear view of what drives it, then a plan for the next two quarters."),
        ("Which data", "Monthly figures by region since 2022, and a survey among customers from last year."),
        ("How will you know", "When we are back at last year's level by the end of the next quarter."),
    )
    asked = _numbered(parts.get("questions", ""))
    said = [next((text for begin, text in known if begin in each), "About 15%, since March.") for each in asked]
    return {"answers": said or ["About 15%, since March."]}


def diagnosis(parts: Mapping[str, str]) -> dict[str, Any]:
    """A diagnosis from the task and the answers."""
    task, told = parts.get("task", ""), parts.get("answers", "")
    kind, subject = _kind(task)
    facts = [answer for _, answer in _pairs(told) if not _EVASIVE.match(answer)]
    first = facts[0][:160].rstrip(".") if facts else ""
    problems = {
        "Growth": "The company loses its position in the market faster than it wins new demand",
        "Cost": "Costs follow activity instead of value, and nobody is accountable for them end to end",
        "Operational": "The flow of work has a bottleneck that planning does not see",
        "Technology": "The systems are changed faster than they are kept stable",
        "Regulation": "Duties are met case by case instead of by a process that proves itself",
        "Organizational": "Responsibilities and incentives pull people in different directions",
    }
    risks = {
        "Growth": "Brand and trust erode, so that customers who left do not come back",
        "Cost": "Margins disappear before the effect shows in the annual figures",
        "Operational": "Late deliveries become the reason for which good customers leave",
        "Technology": "One outage at the wrong moment costs more than years of maintenance",
        "Regulation": "An audit finds gaps that stop the business in a market",
        "Organizational": "The people who hold the knowledge leave first",
    }
    stated = task.strip().splitlines()[0][:300] if task.strip() else "A problem that was not described"
    text = f"{task}\n{told}"
    urgency = "Critical" if _CRITICAL.search(text) else "Low" if _LOW.search(text) else "Medium"
    return {
        "customer_stated_problem": stated,
        "identified_business_problem": problems[kind] + (f" (what was said: {first})." if first else "."),
        "hidden_root_risk": f"{risks[kind]}; the {subject} are the symptom that shows first.",
        "urgency_level": urgency,
    }


def tree(parts: Mapping[str, str]) -> dict[str, Any]:
    """A tree of the kind of problem that it is."""
    task = parts.get("task", "")
    kind, _ = _kind(task)
    stated = re.sub(r"^\W*(?:\w+ )?(?:a |the )?(?:mece )?(?:problem|issue) tree\b[^:]*:?\s*", "", task, flags=re.I)
    causes = [{"cause": cause, "sub_causes": list(below)} for cause, below in _TREES[kind]]
    main = stated.strip()[:300] or task.strip()[:300] or "A problem that was not described"
    return {"problem_type": kind, "main_problem": main, "root_causes": causes}
