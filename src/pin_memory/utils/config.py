"""Where the configuration files lie."""

from pathlib import Path

from pin_memory.utils.errors import ConfigurationError


def config_directory() -> Path:
    """The folder of YAML files: inside the installed package, or at the top level of the checkout."""
    package = Path(__file__).resolve().parents[1]
    places = [package / "conf", package.parents[1] / "conf"]
    for place in places:
        if (place / "paths").is_dir():
            return place
    raise ConfigurationError(f"The configuration files are missing; looked in {places[0]} and {places[1]}. Install the package again.")
