"""The navigation of the site has every page once, and the rooms whose API it shows are there; `make docs` builds it."""

import re
from collections import Counter
from pathlib import Path

import pytest

from pin_memory.cli import reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NAVIGATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
REFERENCE = sorted(path for path in (DOCS / "reference").glob("*.md") if "\n::: " in path.read_text(encoding="utf-8"))


def test_every_page_is_in_the_navigation_once() -> None:
    named = Counter(re.findall(r"[\w/]+\.(?:md|ipynb)$", NAVIGATION, re.MULTILINE))
    pages = {
        path.relative_to(ROOT).as_posix()
        for folder in (DOCS, ROOT / "notebooks")
        for path in folder.rglob("*.*")
        if path.suffix in (".md", ".ipynb")
    }
    pages |= {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
    assert sorted(pages - named.keys()) == [], "name them in mkdocs.yml"
    assert sorted(named.keys() - pages) == [], "not there"
    assert max(named.values()) == 1


def test_the_list_of_pages_is_complete() -> None:
    """In the order of the navigation, for who reads in the repository."""
    listed = re.findall(r"^- \[.*\]\((\S+)\)$", (DOCS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    places = [(DOCS / link).resolve().relative_to(ROOT).as_posix() for link in listed]
    assert places == [name for name in re.findall(r"(\S+\.(?:md|ipynb))$", NAVIGATION, re.MULTILINE) if name != "docs/README.md"]


@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.stem)
def test_a_page_of_the_reference_names_something_with_exported_names(page: Path) -> None:
    (name,) = re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    place = ROOT.joinpath("src", *name.split("."))
    source = place.with_suffix(".py") if place.with_suffix(".py").exists() else place / "__init__.py"
    assert "\n__all__ = [" in source.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", reference.pages())
def test_what_is_made_is_up_to_date(name: str) -> None:
    assert (DOCS / "reference" / name).read_text(encoding="utf-8") == reference.pages()[name].rstrip("\n") + "\n", "make reference"


def test_nothing_is_taken_from_elsewhere() -> None:
    """Fonts and scripts come with the site; templates and hooks are not ours to keep."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in text
    assert not re.search(r"^\s*(?:custom_dir|hooks|extra_javascript):", text, re.MULTILINE)
    assert re.findall(r"^extra_css: (.*)", text, re.MULTILINE) == ["[docs/site.css]"]
    assert "url(" not in (DOCS / "site.css").read_text(encoding="utf-8")
