"""Training that is to go on from a checkpoint in which one value of its state was exchanged."""

import random
import shutil
from pathlib import Path

import pytest
import torch

from pin_memory.cli.mistakes import explain
from pin_memory.domains.stand_ins.writers import StandIns
from tests.helpers.resumption import fit
from tests.reliability import mutations

pytestmark = pytest.mark.reliability
PARTS = ("loops", "optimizer_states", "lr_schedulers", "callbacks", "skipped", "metrics_csv")
ODD = (*mutations.ODD_VALUES, torch.zeros(0), torch.zeros(3, dtype=torch.bool), torch.full((4,), float("nan")))
CASES = 150


def test_no_damaged_state_ends_without_an_explanation(tmp_path: Path) -> None:
    """Each resumption ends in a message, or in a run that got to its end."""
    StandIns(tmp_path / "data", images_per_domain=8, seed=1, width=160).prepare()
    fit(tmp_path / "data", tmp_path / "run", "trainer.max_steps=4", "callbacks.last.every=2")
    content = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    told, ended, unexplained = 0, 0, []
    for number in range(CASES):
        changed, what = mutations.exchanged({part: content[part] for part in PARTS}, random.Random(number), ODD)
        folder = tmp_path / "again"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "checkpoints").mkdir(parents=True)
        torch.save({**{key: value for key, value in content.items() if key not in PARTS}, **changed}, folder / "checkpoints" / "last.ckpt")
        try:
            fit(tmp_path / "data", folder, "trainer.max_steps=6", resume=folder)
        except Exception as error:
            if explain(error) is None:
                unexplained.append(f"{number} {what[:80]}: {type(error).__name__}: {str(error)[:80]}")
            told += 1
            continue
        ended += 1
        assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] >= 6, what
    print(f"{CASES} damaged states: {told} told, {ended} gone on from")
    assert not unexplained, "\n".join(unexplained)
    assert told > CASES // 3
