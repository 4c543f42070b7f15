"""The agents' names, and the data that each of them gives."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Agent(StrEnum):
    """An agent, by the name that requests give it."""

    CODE = "code"
    CONTENT = "content"
    BUSINESS = "business"
    PROBLEM = "problem"
    SUMMARY = "summary"
    TRANSLATE = "translate"
    EMAIL = "email"
    DATA = "data"
    COMPETITOR = "competitor"

    @property
    def agent_type(self) -> str:
        """How answers name it."""
        return AGENT_TYPES[self]


AGENT_TYPES = {
    Agent.CODE: "code_agent",
    Agent.CONTENT: "content_agent",
    Agent.BUSINESS: "business_sense_agent",
    Agent.PROBLEM: "problem_structuring_agent",
    Agent.SUMMARY: "summary_agent",
    Agent.TRANSLATE: "translation_agent",
    Agent.EMAIL: "email_agent",
    Agent.DATA: "data_analysis_agent",
    Agent.COMPETITOR: "competitor_analysis_agent",
}
PRIORITIES = {Agent.BUSINESS: 3, Agent.CODE: 2, Agent.CONTENT: 1}
"""Of a task that names none; 2 for the others. 3 goes first."""
DEFAULT_PRIORITY = 2


class Route(BaseModel):
    """Who does the work, and why."""

    model_config = ConfigDict(frozen=True)

    agent: Agent
    method: Literal["direct", "keyword", "session", "llm", "default"]
    score: float = Field(ge=0, le=1, description="How sure the choice is.")
    reason: str
    keywords: list[str] = Field(default_factory=list, description="Words of the task that spoke for the agent.")


class CodeOutput(BaseModel):
    """What the code agent gives."""

    code: Annotated[str, StringConstraints(min_length=1)]
    language: Text
    explanation: str


class ContentOutput(BaseModel):
    """What the content agent gives; `sources` are those that were retrieved and that the answer cites, 5 at most."""

    content: Text
    sources: list[str] = Field(default_factory=list, max_length=5)


Phase = Literal["identify", "clarify", "diagnose"]
PHASES: tuple[Phase, ...] = ("identify", "clarify", "diagnose")
PHASE_EMOJI: dict[Phase, str] = {"identify": "🔍", "clarify": "🎯", "diagnose": "🔬"}
MORE_EMOJI = "⚠️"
"""Of a round that is asked again."""


class BusinessAgentQuestions(BaseModel):
    """What the business agent asks in a round."""

    session_id: str
    questions: list[Text] = Field(min_length=1, max_length=3)
    category: str
    phase: Phase
    phase_emoji: str
    round_number: int = Field(ge=1, le=3, description="From 1.")
    feedback: str | None = Field(default=None, description="What the last answers lacked, where they are asked again.")


class BusinessDiagnosis(BaseModel):
    """What the business agent finds."""

    customer_stated_problem: Text
    identified_business_problem: Text
    hidden_root_risk: Text
    urgency_level: Literal["Low", "Medium", "Critical"]


class RootCause(BaseModel):
    """A branch of the tree."""

    cause: Text
    sub_causes: list[Text] = Field(min_length=2, max_length=3)


class ProblemTree(BaseModel):
    """Causes that exclude each other and leave nothing out; `agents.problem` checks what a schema cannot."""

    problem_type: Literal["Growth", "Cost", "Operational", "Technology", "Regulation", "Organizational"]
    main_problem: Text
    root_causes: list[RootCause] = Field(min_length=3, max_length=5)


class FullBusinessAnalysis(BusinessDiagnosis):
    """A diagnosis with its tree: the fields of the diagnosis are there twice, as programs of both ages read them."""

    diagnosis: BusinessDiagnosis
    problem_tree: ProblemTree
    recommendations: list[str] | None = None


class DemoRound(BaseModel):
    """A round of a conversation that the model played."""

    phase: Phase
    phase_emoji: str
    questions: list[str]
    answer: str


class DemoOutput(BaseModel):
    """What the business agent gives where the model answers its questions, too."""

    task: str
    rounds: list[DemoRound]
    diagnosis: BusinessDiagnosis
    problem_tree: ProblemTree


class SummaryOutput(BaseModel):
    """What the summary agent gives."""

    type: Literal["summary"] = "summary"
    tldr: Text
    key_points: list[Text]
    details: str
    word_count_reduction: str


class TranslationOutput(BaseModel):
    """What the translation agent gives."""

    type: Literal["translation"] = "translation"
    source_language: Text
    target_language: Text
    original_text: str
    translated_text: Text
    notes: str = ""


class EmailOutput(BaseModel):
    """What the e-mail agent gives."""

    type: Literal["email"] = "email"
    subject: Text
    greeting: str
    body: Text
    closing: str
    signature: str
    full_email: Text
    tone: str
    tips: list[str] = Field(default_factory=list)


class DataAnalysisOutput(BaseModel):
    """What the data agent gives. Its numbers are computed, not written by the model."""

    type: Literal["data_analysis"] = "data_analysis"
    data_overview: str
    key_statistics: dict[str, Any]
    patterns_found: list[str]
    insights: list[str]
    recommendations: list[str]
    data_quality: str
    visualization_suggestions: list[str]


class CompetitorAnalysisOutput(BaseModel):
    """What the competitor agent gives; `sources` as in `ContentOutput`."""

    type: Literal["competitor_analysis"] = "competitor_analysis"
    market_overview: str
    competitors: list[dict[str, Any]]
    comparison_matrix: dict[str, Any]
    market_positioning: str
    opportunities: list[str]
    threats: list[str]
    recommendations: list[str]
    sources: list[str] = Field(default_factory=list, max_length=5)


class ModelUsed(BaseModel):
    """Which model answered."""

    provider: str
    model: str
    scripted: bool = Field(description="True where no key is set: the answer comes from rules.")
    fallback: bool = Field(default=False, description="True where a provider before it failed.")


class AgentResult(BaseModel):
    """What an agent gives: `data` is one of the outputs above, as JSON."""

    agent_type: str
    type: str
    """`code`, `content`, `questions`, `full_analysis`, `problem_tree`, `demo`, or the `type` of the output."""
    data: dict[str, Any]
    model: ModelUsed
