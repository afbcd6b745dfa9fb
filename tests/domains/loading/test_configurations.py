"""What `conf/domain` says about itself."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from pin_memory.utils.config import config_directory

DOMAINS = sorted((config_directory() / "domain").glob("[!_]*.yaml"))


@pytest.mark.parametrize("path", DOMAINS, ids=lambda path: path.stem)
def test_the_command_that_a_file_shows_composes(path: Path) -> None:
    (line,) = (line for line in path.read_text().splitlines() if line.startswith("# Try it: "))
    overrides = line.partition("pin_memory.train ")[2].split()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose("train", overrides=overrides)
    assert path.stem in {**cfg.data.sources, **cfg.data.targets}
    assert cfg.test == bool(cfg.data.targets)
