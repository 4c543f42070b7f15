"""Words that speak for an agent. They count as whole words only, whatever the alphabet around them is."""

from __future__ import annotations

import re
from collections.abc import Iterable

from peeragent.models.agents import Agent
from peeragent.words import listed

INTENT = 4
"""Weight of what is plainly said: `translate`, `write … function`."""
HINT = 2
"""Weight of what only points to an agent: a question, `in Python`."""
TOPIC = 1
"""Weight of a word that only belongs to a field."""
LEAD = 2
"""On top, for an intent that the task begins with."""
LEAD_WORDS = 4
"""What may stand before such an intent: `could you please …`."""

_LANGUAGES = listed(
    "python javascript typescript java c++ c# golang rust ruby php kotlin swift scala perl haskell lua sql postgresql "
    "mysql bash powershell html css react django flask fastapi node.js"
)
_NATURAL = listed(
    "english spanish french german italian portuguese dutch russian chinese mandarin japanese korean arabic turkish "
    "hindi polish swedish danish norwegian finnish greek hebrew ukrainian czech"
)
_THINGS = (
    r"functions?|scripts?|programs?|code|class(?:es)?|methods?|quer(?:y|ies)|apis?|endpoints?|algorithms?|regex(?:es)?|"
    r"unit tests?|tests|decorators?|loops?|parsers?|clis?|components?|snippets?|modules?|sql|apps?|bugs?"
)
_FALLS = (
    r"drop(?:s|ped|ping)?|f[ae]ll(?:s|en|ing)?|declin(?:e|es|ed|ing)|decreas(?:e|es|ed|ing)|shr[iau]nk(?:s|ing)?|"
    r"going down|down|lost|losing|stagnat(?:e|es|ed|ing)|slow(?:s|ed|ing)?|suffer(?:s|ed|ing)?|plummet(?:s|ed|ing)?"
)
_RISES = r"rising|rose|risen|increas(?:e|es|ed|ing)|grow(?:s|ing)?|grew|too high|explod(?:e|es|ed|ing)|out of control"
_GOODS = (
    r"sales|revenues?|profits?|profitability|margins?|customers?|clients?|orders|conversions?|conversion rate|"
    r"retention|market share|productivity|turnover|growth|bookings|subscriptions?|traffic|morale|satisfaction"
)
_ILLS = r"costs?|churn|expenses?|complaints?|returns|attrition|staff turnover|delays|refunds"

INTENTS: dict[Agent, tuple[str, ...]] = {
    Agent.CODE: (
        rf"(?:write|creat|generat|implement|build|mak|develop|cod|fix|add)(?:e|es|ing|s)?\b(?:[^.?!\n]|\.\w){{0,50}}?\b(?:{_THINGS})",
        r"refactor(?:ing)?",
        r"debug(?:ging)?",
        r"stack ?trace",
        r"unit tests? for",
    ),
    Agent.CONTENT: (
        r"explain(?:ing|s)?",
        r"describe",
        r"research",
        r"tell me (?:more )?about",
        r"(?:write|draft|create)\b[^.?!\n]{0,40}?\b(?:articles?|blog posts?|essays?|posts?|guide|overview)",
        r"(?:latest|current|recent)\b[^.?!\n]{0,30}?\b(?:trends?|news|developments?)",
        r"history of",
        r"define|definition of",
        r"compare",
    ),
    Agent.BUSINESS: (
        rf"(?:{_GOODS})\b[^.?!\n]{{0,40}}?\b(?:{_FALLS})",
        rf"(?:{_FALLS})\b[^.?!\n]{{0,25}}?\b(?:{_GOODS})",
        rf"(?:{_ILLS})\b[^.?!\n]{{0,40}}?\b(?:{_RISES})",
        rf"(?:{_RISES})\b[^.?!\n]{{0,25}}?\b(?:{_ILLS})",
        r"diagnos(?:e|es|ing|is)",
        r"(?:customers|clients|employees|people|users) (?:are |keep )?(?:leav(?:e|ing)|cancel(?:l?ing)?|quit(?:ting)?)",
        r"(?:our|my) (?:business|company|team|startup|shop|firm) (?:is|are|has|keeps|struggles|struggling)",
        r"business problem",
        rf"(?:reduc|improv|increas|boost|grow|rais|cut|lower)(?:e|ing)?\b (?:our |my |the )?(?:{_GOODS}|{_ILLS})",
    ),
    Agent.PROBLEM: (r"problem trees?", r"issue trees?", r"mece", r"root[- ]cause (?:tree|analysis)"),
    Agent.SUMMARY: (r"summari[sz](?:e|es|ed|ing)", r"summary", r"tl;?dr", r"key points", r"condense", r"recap"),
    Agent.TRANSLATE: (
        r"translat(?:e|es|ed|ing|ion)",
        r"how (?:do|would) you say",
        rf"(?:say|put|render) (?:this|that|it|the following)\b[^.?!\n]{{0,40}}?\bin(?:to)? (?:{'|'.join(_NATURAL)})",
    ),
    Agent.EMAIL: (
        r"(?:write|draft|compose|send|prepare|reply|respond|answer)\b[^.?!\n]{0,50}?\be-?mails?",
        r"e-?mail (?:to|for|about|asking|reply)",
        r"subject line",
    ),
    Agent.DATA: (
        r"analy[sz](?:e|es|ing|is)\b[^.?!\n]{0,40}?\b(?:data|datasets?|numbers|csv|figures|tables?|statistics|spreadsheet|survey)",
        r"data analysis",
        r"(?:mean|median|average|standard deviation|variance|correlation|outliers?|percentiles?) (?:of|in|between|for)",
        r"descriptive statistics",
    ),
    Agent.COMPETITOR: (
        r"competitor analysis",
        r"competitive (?:analysis|landscape|advantage|positioning)",
        r"analy[sz]e\b[^.?!\n]{0,30}?\bcompetitors?",
        r"(?:who are|our|my|the|main|top) (?:[a-z]+ ){0,2}?(?:competitors|rivals)",
        r"swot",
        r"compare\b[^.?!\n]{0,60}?\b(?:competitors?|rivals?)",
    ),
}
"""Patterns: each speaks for the agent by itself."""

HINTS: dict[Agent, tuple[str, ...]] = {
    Agent.CODE: (rf"(?:in|using|with) (?:{'|'.join(map(re.escape, _LANGUAGES))})",),
    Agent.CONTENT: (
        r"what(?: is|'s| are| was| were)",
        r"wh(?:o|ere|en) (?:is|are|was|were|did)",
        r"who (?:won|wrote|invented|discovered|founded)",
        r"how (?:does|do|did) (?!i\b|you say)",
        r"why (?:is|are|was|were|do|does|did)",
    ),
    Agent.BUSINESS: (rf"(?:our|my) (?:{_GOODS}|{_ILLS})",),
    Agent.TRANSLATE: (rf"(?:in)?to (?:{'|'.join(_NATURAL)})",),
}
"""Patterns: each decides where nothing else does."""

TOPICS: dict[Agent, tuple[str, ...]] = {
    Agent.CODE: (
        *_LANGUAGES,
        *listed(
            "function algorithm code script program programming refactor compile regex debugger exception api class"
        ),
        *("rest api", "unit test", "recursion", "sort a list", "linked list", "binary search"),
    ),
    Agent.CONTENT: (
        *listed("article blog essay trends news overview guide tutorial history science meaning introduction"),
        "machine learning",
    ),
    Agent.BUSINESS: (
        *listed("sales revenue profit profitability churn customers customer margin costs growth retention conversion"),
        *listed("turnover stakeholders budget business strategy market employees morale kpi pricing quarter supplier"),
        *("market share", "supply chain", "customer satisfaction"),
    ),
    Agent.PROBLEM: ("root causes", "causes"),
    Agent.SUMMARY: ("shorten", "shorter", "abstract", "digest", "in short", "in brief", "main points", "takeaways"),
    Agent.TRANSLATE: (*_NATURAL, "translator"),
    Agent.EMAIL: ("email", "e-mail", "mail", "inbox", "newsletter", "recipient", "follow-up message"),
    Agent.DATA: (
        *listed(
            "data dataset csv statistics statistical mean median average correlation outliers spreadsheet histogram"
        ),
        *("standard deviation", "time series", "pivot table"),
    ),
    Agent.COMPETITOR: listed("competitor competitors rival rivals benchmarking competition"),
}
"""Words: each makes an agent a little more likely."""


def bounded(patterns: Iterable[str]) -> re.Pattern[str]:
    """Any of the patterns, where no letter, digit or sign of a name like `C++` touches it."""
    return re.compile(rf"(?<![\w#+])(?:{'|'.join(patterns)})(?![\w#+])", re.IGNORECASE)


def _by_length(words: Iterable[str]) -> Iterable[str]:
    return (re.escape(word) for word in sorted(set(words), key=len, reverse=True))


_NEVER = (r"(?!)",)
COMPILED: dict[Agent, tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]] = {
    agent: (
        bounded(INTENTS[agent]),
        bounded(HINTS.get(agent, _NEVER)),
        bounded(_by_length(TOPICS[agent])),
    )
    for agent in INTENTS
}
"""Of each agent its intents, hints and topics."""
