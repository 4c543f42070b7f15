"""What models are told: the system prompt, the messages of a run, and the small texts in them."""

from __future__ import annotations

from penguiflow.planner.prompts.messages import build_messages, build_user_prompt
from penguiflow.planner.prompts.system import build_system_prompt, render_tool
from penguiflow.planner.prompts.texts import (
    merge_prompt_extras,
    render_arg_fill_guidance,
    render_arg_fill_prompt,
    render_arg_repair_message,
    render_finish_guidance,
    render_finish_repair_prompt,
    render_graceful_failure_prompt,
    render_multi_action_guidance,
    render_observation,
    render_planning_hints,
    render_read_only_conversation_memory,
    render_read_only_external_memory,
    render_repair_message,
    render_resume_user_input,
    render_steering_input,
    render_structured_repair_prompt,
    render_summary,
    render_validation_error,
)

__all__ = [
    "build_messages",
    "build_system_prompt",
    "build_user_prompt",
    "merge_prompt_extras",
    "render_arg_fill_guidance",
    "render_arg_fill_prompt",
    "render_arg_repair_message",
    "render_finish_guidance",
    "render_finish_repair_prompt",
    "render_graceful_failure_prompt",
    "render_multi_action_guidance",
    "render_observation",
    "render_planning_hints",
    "render_read_only_conversation_memory",
    "render_read_only_external_memory",
    "render_repair_message",
    "render_resume_user_input",
    "render_steering_input",
    "render_structured_repair_prompt",
    "render_summary",
    "render_tool",
    "render_validation_error",
]
