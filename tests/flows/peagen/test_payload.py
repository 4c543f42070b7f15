"""Payloads: every form of the root, and errors that tell the place."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from peagen.core import load_projects_payload
from peagen.errors import (
    MissingProjectsListError,
    PeagenError,
    ProjectsPayloadFormatError,
    ProjectsPayloadValidationError,
)
from tests.flows.peagen.founding import PAYLOAD


def told(error: ProjectsPayloadValidationError) -> list[str]:
    """Its errors, with a dash that is easier to type."""
    return [line.replace(" \N{EN DASH} ", " - ", 1) for line in error.errors]


def test_every_form_of_the_root(tmp_path: Path) -> None:
    path = tmp_path / "payload.yaml"
    path.write_text(PAYLOAD)
    projects = load_projects_payload(path)
    assert [project["NAME"] for project in projects] == ["ExampleParserProject"]
    assert load_projects_payload(str(path)) == projects
    assert load_projects_payload(PAYLOAD) == projects
    assert load_projects_payload({"PROJECTS": projects}) == projects
    assert load_projects_payload({"schemaVersion": "1.0.0", "PROJECTS": projects}) == projects
    assert load_projects_payload(projects) == projects
    assert load_projects_payload("- {NAME: a, PACKAGES: []}") == [{"NAME": "a", "PACKAGES": []}]
    assert load_projects_payload("PROJECTS: []") == []
    (tmp_path / "p.json").write_text(json.dumps({"PROJECTS": projects}))
    assert load_projects_payload(tmp_path / "p.json") == projects


@pytest.mark.parametrize(
    ("source", "kind", "told"),
    [
        ("a: 1", MissingProjectsListError, "no list of PROJECTS"),
        ("PROJECTS: 1", MissingProjectsListError, "PROJECTS is no list"),
        ("just text", ProjectsPayloadFormatError, "not 'just text'"),
        ("日" * 100, ProjectsPayloadFormatError, "not '日日"),
        ("\ud800", ProjectsPayloadFormatError, "surrogates"),
        ("", ProjectsPayloadFormatError, "not empty"),
        ("\nx: [", ProjectsPayloadFormatError, "no YAML"),
        pytest.param("[" * 300_000, ProjectsPayloadFormatError, "nested too deeply", id="lists"),
        pytest.param("- " * 300_000, ProjectsPayloadFormatError, "nested too deeply", id="blocks"),
        pytest.param("{a: " * 300_000, ProjectsPayloadFormatError, "nested too deeply", id="mappings"),
        ("gone.yaml", ProjectsPayloadFormatError, "cannot be read: No such file"),
        ("PROJECTS:\n  - &a [*a]", ProjectsPayloadFormatError, "contains itself"),
        ("d: 2024-13-01", ProjectsPayloadFormatError, "month must be in 1..12"),
        ("!!python/object/apply:os.system ['true']", ProjectsPayloadFormatError, "constructor"),
    ],
)
def test_what_is_no_payload(source: str, kind: type[PeagenError], told: str) -> None:
    with pytest.raises(kind, match=re.escape(told)) as raised:
        load_projects_payload(source)
    assert type(raised.value) is kind
    assert raised.value.where


def test_files_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(ProjectsPayloadFormatError, match="not UTF-8"):
        load_projects_payload(tmp_path / "latin")
    with pytest.raises(ProjectsPayloadFormatError, match="Is a directory"):
        load_projects_payload(tmp_path)


@pytest.mark.parametrize("json_name", [True, False])
def test_the_line_of_broken_yaml(tmp_path: Path, json_name: bool) -> None:
    path = tmp_path / ("p.json" if json_name else "p.yaml")
    path.write_text("PROJECTS:\n  - NAME: [\n  - x\n: ]")
    with pytest.raises(ProjectsPayloadFormatError) as raised:
        load_projects_payload(path)
    assert re.fullmatch(rf"{re.escape(str(path))}:\d", raised.value.where)


def test_aliases_do_not_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    with pytest.raises(ProjectsPayloadFormatError, match="too many values"):
        load_projects_payload("\n".join(lines))
    assert load_projects_payload("- &p {NAME: a, PACKAGES: []}\n- *p")[1]["NAME"] == "a"


def test_each_error_has_its_path_and_line() -> None:
    text = """\
schemaVersion: 2.0.0
PROJECTS:
  - NAME: x
    PACKAGES:
      - MODULES: 3
        EXTRAS: 5
      - NAME: ""
        MODULES:
          - EXTRAS: {}
  - 7
FOO: 1
"""
    with pytest.raises(ProjectsPayloadValidationError) as raised:
        load_projects_payload(text)
    assert sorted(told(raised.value)) == sorted(
        [
            "schemaVersion - must be '1.0.0', not '2.0.0' (line 1)",
            "the root - FOO is not known here; there are schemaVersion, PROJECTS, SOURCE (line 11)",
            "PROJECTS[0].PACKAGES[0] - NAME is missing (line 5)",
            "PROJECTS[0].PACKAGES[0].MODULES - must be a list or empty, not '3' (line 5)",
            "PROJECTS[0].PACKAGES[0].EXTRAS - must be a mapping or empty, not '5' (line 6)",
            "PROJECTS[0].PACKAGES[1].NAME - must not be empty (line 7)",
            "PROJECTS[0].PACKAGES[1].MODULES[0] - NAME is missing (line 9)",
            "PROJECTS[1] - must be a mapping, not '7' (line 10)",
        ]
    )
    assert all(error in raised.value.report() for error in raised.value.errors)


def test_a_list_is_validated_with_its_lines_too() -> None:
    with pytest.raises(ProjectsPayloadValidationError) as raised:
        load_projects_payload("- NAME: a\n- NOM: b\n- 1\n")
    assert told(raised.value) == [
        "PROJECTS[1] - NAME is missing (line 2)",
        "PROJECTS[2] - must be a mapping, not '1' (line 3)",
    ]


def test_a_document_has_no_lines() -> None:
    with pytest.raises(ProjectsPayloadValidationError) as raised:
        load_projects_payload({"PROJECTS": [{}]})
    assert told(raised.value) == ["PROJECTS[0] - NAME is missing"]


def test_many_errors_are_counted() -> None:
    with pytest.raises(ProjectsPayloadValidationError) as raised:
        load_projects_payload([{} for _ in range(50)])
    assert len(raised.value.errors) == 21
    assert raised.value.errors[-1] == "… and 30 more"


def test_whatever_else_a_set_wants_is_accepted() -> None:
    project: dict[str, Any] = {
        "NAME": 7,
        "ROOT": None,
        "EXTRAS": None,
        "OWN": [1],
        "PACKAGES": [{"NAME": "p", "MODULES": None, "X": 1, "EXTRAS": {"A": None}}, {"NAME": 1.5}],
    }
    assert load_projects_payload([project]) == [project]


def test_the_points_of_an_experiment() -> None:
    meta = {"design_id": "spec-000", "factors": {"size": "small"}, "LLM_FACTORS": {}}
    source = {"spec": "s.yml", "template": "t.yml", "spec_checksum": "0" * 64, "context": None}
    inner = {"NAME": "a", "PACKAGES": [], "EXPERIMENT": True}
    bundle: dict[str, Any] = {"PROJECTS": [{"META": meta, "PROJECTS": [inner]}], "SOURCE": source}
    assert load_projects_payload(bundle) == [{"META": meta, **inner}]
    with pytest.raises(ProjectsPayloadValidationError, match="required where a project has an EXPERIMENT"):
        load_projects_payload({"PROJECTS": bundle["PROJECTS"]})
    with pytest.raises(ProjectsPayloadValidationError) as raised:
        load_projects_payload({"PROJECTS": [{"META": {}, "PROJECTS": [{}]}], "SOURCE": {"spec": 1, "template": ""}})
    assert told(raised.value) == [
        "PROJECTS[0].META - design_id is missing",
        "PROJECTS[0].PROJECTS[0] - NAME is missing",
        "SOURCE - spec_checksum is missing",
        "SOURCE.spec - must be a text, not '1'",
    ]


def test_a_project_that_makes_nothing_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "peagen"):
        load_projects_payload([{"NAME": "a", "PKGS": []}])
    assert "PKGS is called PACKAGES" in caplog.text
