"""Which process speaks for a run."""

import sys

import pytest

from pin_memory.utils.processes import is_first


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "4", "LOCAL_RANK": "0", "SLURM_PROCID": "1"}, False),
        ({"RANK": "0", "SLURM_PROCID": "1"}, True),
        ({"SLURM_PROCID": "1"}, False),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
    ],
)
def test_one_process_speaks(environment: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of torchrun, srun, and Lightning on one machine or several, as long as Lightning is not imported."""
    monkeypatch.delitem(sys.modules, "lightning_utilities.core.rank_zero", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first() == first


def test_lightning_knows_better() -> None:
    from lightning.pytorch.utilities import rank_zero_only

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank_zero_only, "rank", 1)
        assert not is_first()
        patch.setattr(rank_zero_only, "rank", 0)
        patch.setenv("LOCAL_RANK", "1")
        assert is_first()
