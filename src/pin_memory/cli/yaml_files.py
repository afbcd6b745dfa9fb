"""How Hydra reads the YAML files of a folder: in any encoding that `decode` knows, and without missing a package line."""

import io
import re
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf

from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import read_text

_PACKAGE = re.compile(r"#\s*@package\s*[:=]?\s*[\"']?([^\s\"'#:=]+)[\"']?\s*(#.*)?")
_ODD = r"(?:[^\S \t\n]|[\u200b-\u200d\u2060])"  # blanks of web pages and word processors, of no width, too
_ABOVE_SETTINGS = re.compile(r"(#|---|%).*|")
_SETTINGS_AT_THE_TOP = ("experiment", "sweep")  # groups whose files mean nothing without a package line


class FileConfigSource(file_config_source.FileConfigSource):
    """A folder of YAML files, by the name of the class it replaces: processes of a sweep take it over, and register Hydra's own after it.

    Hydra's own reader takes a package line for a comment where a byte order mark or another comment stands above it, and all settings of
    the file then lie where nothing reads them.
    """

    def is_config(self, config_path: str) -> bool:
        """Whether there is such a file; one that is there under another ending, which Hydra does not look at, is an error."""
        file = Path(self.path, self._normalize_file_name(config_path))
        for ending in () if file.is_file() else (".yml", ".yaml.txt", ".yml.txt", ".txt"):
            if (other := file.with_suffix(ending)).is_file():
                raise ConfigurationError(f"{other}: expected a name that ends in .yaml alone. Rename the file to {file.name}.")
        return file.is_file()

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a file of the folder; the errors name it."""
        path = Path(self.path, self._normalize_file_name(config_path))
        if not path.is_file():
            return super().load_config(config_path)  # which says so
        try:
            text = re.sub(rf"(?:{_ODD}|[ \t])+$", "", read_text(path), flags=re.MULTILINE)  # at the ends of lines PyYAML refuses tabs, too
        except ValueError as error:
            raise ConfigurationError(f"{path} cannot be read: {error}") from error
        if odd := re.search(rf"^(?:[^#\n:]*:| *-)? *({_ODD})", text, re.MULTILINE):
            place = f"{path}, line {text.count(chr(10), 0, odd.start()) + 1}"
            raise ConfigurationError(f"{place}: a blank that YAML does not know ({odd[1]!a}) between its signs. Use plain spaces.")
        config: Any = OmegaConf.load(_Named(text, path))
        if not path.is_relative_to(config_directory()):  # those that are shipped are tested
            _refuse_repeated_keys(path, text)
        header = {"package": _package(path, text)}
        group = config_path.partition("/")[0]
        placed = any(key != "defaults" for key in config) or "@" in str(config.get("defaults"))  # a list of other files needs no package
        if header["package"] is None and placed and group in _SETTINGS_AT_THE_TOP:
            raise ConfigurationError(
                f"{path}: expected the line `# @package _global_` at its top; without it, its settings lie below {group}, where nothing"
                " reads them. Put it in front."
            )
        return ConfigResult(provider=self.provider, path=f"{self.scheme()}://{self.path}", config=config, header=header)


class _Named(io.StringIO):
    """A text that YAML's messages can name the file of."""

    def __init__(self, text: str, path: Path) -> None:
        super().__init__(text)
        self.name = str(path)


def install() -> None:
    """Let Hydra read folders with the class above; it has no public way to replace a source."""
    Plugins.instance()  # registers Hydra's own, once for a process
    SourcesRegistry.instance().types[FileConfigSource.scheme()] = FileConfigSource


def _refuse_repeated_keys(path: Path, text: str) -> None:
    """Refuse a key that comes twice in a mapping: OmegaConf looks at text alone, and of `8: car, 010: bus` only the last one would stay."""
    loader = yaml.SafeLoader(text)
    nodes, visited = [loader.get_single_node()], set()
    while nodes:
        node = nodes.pop()
        if id(node) in visited:  # named by an alias
            continue
        visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            nodes += [value for _, value in node.value]
            seen: dict[Any, yaml.ScalarNode] = {}
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge")):
                first = seen.setdefault(loader.construct_object(key), key)
                if first is not key:
                    place = f"{path}, line {key.start_mark.line + 1}"
                    raise ConfigurationError(f"{place}: the key {key.value} comes twice ({first.value} is the same). Remove one.")


def _package(path: Path, text: str) -> str | None:
    """The package that a comment above the settings names; one elsewhere, or that cannot be understood, is an error."""
    above = True
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        above = above and _ABOVE_SETTINGS.fullmatch(line) is not None
        if re.match(r"#\s*@package\b", line):
            found = _PACKAGE.fullmatch(line)
            if found and above:
                return found[1]
            raise ConfigurationError(
                f"{path}, line {number}: expected a line such as `# @package _global_` above the first setting, found {line!r}"
                f"{'' if above else ' below it, where it has no effect'}. Move or correct it."
            )
    return None
