"""Where the configuration files lie, and settings as plain containers."""

import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pin_memory.utils.errors import ConfigurationError


def config_directory() -> Path:
    """The folder of YAML files: inside the installed package, or at the top level of the checkout."""
    package = Path(__file__).resolve().parents[1]
    places = [package / "conf", package.parents[1] / "conf"]
    for place in places:
        if (place / "paths").is_dir():
            return place
    raise ConfigurationError(f"The configuration files are missing; looked in {places[0]} and {places[1]}. Install the package again.")


def plain(config: Any) -> dict[str, Any]:
    """Settings as plain containers, with their references as they stand."""
    content = OmegaConf.to_container(config, resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def quoted(value: object) -> str:
    """A value in the quotes with which Hydra takes it as it stands: backslashes double before a quote, and `${` begins no reference."""
    text = str(value).replace("${", "\\${")
    return "'" + re.sub(r"(\\*)('|$)", lambda end: 2 * end[1] + ("\\'" if end[2] else ""), text) + "'"
