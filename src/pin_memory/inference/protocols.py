"""The protocols that have a name: the files of conf/protocol."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pin_memory.inference.protocol import WHOLE, Protocol
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError


def find_protocol(name: str) -> Protocol:
    """The protocol of a file of conf/protocol; a name without a file is a ConfigurationError."""
    files = _protocol_files()
    if name not in files:
        raise ConfigurationError(f"protocol={name}: there is no such evaluation protocol; choose one of {', '.join(sorted(files))}.")
    settings: Any = OmegaConf.to_container(OmegaConf.load(files[name]))
    return Protocol(**{key: value for key, value in settings.items() if key != "_target_"})


def recorded_name(protocol: Protocol) -> str:
    """The name of a protocol in results, such that equal names are equal protocols.

    `sliding_768@1` stands for the shipped file as it is. What differs from it is added: `protocol=sliding_768 protocol.overlap=0.5` is
    recorded as `sliding_768@1 (overlap=0.5)`; a protocol of your own adds what differs from one pass of the whole image.
    """
    expected = (find_protocol(protocol.name) if protocol.name in _protocol_files() else WHOLE).settings
    keys = dict.fromkeys([*protocol.settings, *expected])
    differing = [key for key in keys if _rounded(protocol.settings.get(key)) != _rounded(expected.get(key))]
    more = ", ".join(f"{key}={_rounded(protocol.settings.get(key))}" for key in differing)
    return f"{protocol} ({more})" if more else str(protocol)


def _rounded(value: Any) -> Any:
    """The value such that a third is a third, with however many digits it was written."""
    return round(value, 4) if isinstance(value, float) else value


def _protocol_files() -> dict[str, Path]:
    return {path.stem: path for path in (config_directory() / "protocol").glob("*.yaml")}
