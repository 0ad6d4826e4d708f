"""What is published agrees with itself: metadata, the listing for scverse, workflows, issue forms."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = {path.stem: path for path in (ROOT / ".github" / "workflows").glob("*.yaml")}


def load(path: str | Path) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


@pytest.mark.parametrize("file", ["CITATION.cff", "meta.yaml"])
def test_version_and_licence_are_the_same_everywhere(file: str):
    assert load(file)["version"] == PROJECT["version"]
    assert load(file)["license"] == PROJECT["license"] == "BSD-3-Clause"


def test_a_released_version_is_in_the_changelog():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{PROJECT['version']}]" in changelog or ("dev" in PROJECT["version"] and "## [Unreleased]" in changelog)


def test_the_listing_has_what_scverse_asks_for():
    meta = load("meta.yaml")
    wanted = {"name", "description", "project_home", "documentation_home", "install", "license", "tags", "version"}
    assert wanted <= set(meta)
    assert meta["name"] == meta["install"]["pypi"] == PROJECT["name"]
    assert meta["project_home"] == PROJECT["urls"]["Homepage"] == load("CITATION.cff")["repository-code"]
    assert meta["documentation_home"] == PROJECT["urls"]["Documentation"] == load("CITATION.cff")["url"]
    assert meta["tutorials_home"].startswith(meta["documentation_home"])
    assert len(meta["tags"]) == len(set(meta["tags"])) > 0
    assert len(re.findall(r"[.:](?:\s|$)", meta["description"])) <= 2


def test_both_supported_ends_are_tested_and_installed():
    named = [c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    ends = {named[0], named[-1]}
    assert PROJECT["requires-python"] == f">={named[0]}"
    for workflow, job in (("test", "test"), ("build", "install")):
        matrix = load(WORKFLOWS[workflow])["jobs"][job]["strategy"]["matrix"]["include"]
        assert {row["python"] for row in matrix} == ends, workflow


def test_release_is_by_trusted_publishing():
    jobs = load(WORKFLOWS["release"])["jobs"]
    assert jobs["pypi"]["environment"] == "pypi"
    assert jobs["pypi"]["permissions"] == {"id-token": "write"}
    assert jobs["pypi"]["needs"] == "build"
    # what is uploaded is built in a job that may not upload
    assert "permissions" not in jobs["build"]


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_workflows_read_only_and_hold_no_secrets(name: str):
    text = WORKFLOWS[name].read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            assert len({"uses", "run"} & set(step)) == 1
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False
            # text from outside gets into a script through the environment only
            assert "${{" not in step.get("run", "")


def test_issue_forms_can_be_filled_in():
    forms = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
    assert forms
    for form in map(load, forms):
        assert form["name"]
        assert form["description"]
        identifiers = [part["id"] for part in form["body"]]
        assert len(identifiers) == len(set(identifiers)) > 0
        assert any(part["validations"]["required"] for part in form["body"])


def test_every_dependency_is_pinned_for_the_oldest_python():
    pinned = {
        re.split("==", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints" / "py311.txt").read_text().splitlines()
        if "==" in line
    }
    wanted = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
    names = {re.match(r"[\w.-]+", each).group().lower().replace("_", "-") for each in wanted}
    assert names <= pinned
