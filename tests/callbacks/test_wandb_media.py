"""Media for the W&B dashboard; what a real run logs is read back in tests/loggers."""

import sys
from pathlib import Path

import pytest

from pin_memory.callbacks import WandbMedia
from tests.helpers.fakes import TinyDomains, TinyMethod, tiny_trainer


def test_without_wandb_nothing_is_drawn_and_wandb_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import of it would fail
    trainer = tiny_trainer(tmp_path, [WandbMedia()])
    trainer.fit(TinyMethod(), TinyDomains())
    trainer.test(TinyMethod(), TinyDomains(), verbose=False)
