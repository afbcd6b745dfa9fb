"""What the comments of the YAML files say about groups, options and settings, for `--help` and the pages of the reference."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

_LINE = re.compile(r"(?P<indent> *)(?P<item>- )?(?P<key>[^\s#:-][^#:]*|\"[^\"]*\"):(?P<value> .*)?")
_COMMENT = re.compile(r'(?:"[^"]*"|[^"#]|(?<=\S)#)*?(?<=\s)# ?(.*)')
_WIDTH = 44


def key_comments(text: str) -> dict[str, str]:
    """The comment behind each key of a YAML file, by the dotted name of the key; keys of the list of defaults are below `defaults`."""
    found: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        if match := _LINE.fullmatch(line):
            depth = len(match["indent"]) + len(match["item"] or "")
            above = [(indent, key) for indent, key in above if indent < depth] + [(depth, match["key"].strip('/" '))]
            if comment := _COMMENT.fullmatch(match["value"] or ""):
                found[".".join(key for _, key in above)] = comment[1]
    return found


def head(text: str) -> str:
    """The first line of comment that says what a file is, without what there is to try; "" where it has none."""
    for line in text.splitlines():
        if line.startswith("#") and "@package" not in line:
            return re.split(r" ?Try(?: it)?: ", line.lstrip("# "))[0].rstrip()
    return ""


def choices() -> str:
    """The groups of this command with their options, and what each is (a resolver of the `--help` template)."""
    chosen: dict[str, set[str]] = {}
    for key, option in HydraConfig.get().runtime.choices.items():
        group = str(key).partition("@")[0]
        if group.partition("/")[0] != "hydra":
            chosen.setdefault(group, set()).add(str(option))
    lines = [line for group in sorted(chosen) for line in _options(group, chosen[group])]
    if "method" in chosen:
        lines += ["", "To be added: +group=option (+domain@data.targets.NAME=option); head with the methods that fit one"]
        groups = [group for group in GlobalHydra.instance().config_loader().list_groups("") if group != "hydra" and group not in chosen]
        lines += [line for group in sorted(groups) for line in _options(group, set())]
    return "\n".join(lines).replace("$", "$$") or "(none: this command has settings only)"


def settings(*, _root_: DictConfig) -> str:
    """All settings as they are composed, one line each with its comment (a resolver of the `--help` template)."""
    hydra = HydraConfig.get()
    typed = [*hydra.overrides.hydra, *hydra.overrides.task]
    comments: dict[str, str] = {}
    loader = GlobalHydra.instance().config_loader()
    for part in loader.compute_defaults_list(hydra.job.config_name, typed, RunMode.RUN).defaults:
        if part.config_path and not part.config_path.startswith("hydra"):
            prefix = f"{part.package}." if part.package else ""
            comments |= {prefix + key: comment for key, comment in key_comments(_text(part.config_path)).items()}
    composed: Any = OmegaConf.to_container(_root_, resolve=False)
    del composed["hydra"]
    lines = [f"{text:<{_WIDTH}} # {comment}" if comment else text for text, comment in _lines(composed, comments)]
    return "\n".join(lines).replace("$", "$$")


def _options(group: str, chosen: set[str]) -> Iterator[str]:
    """A group and its options, the chosen ones with a star."""
    names = sorted(name for name in GlobalHydra.instance().config_loader().get_group_options(group) if not name.startswith("_"))
    width = max(map(len, names), default=0)
    yield group
    for name in names:
        yield f"  {'*' if name in chosen else ' '} {name:<{width}}  {head(_text(f'{group}/{name}'))}".rstrip()


def _text(config_path: str) -> str:
    """The text of a file of the search path; "" for one that is not in a folder."""
    for source in GlobalHydra.instance().config_loader().get_sources():
        if source.scheme() == "file" and (file := Path(source.path, f"{config_path}.yaml")).is_file():
            return file.read_text(encoding="utf-8", errors="replace")
    return ""


def _lines(node: Mapping[str, Any], comments: Mapping[str, str], above: str = "") -> Iterator[tuple[str, str]]:
    """Each setting as a line of YAML, with its comment."""
    for key, value in node.items():
        nested = isinstance(value, Mapping) and bool(value)
        shown = "" if nested else " " + inline(value)
        yield "  " * above.count(".") + f"{key}:{shown}", comments.get(f"{above}{key}", "")
        if nested:
            yield from _lines(value, comments, f"{above}{key}.")


def inline(value: Any) -> str:
    """A value in one line, as a YAML file has it."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).removesuffix("\n").removesuffix("\n...")
