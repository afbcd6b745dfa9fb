"""A run with text, from the file to what is left of it: checkpoint, metrics, export, figures."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from pin_memory.analysis.run import analyze
from pin_memory.domains.stand_ins.writers import StandIns
from pin_memory.exporting import load_safetensors
from pin_memory.exporting.convert import write_official
from pin_memory.exporting.run import export
from pin_memory.memory import TextPrototypes
from pin_memory.runs import build, checkpoints
from pin_memory.training.checks import check_settings
from pin_memory.training.run import train
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError

SMALL = [
    "network=deeplab_v3plus_resnet18", "network.backbone.pretrained=null", "network.channels=16", "network.auxiliary_channels=8",
    "text.dim=24", "network.alignment.width=16", "network.alignment.layers=1", "augmentation.crop_size=64", "loading.batch_size=2",
    "loading.num_workers=0", "loading.max_val_images=1", "loading.max_test_images=1", "trainer.max_steps=2", "trainer.val_check_interval=2",
    "trainer.log_every_n_steps=1", "trainer.accelerator=cpu", "logger=csv", "paths.output=unused",
]  # fmt: skip


def composed(command: str, *overrides: str) -> DictConfig:
    """The configuration of a command with overrides."""
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose(command, overrides=list(overrides))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two iterations of ppar on two sources; the file of its text is gone. Read only."""
    root = tmp_path_factory.mktemp("aligned")
    StandIns(root / "sets", images_per_domain=4, seed=1, width=160).prepare()
    rows = np.random.default_rng(0).standard_normal((19, 24))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.save(root / "text.npy", rows.astype(np.float16))
    text = TextPrototypes(str(root / "text.npy"), dim=24).rows
    overrides = ["experiment=multi_source_gs", "method=ppar", *SMALL, f"text.path={root / 'text.npy'}"]
    train(composed("train", *overrides, f"paths.data={root / 'sets'}", f"paths.run={root / 'run'}"), {"network": "tiny"})
    (root / "text.npy").unlink()
    return SimpleNamespace(root=root, run=root / "run", text=text)


def test_a_checkpoint_loads_without_the_file(trained: SimpleNamespace) -> None:
    """It has the centred rows of the file, and every tensor of the run."""
    loaded = checkpoints.load_method(trained.run / "checkpoints" / "last.ckpt")
    assert torch.equal(loaded.method.network.require_alignment().text, trained.text)
    assert all(torch.equal(value, loaded.checkpoint.state[name]) for name, value in loaded.method.state_dict().items())


def test_what_is_logged(trained: SimpleNamespace) -> None:
    header = (trained.run / "metrics.csv").read_text().splitlines()[0].split(",")
    expected = {"loss/otp", "loss/vtp", "loss/regulariser", "alignment/share", "alignment/ramp", "reliability/mean", "reliability/min"}
    assert expected | {f"reliability/{kind}_{name}" for kind in ("mean", "min") for name in ("gtav", "synthia")} <= set(header)


def test_an_export_is_that_of_the_plain_network(trained: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No tensor and no setting of the alignment, and the same predictions."""
    pytest.importorskip("safetensors")
    output = tmp_path / "plain.safetensors"
    export(composed("export", f"checkpoint={trained.run}", "format=safetensors", f"output={output}"))
    settings = json.loads(output.with_suffix(".json").read_text())
    assert "alignment" not in settings["network"]
    loaded = load_safetensors(output)
    assert not any("alignment" in name for name in loaded.network.state_dict())
    images = torch.randn(1, 3, 64, 96)
    network = checkpoints.load_method(checkpoints.find_checkpoint(trained.run)).method.network
    assert torch.equal(loaded.network(images), network(images))


def test_the_authors_format_has_no_alignment(trained: SimpleNamespace, tmp_path: Path) -> None:
    """Their code would not know the tensors."""
    write_official(trained.run / "checkpoints" / "last.ckpt", tmp_path / "official.pth")
    names = torch.load(tmp_path / "official.pth", weights_only=True)["state_dict"]
    assert names
    assert not [name for name in names if "alignment" in name]


@pytest.mark.slow
def test_figures_of_the_alignment(trained: SimpleNamespace, tmp_path: Path) -> None:
    """The t-SNE with the prototypes, a map for each domain, and their numbers."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    options = ["plots=[prototypes,reliability]", "formats=[png]", "device=cpu", "images=2", "domains=[gtav,bdd100k]"]
    analyze(composed("analyze", f"checkpoint={trained.run}", *options, f"paths.run={tmp_path}", f"paths.data={trained.root / 'sets'}"))
    content = json.loads((tmp_path / "analysis.json").read_text())
    assert content["figures"] == {
        "prototypes": ["prototypes.png"], "reliability": ["reliability_gtav.png", "reliability_bdd100k.png"],
    }  # fmt: skip
    numbers = content["plots"]
    assert numbers["prototypes"]["points"] > 2 * 19
    road = numbers["prototypes"]["cosines"]["gtav"]["road"]
    assert road["text_to_visual_text"] > 0.99  # the residual is still small
    assert -1 <= road["text"] <= 1
    for found in numbers["reliability"]["reliability"].values():
        assert 0 < found["mean"] < 1
        assert 0 < found["classes"]["road"] < 1


@pytest.mark.parametrize(
    "experiment",
    ["demo", *(pytest.param(name, marks=pytest.mark.slow) for name in ("multi_source_gs", "multi_source_gsi", "camvid_leave_one_out"))],
)
def test_experiments_compose_with_text(experiment: str) -> None:
    """With random rows in place of a file; every key has a reader; the horizon is that of the training."""
    cfg = composed("train", f"experiment={experiment}", "method=ppar", "text.path=null", "text.rows=random", "paths.run=unused")
    check_settings(cfg)
    method = build.build_without_weights(cfg)
    assert method.name == "ppar"
    assert method.alignment is not None
    assert method.alignment.horizon == cfg.trainer.max_steps
    assert build.build_data(cfg).source_names


@pytest.mark.parametrize(
    "kind",
    ["pin_the_memory", *(pytest.param(name, marks=pytest.mark.slow) for name in ("erm", "erm_memory", "mldg", "meta_seg_net_dg", "isw"))],
)
def test_the_alignment_is_added_to_a_method(kind: str) -> None:
    """Its memory stays, and text may start it, too."""
    start = ["+memory_start=blend"] if "memory" in kind else []
    small = ["network=deeplab_v3plus_resnet18", "text.path=null", "text.rows=random", "paths.run=unused"]
    cfg = composed("train", "experiment=multi_source_gs", f"method={kind}", "+alignment=text", *start, *small)
    method = build.build_without_weights(cfg)
    assert (method.name, method.network.memory is None) == (kind, kind in ("erm", "mldg", "isw"))
    assert method.network.alignment is not None


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["trainer.max_steps=-1", "text.rows=random"], r"method\.alignment\.horizon must be at least 1"),
        ([], r"text\.path is missing: name a file .* fetch .*cityscapes_single\.npy"),
        (["text.path=nowhere.npy"], r"text\.path=nowhere\.npy: no such file"),
        (["method.alignment.reweight=batch", "text.path=null", "text.rows=random"], r"method\.alignment\.reweight must be"),
    ],
)
def test_mistakes_are_refused(overrides: list[str], expected: str) -> None:
    """Before anything is downloaded."""
    with pytest.raises(Exception, match=expected):
        build.build_without_weights(composed("train", "experiment=multi_source_gs", "method=ppar", *overrides, "paths.run=unused"))


def test_a_new_run_needs_text(trained: SimpleNamespace, tmp_path: Path) -> None:
    """The rows of a checkpoint come with one alone."""
    given: list[Any] = ["experiment=multi_source_gs", "method=ppar", *SMALL, "text.path=null", "text.rows=checkpoint"]
    with pytest.raises(ConfigurationError, match="no checkpoint has brought its text"):
        train(composed("train", *given, f"paths.data={trained.root / 'sets'}", f"paths.run={tmp_path / 'run'}"), {})
