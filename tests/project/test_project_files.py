"""What the files around the code say is true: how to cite, how to contribute, the container, the templates of issues."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from pin_memory.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))


def test_the_citation_is_that_of_the_project_and_of_the_readme() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"], citation["title"]) == (PROJECT["version"], PROJECT["license"], PROJECT["name"])
    paper = citation["preferred-citation"]
    entry = (ROOT / "README.md").read_text(encoding="utf-8").partition("@inproceedings")[2]
    authors = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    for field in (paper["title"], authors, str(paper["year"]), paper["collection-title"]):
        assert f"{{{field}}}" in entry


def test_contributing_names_files_that_exist() -> None:
    names = {
        name
        for name in re.findall(r"`((?:src|tests|conf|methods|readers|networks|docs|\.ci)/[\w./]+)`", CONTRIBUTING)
        if "NAME" not in name
    }
    assert len(names) > 8
    assert [
        name for name in names if not any((ROOT / base / name).exists() for base in ("", "src/pin_memory", "src/pin_memory/domains"))
    ] == []


def test_contributing_names_targets_and_cases_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {word for line in re.findall(r"make ([a-z -]+)", CONTRIBUTING) for word in line.split()}
    assert {"setup", "lint", "test"} <= targets
    assert [target for target in targets if f"\n{target}:" not in makefile] == []
    for case, file in (
        ("DomainCase", "domains/readers/domain_cases"),
        ("IndexLabelCase", "domains/readers/domain_cases"),
        ("NetworkCase", "networks/network_cases"),
    ):
        assert f"`{case}`" in CONTRIBUTING
        assert f"\nclass {case}" in (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8")


def test_the_container_copies_files_that_reach_it() -> None:
    """What is copied exists and is not held back by .dockerignore, and the package's build finds its README and licence there."""
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()}
    admitted = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(copied) == sorted(admitted)
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert {"constraints.txt", "pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "src", "conf"} <= copied


def test_the_container_installs_what_the_project_has() -> None:
    extras = re.search(r"^ARG EXTRAS=(.+)$", DOCKERFILE, re.MULTILINE)
    python = re.search(r"^ARG PYTHON=(.+)$", DOCKERFILE, re.MULTILINE)
    program = re.search(r'^ENTRYPOINT \["(.+)"\]$', DOCKERFILE, re.MULTILINE)
    assert extras
    assert python
    assert program
    assert set(extras[1].split(",")) <= PROJECT["optional-dependencies"].keys()
    assert (
        python[1] in (ROOT / "constraints.txt").read_text(encoding="utf-8").partition("\n")[0]
    )  # the one that the versions were tried with
    assert program[1] in PROJECT["scripts"]
    assert all(f"-c constraints.txt {what}" in DOCKERFILE for what in ("torch torchvision", '".['))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_has_what_its_list_shows(path: Path) -> None:
    head = yaml.safe_load(path.read_text(encoding="utf-8").split("---\n")[1])
    assert head["name"]
    assert head["about"]


def test_templates_name_commands_that_exist() -> None:
    named = {name for path in TEMPLATES for name in re.findall(r"-m pin_memory\.(\w+)", path.read_text(encoding="utf-8"))}
    assert named
    assert named <= set(COMMANDS)
