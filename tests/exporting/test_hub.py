"""What a model card says, and which results it may show."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pin_memory.exporting.hub import model_card, results_of_source
from pin_memory.exporting.weights import ExportSettings, Source
from pin_memory.inference import RUNNING
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.exported import front_matter


def test_the_card_names_the_terms_of_real_data(untrained_run: Path, tmp_path: Path) -> None:
    """As far as they are known, and no others."""
    source = Source.read(untrained_run, ["tests"])
    source.data.stand_in = None
    for domain in (*source.data.sources.values(), *source.data.targets.values()):
        domain.root = tmp_path / "real"
    settings = ExportSettings.of(source, RUNNING).model_copy(update={"stand_in": False})
    card = model_card(source, settings, [], "m", None)
    head = front_matter(card)
    assert "STAND-IN" not in card
    assert "Not evaluated" in card
    assert "model-index" not in head
    assert "license" not in head
    assert "No licence of the weights is stated" in card
    (synthia,) = re.findall(r"- \*\*synthia\*\*.*", card)
    assert "CC BY-NC-SA 3.0" in synthia
    (gtav,) = re.findall(r"- \*\*gtav\*\*.*", card)
    assert "own terms" in gtav
    assert "CC" not in gtav


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"name": "vit_small_patch16_dinov3", "pretrained": "own.pth"},
            ["a file of its owner's", "`vit_small_patch16_dinov3`", "`dinov3-license`"],
        ),
        (
            {"name": "vit_small_patch14_dinov2.lvd142m", "pretrained": "timm"},
            ["timm's weights of `vit_small_patch14_dinov2", "`apache-2.0`"],
        ),
        ({"depth": 50, "pretrained": "imagenet"}, ["torchvision's ImageNet weights", "- **Backbone** (pretrained): torchvision's"]),
        ({"depth": 50, "pretrained": None}, ["started from random weights"]),
    ],
)
def test_the_card_names_the_backbone_s_licence(untrained_run: Path, settings: dict[str, Any], expected: list[str]) -> None:
    """Where its weights are known by name."""
    source = Source.read(untrained_run, ["tests"])
    exported = ExportSettings.of(source, RUNNING)
    source.checkpoint.cfg.network.backbone = settings
    card = model_card(source, exported, [], "m", None)
    assert [part for part in expected if part not in card] == []
    assert ("- **Backbone**" in card) == (settings["pretrained"] is not None)


def test_only_results_of_this_checkpoint_count(untrained_run: Path, tmp_path: Path) -> None:
    """Those of a run belong to the checkpoint that they name, not to its others."""
    copy = tmp_path / "run"
    shutil.copytree(untrained_run, copy)
    source = Source.read(copy, ["tests"])
    for given in (None, str(copy), [str(copy / "results.json")]):
        assert [result.method for result in results_of_source(source, given)] == ["erm"]
    other = copy / "checkpoints" / "other.ckpt"
    shutil.copy(source.path, other)
    other_source = Source.read(other, ["tests"])
    assert results_of_source(other_source, None) == []
    with pytest.raises(ConfigurationError, match=r"not .*other\.ckpt"):
        results_of_source(other_source, str(copy / "results.json"))
