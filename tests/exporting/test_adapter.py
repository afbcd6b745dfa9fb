"""Exports of a run with LoRA: merged into complete weights, or as the adapter alone in peft's format."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file, save_file

from pin_memory import load_model
from pin_memory.domains.stand_ins.writers import StandIns
from pin_memory.exporting.convert import write_official
from pin_memory.exporting.run import export
from pin_memory.exporting.weights import load_safetensors
from pin_memory.networks import Lora, TimmBackbone
from pin_memory.networks.freezing import is_adapter
from pin_memory.networks.lora_files import CONFIG, TENSORS
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError, OutputError
from tests.helpers.adapted_run import ADAPTER, trained, write_backbone


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run, `path`, whose updates are large, the file of its backbone, `weights`, and its data; read only."""
    root = tmp_path_factory.mktemp("adapted")
    StandIns(root / "sets", images_per_domain=8, seed=1, width=160).prepare()
    weights = write_backbone(root / "official.pth")
    path = trained(root / "sets", root / "run", weights, *ADAPTER)
    content = torch.load(path, weights_only=True)
    for name, value in content["state_dict"].items():
        if "lora_B" in name:
            value.normal_(0, 0.1)
    torch.save(content, path)
    return SimpleNamespace(path=path, weights=weights, data=root / "sets")


def exported(run: Any, output: Path, kind: str) -> Path:
    """What the command `export` writes."""
    given = [f"checkpoint={run.path}", f"pretrained={run.weights}", f"format={kind}", f"output={output}"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        export(compose("export", overrides=given))
    return output


def test_an_export_is_merged_and_complete(run: Any, tmp_path: Path) -> None:
    """The names of a plain network, its settings without an adapter, and the logits of the adapted one to 1e-6 of the largest."""
    path = exported(run, tmp_path / "model.safetensors", "safetensors")
    tensors = load_file(path)
    assert "backbone.net.conv_stem.weight" in tensors
    assert not any(is_adapter(name) for name in tensors)
    assert "adapter" not in json.loads(path.with_suffix(".json").read_text())["network"]
    images = torch.randn(2, 3, 80, 112)
    network = load_model(run.path, pretrained=run.weights).network
    found, expected = load_safetensors(path).network.segment(images), network.segment(images)
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()
    plain = torch.load(run.weights, weights_only=True)["blocks.1.0.conv_pwl.weight"]
    assert not torch.equal(tensors["backbone.net.blocks.1.0.conv_pwl.weight"], plain)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [("onnx", "x.onnx"), ("torch_export", "x.pt2"), ("hub", "hub")])
def test_other_formats(run: Any, tmp_path: Path, kind: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Graphs are compared with the merged network before they count as written."""
    path = exported(run, tmp_path / name, kind)
    if kind == "hub":
        images = torch.randn(1, 3, 64, 64)
        torch.testing.assert_close(
            load_safetensors(path).network.segment(images), load_model(run.path, pretrained=run.weights).network.segment(images)
        )
    else:
        assert "Largest difference to the network" in capsys.readouterr().out


def test_the_authors_format_gets_merged_and_complete_weights(run: Any, tmp_path: Path) -> None:
    """Of which their code knows the names alone that it has; nothing is left out of it."""
    write_official(run.path, tmp_path / "theirs.pth", str(run.weights))
    state = torch.load(tmp_path / "theirs.pth", weights_only=True)["state_dict"]
    merged = load_file(exported(run, tmp_path / "model.safetensors", "safetensors"))
    assert torch.equal(state["module.backbone.net.blocks.1.0.conv_pwl.weight"], merged["backbone.net.blocks.1.0.conv_pwl.weight"])
    assert not any(is_adapter(name) for name in state)


def test_an_adapter_is_written_and_read(run: Any, tmp_path: Path) -> None:
    """A and B of every layer by timm's names, bit by bit; a training can start from them."""
    folder = exported(run, tmp_path / "adapter", "adapter")
    settings, tensors = json.loads((folder / CONFIG).read_text()), load_file(folder / TENSORS)
    assert (settings["peft_type"], settings["r"], settings["lora_alpha"], settings["lora_dropout"]) == ("LORA", 2, 32, 0.1)
    assert settings["base_model_name_or_path"] == "test_efficientnet"
    names = {name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in tensors}
    assert names == set(settings["target_modules"])
    assert "blocks.1.0.conv_pwl" in names
    backbone = TimmBackbone("test_efficientnet")
    Lora(rank=2, alpha=32.0, targets=["conv_pw", "conv_pwl"], pretrained=str(folder))(backbone)
    state = torch.load(run.path, weights_only=True)["state_dict"]
    read = {name: value for name, value in backbone.state_dict().items() if is_adapter(name)}
    assert len(read) == len(tensors)
    assert all(torch.equal(value, state[f"network.backbone.{name}"]) for name, value in read.items())
    exported(run, folder, "adapter")  # over an earlier one
    started = trained(run.data, tmp_path / "second", run.weights, *ADAPTER, f"network.adapter.pretrained={folder}", "optimizer.lr=1e-9")
    found = torch.load(started, weights_only=True)["state_dict"]
    assert all((found[f"network.backbone.{name}"] - value).abs().max() < 1e-6 for name, value in read.items())


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"rank": 4}, {}, r"has rank 2 and alpha 32, the settings 4 and 32\. Set network.adapter.rank=2 network.adapter.alpha=32"),
        ({"alpha": 2.0}, {}, "the settings 2 and 2"),
        ({"targets": ["conv_pw"]}, {}, r"adapts 6 layers .* the settings 2 .*conv_pw\)"),
        ({}, {"use_dora": True}, r"use_dora=True in adapter_config\.json; plain LoRA can be read"),
        ({}, {"init_lora_weights": "pissa"}, "init_lora_weights=pissa"),
        ({}, {"peft_type": "IA3"}, "peft_type=IA3"),
    ],
)
def test_adapters_that_do_not_fit_are_refused(
    run: Any, tmp_path: Path, options: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    """With what the folder holds, and what to set."""
    folder = exported(run, tmp_path / "adapter", "adapter")
    (folder / CONFIG).write_text(json.dumps(json.loads((folder / CONFIG).read_text()) | change))
    settings = {"rank": 2, "alpha": 32.0, "targets": ["conv_pw", "conv_pwl"]} | options
    with pytest.raises(ConfigurationError, match=message):
        Lora(**settings, pretrained=str(folder))(TimmBackbone("test_efficientnet"))


def test_what_is_no_adapter_is_refused(run: Any, tmp_path: Path) -> None:
    """A folder of something else, tensors of other shapes or with numbers that are none, and a run that has no adapter."""
    adapt = Lora(rank=2, alpha=32.0, targets=["conv_pw", "conv_pwl"], pretrained=str(tmp_path / "adapter"))
    with pytest.raises(ConfigurationError, match=r"expected a folder with adapter_config\.json and adapter_model\.safetensors"):
        adapt(TimmBackbone("test_efficientnet"))
    folder = exported(run, tmp_path / "adapter", "adapter")
    tensors = load_file(folder / TENSORS)
    name = next(iter(tensors))
    for value, message in ((torch.zeros(2, 7, 1, 1), r"is \(2, 7, 1, 1\), expected"), (tensors[name] / 0, "NaN or infinite")):
        save_file(tensors | {name: value}, folder / TENSORS)
        with pytest.raises(ConfigurationError, match=message):
            adapt(TimmBackbone("test_efficientnet"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(OutputError, match="expected a new or empty folder"):
        exported(run, tmp_path / "mine", "adapter")
    plain = trained(run.data, tmp_path / "plain", run.weights, "+network.backbone.freeze=all")
    with pytest.raises(ConfigurationError, match=r"has no adapter; it was not trained with \+adapter=lora"):
        exported(SimpleNamespace(path=plain, weights=run.weights), tmp_path / "none", "adapter")
