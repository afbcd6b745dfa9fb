"""The pages of docs/reference that are made from the YAML files and the table of logged keys, by `make reference`."""

import sys
from pathlib import Path
from typing import Any

import yaml

from pin_memory.cli import COMMANDS
from pin_memory.cli.explained import head, inline, key_comments
from pin_memory.loggers import keys
from pin_memory.utils.config import config_directory

_MADE = "This page is made by `make reference` from {}; change those."
_WITHOUT_SETTINGS = ("experiment", "sweep", "variant")  # groups whose files give values to the settings of others
_DOMAIN = "data.sources.NAME"
_GROUPS = """Groups, of which an option is chosen as `group=option`; one that a command does not name is added, `+group=option`. What a
training has besides stands with [train](commands.md#train)."""
_TYPING = """## On every command line

| to type | |
|---|---|
| `key=value`, `group=option` | a setting, a choice; `+` in front adds what is not there, `~` takes out |
| `--help` | choices and settings with these explanations, examples |
| `--cfg job` | the settings as they are composed, then nothing |
| `-m` | every combination of `a=1,2 b=3,4` |
| `--config-dir DIR` | a folder of your own YAML files, which are found first by name |
| `HYDRA_FULL_ERROR=1` before the command | every error with its complete traceback |

**Tab** completes commands, groups, options and settings in bash after `eval "$(pin-memory -sc install=bash)"`; zsh first needs
`autoload -Uz bashcompinit && bashcompinit`. Each press takes a second, as the settings are composed for it.
"""


def pages() -> dict[str, str]:
    """The text of each page by its name."""
    return {"commands.md": commands(), "settings.md": settings(), "logged_keys.md": logged_keys()}


def commands() -> str:
    """What each command does, its own settings, and examples."""
    lines = ["# Commands", "", _MADE.format("`conf/*.yaml` and `conf/hydra/*.yaml`"), ""]
    lines += [
        "`pin-memory COMMAND` is `python -m pin_memory.COMMAND`. The settings of groups are on [a page of their own](settings.md).",
        "",
        _TYPING,
    ]
    for name in COMMANDS:
        shown = yaml.safe_load(_read(f"hydra/{name}"))["help"]
        lines += [f"## {name}", "", "```text", *shown["header"].splitlines(), "```", "", *_table(_rows(name, "")), ""]
        lines += ["```", *(line.strip() for line in shown["footer"].splitlines()), "```", ""]
    return "\n".join(lines)


def settings() -> str:
    """The options of each group and their settings."""
    lines = ["# Settings", "", _MADE.format("the comments in `conf/`"), ""]
    lines += [_GROUPS, ""]
    for folder in sorted(path for path in config_directory().iterdir() if path.is_dir() and path.name != "hydra"):
        group = folder.name
        files = sorted(f"{group}/{path.stem}" for path in folder.glob("*.yaml"))
        lines += [f"## {group}", "", f"| `{group}=` | |", "|---|---|"]
        lines += [f"| `{file.partition('/')[2]}` | {_cell(head(_read(file)))} |" for file in files if "/_" not in file]
        rows: dict[str, tuple[str, str]] = {}
        for file in () if group in _WITHOUT_SETTINGS else files:
            for key, (value, comment) in _rows(file, group).items():
                before = rows.get(key, (value, ""))
                rows[key] = (value if before[0] == value else "by option", before[1] or comment)
        lines += ["", *_table(rows), ""] if rows else [""]
    return "\n".join(lines)


def logged_keys() -> str:
    """What is logged, and where a dashboard shows it."""
    logged, shown = keys.logged_table(), keys.dashboard_table()
    made = _MADE.format("`src/pin_memory/loggers/keys.py`")
    used = "Steps and units are those of [W&B](../wandb.md#steps-and-units); [a dashboard](../dashboards.md) is made of the second table."
    return f"# Logged keys\n\n{made} {used}\n\n{logged}\n\n## On a dashboard\n\n{shown}\n"


def _read(name: str) -> str:
    return (config_directory() / f"{name}.yaml").read_text(encoding="utf-8")


def _rows(name: str, group: str) -> dict[str, tuple[str, str]]:
    """Value and comment of each setting of a file, by its dotted name where the file is chosen."""
    text = _read(name)
    package = "" if "@package _global_" in text else _DOMAIN if group == "domain" else group
    comments, rows = key_comments(text), {}

    def below(node: dict[str, Any], above: str) -> None:
        for key, value in node.items():
            dotted = f"{above}{key}"
            nested = isinstance(value, dict) and bool(value)
            if not (str(key).startswith("_") or dotted == "defaults" or (nested and dotted not in comments)):
                rows[f"{package}.{dotted}".lstrip(".")] = (
                    "" if nested and len(inline(value)) > 60 else inline(value),
                    comments.get(dotted, ""),
                )
            if nested:
                below(value, f"{dotted}.")

    below(yaml.safe_load(text) or {}, "")
    return rows


def _table(rows: dict[str, tuple[str, str]]) -> list[str]:
    """Rows of settings; wiring between settings, which has no comment, is left out."""
    shown = [(key, value, comment) for key, (value, comment) in rows.items() if comment or not value.startswith("${")]
    cells = [
        f"| `{key}` | {f'`{_cell(value)}`' if value and value != 'by option' else value} | {_cell(comment)} |"
        for key, value, comment in shown
    ]
    return ["| setting | default | |", "|---|---|---|", *cells] if cells else []


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;") if "`" not in text else text.replace("|", "\\|")


if __name__ == "__main__":
    for name, text in pages().items():
        (Path(sys.argv[1]) / name).write_text(text.rstrip("\n") + "\n", encoding="utf-8")
