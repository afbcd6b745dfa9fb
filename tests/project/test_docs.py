"""What README and docs tell people to type can be typed: every command with its settings composes."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser

import pin_memory
from pin_memory.cli import COMMANDS
from pin_memory.cli.unread import refuse_unread
from pin_memory.utils.config import config_directory

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(rf"(?:python -m pin_memory\.|pin-memory )({'|'.join(COMMANDS)})((?: [^`#|\n]*)?)")


def commands(page: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Name and settings of every command on a page; lines that end in a backslash continue."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    text = re.sub(r"<[a-z ]+>", "x", text).replace("$method", "erm").replace("$seed", "1")  # placeholders, and variables of loops
    found = []
    for name, rest in COMMAND.findall(text):
        words = shlex.split(rest.replace("...", "").replace("[", "'[").replace("]", "]'") if "'" not in rest and '"' not in rest else rest)
        settings = tuple(word for word in words if ("=" in word or word.startswith("~")) and not word.startswith("--"))
        if "--config-dir" not in words:  # whose files are on the page: test_extend, test_tutorial and test_leave_one_out type those
            found.append((name, settings))
    return sorted(set(found))


def first_job(settings: tuple[str, ...]) -> list[str]:
    """The settings with the first value of each that a sweep changes, the lower end of a range."""
    first = []
    for override in OverridesParser.create().parse_overrides(list(settings)):
        if override.is_interval_sweep():
            first.append(f"{override.get_key_element()}={override.value().start}")
        elif override.is_sweep_override():
            first.append(f"{override.get_key_element()}={next(override.sweep_string_iterator())}")
        else:
            first.append(str(override.input_line))
    return first


@pytest.mark.parametrize(("name", "settings"), sorted({found for page in PAGES for found in commands(page)}))
def test_documented_command_composes(name: str, settings: tuple[str, ...]) -> None:
    """No setting that is gone or that nothing reads, no choice that is misspelt."""
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose(name, overrides=first_job(settings), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        refuse_unread(cfg, name)


def test_there_are_commands_to_check() -> None:
    assert len({found for page in PAGES for found in commands(page)}) > 10


def test_the_package_names_every_command() -> None:
    """In `help(pin_memory)`."""
    assert [name for name in COMMANDS if f".{name}`" not in str(pin_memory.__doc__)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links and pictures."""
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target
