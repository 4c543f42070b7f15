"""The problem agent: a tree of causes that exclude each other, checked, repaired by the model, or refused."""

from __future__ import annotations

import re
from itertools import combinations

from pydantic import BaseModel

from peeragent.agents import prompts
from peeragent.agents.business import told
from peeragent.agents.tools import Tools, made
from peeragent.llm import Form
from peeragent.models.agents import (
    PHASE_EMOJI,
    DemoOutput,
    DemoRound,
    FullBusinessAnalysis,
    ProblemTree,
    RootCause,
    Text,
)
from peeragent.models.turns import Routed, TurnResult
from peeragent.words import STOP, listed
from penguiflow import Context

ALIKE = 0.8
"""Of two causes: the part of their words that they share from which on they are the same."""
_WORD = re.compile(r"[^\W_]+")
_EMPTY = STOP | frozenset(listed("due lack no not"))


class _Branch(BaseModel):
    cause: Text
    sub_causes: list[Text]


class _Tree(BaseModel):
    """What a model says: how many there are of what is checked here, so that it can be told."""

    problem_type: str
    main_problem: Text
    root_causes: list[_Branch]


TREE = Form(_Tree)
TYPES = ("Growth", "Cost", "Operational", "Technology", "Regulation", "Organizational")


def complaint(tree: _Tree) -> str | None:
    """What is wrong with a tree, precisely; None for one that is right."""
    problems = []
    if tree.problem_type.strip().capitalize() not in TYPES:
        problems.append(f'"problem_type" must be one of {", ".join(TYPES)}, not {tree.problem_type!r}')
    count = len(tree.root_causes)
    if not 3 <= count <= 5:
        problems.append(f"there must be 3 to 5 root causes, not {count}")
    problems += [
        f"{branch.cause!r} must have 2 or 3 sub-causes, not {len(branch.sub_causes)}"
        for branch in tree.root_causes
        if not 2 <= len(branch.sub_causes) <= 3
    ]
    every = [text for branch in tree.root_causes for text in (branch.cause, *branch.sub_causes)]
    problems += [f"{one!r} and {other!r} say the same" for one, other in combinations(every, 2) if same(one, other)]
    return "; ".join(problems[:6]) or None


def same(one: str, other: str) -> bool:
    """Whether two causes say the same: in their letters, or in nearly all of their words."""
    mine, theirs = _words(one), _words(other)
    if not mine or not theirs:
        return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()
    return len(mine & theirs) / len(mine | theirs) >= ALIKE


def _words(text: str) -> set[str]:
    words = {word.removesuffix("s") if len(word) > 3 else word for word in _WORD.findall(text.casefold())}
    return words - _EMPTY or words


async def problem(turn: Routed, ctx: Context, tools: Tools) -> TurnResult:
    """Have a tree made, of a diagnosis where there is one."""
    request, diagnosis = turn.request, turn.diagnosis
    parts = {} if diagnosis is None else {"diagnosis": diagnosis.model_dump_json(indent=1)}
    if turn.rounds:
        parts["answers"] = told(turn.rounds)
    asked = prompts.messages(prompts.TREE, request, **parts)
    said, used = await tools.model.form(ctx, asked, TREE, purpose="tree", check=complaint, code="NOT_MECE")
    tree = ProblemTree.model_validate(
        {
            "problem_type": said.problem_type.strip().capitalize(),
            "main_problem": said.main_problem,
            "root_causes": [RootCause.model_validate(branch.model_dump()) for branch in said.root_causes],
        }
    )
    if diagnosis is None:
        return made(turn, "problem_tree", tree, used)
    if request.demo:
        rounds = [
            DemoRound(
                phase=each.phase,
                phase_emoji=PHASE_EMOJI[each.phase],
                questions=each.questions,
                answer="\n".join(each.answers.values()),
            )
            for each in turn.rounds
        ]
        demo = DemoOutput(task=request.task, rounds=rounds, diagnosis=diagnosis, problem_tree=tree)
        return made(turn, "demo", demo, used)
    analysis = FullBusinessAnalysis(**diagnosis.model_dump(), diagnosis=diagnosis, problem_tree=tree)
    return made(turn, "full_analysis", analysis, used)
