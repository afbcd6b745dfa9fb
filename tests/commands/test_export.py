"""What is exported computes what the network computes, at any size, and says what it is."""

import functools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image

from pin_memory import load_model
from pin_memory.export import main
from pin_memory.exporting import formats, load_safetensors
from pin_memory.exporting.agreement import check_sizes
from pin_memory.exporting.graph import check_exportable, require
from pin_memory.exporting.hub import model_card
from pin_memory.exporting.judged import find_results
from pin_memory.exporting.settings import about, read_source
from pin_memory.inference import RUNNING, BatchNormStatistics
from pin_memory.memory import CategoricalMemory
from pin_memory.networks import MemorySegmenter, PlainDecoder, ResNetBackbone, SummedASPP
from pin_memory.runs.checkpoints import find_checkpoint
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.images import IMAGENET_MEAN, IMAGENET_STD

SHAPES = [(1, 64, 96), (1, 83, 141), (2, 97, 40), (3, 17, 33)]
"""Batches of images of even, odd, upright and small size."""


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run the command in this process."""
    monkeypatch.setattr("sys.argv", ["export", *arguments])
    main()


def mistake(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says when it ends with exit code 2."""
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, *arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def pictures(count: int, height: int, width: int) -> np.ndarray:
    """Noise (B, 3, H, W) uint8."""
    return np.random.default_rng(height).integers(0, 256, (count, 3, height, width), np.uint8)


def normalised(images: np.ndarray) -> np.ndarray:
    """By the formula of the documentation, in float64."""
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return ((images / 255 - mean) / std).astype(np.float32)


def session(path: Path) -> onnxruntime.InferenceSession:
    """An ONNX file in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def logits_of(network: MemorySegmenter, images: np.ndarray) -> np.ndarray:
    """The reference: the network itself."""
    with torch.inference_mode():
        return network.segment(torch.from_numpy(normalised(images))).numpy()


# The graphs -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("normalise", [False, True])
def test_onnx_equals_pytorch_at_any_size(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], normalise: bool
) -> None:
    """Within 1e-4, through the command; a picture gets the mask that `predict` gives it."""
    path, model = tmp_path / "model.onnx", load_model(trained_run)
    run(monkeypatch, f"checkpoint={trained_run}", "format=onnx", f"output={path}", f"normalise={normalise}")
    told = capsys.readouterr().out
    assert float(re.search(r"Largest difference to the network: (\S+)", told)[1]) <= 1e-4  # type: ignore[index]
    assert "STAND-IN" in told
    graph = session(path)
    assert graph.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    for shape in SHAPES:
        images = pictures(*shape)
        (found,) = graph.run(["logits"], {"images": images if normalise else normalised(images)})
        expected = logits_of(model.network, images)
        assert found.shape == expected.shape == (shape[0], 19, *shape[1:])
        assert np.abs(found - expected).max() <= 1e-4
    scene = np.asarray(Image.open(next((trained_run.parents[1] / "stand_ins" / "gtav" / "images").iterdir())).convert("RGB"))
    images = np.ascontiguousarray(scene.transpose(2, 0, 1))[None]
    (found,) = graph.run(["logits"], {"images": images if normalise else normalised(images)})
    assert (found.argmax(1)[0] == model.predict(scene)).mean() > 0.9999

    content = onnx.load(path)
    names = [tensor.name for tensor in content.graph.initializer]
    assert any("memory.items" in name for name in names)
    assert not [name for name in names if "auxiliary" in name or "update" in name or "classifier" in name]
    settings = json.loads(next(entry.value for entry in content.metadata_props if entry.key == "pin_memory"))
    assert settings["stand_in"]
    assert settings["label_space"]["names"][13] == "car"
    assert settings["graph"]["input"]["values"].startswith("uint8" if normalise else "float32")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"], "the weights are in it, and nothing is left over"


@pytest.mark.slow
def test_torch_export_equals_pytorch_at_any_size(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, network = tmp_path / "model.pt2", load_model(trained_run).network
    run(monkeypatch, f"checkpoint={trained_run}", "format=torch_export", f"output={path}")
    extra = {"pin_memory.json": ""}
    program = torch.export.load(path, extra_files=extra)
    assert json.loads(extra["pin_memory.json"])["method"] == "pin_the_memory"
    assert not [name for name in program.state_dict if "auxiliary" in name or "update" in name]
    module = program.module()
    for shape in SHAPES:
        images = pictures(*shape)
        with torch.no_grad():
            found = module(torch.from_numpy(normalised(images))).numpy()
        assert np.abs(found - logits_of(network, images)).max() <= 1e-4


def network_of(kind: str) -> MemorySegmenter:
    """Small networks of every architecture, with statistics and a memory that are not those of a fresh one."""
    torch.manual_seed(3)
    memory = None if kind == "isw" else CategoricalMemory(5, 8)
    if kind == "deeplab_v2":
        parts: dict[str, Any] = {"pyramid": SummedASPP, "decoder": PlainDecoder}
        network = MemorySegmenter(ResNetBackbone(18, 8, stride_in_1x1=True), 5, 8, memory, 8, **parts)
    else:
        norm = kind if kind in ("ibn", "isw") else "none"
        network = MemorySegmenter(ResNetBackbone(18, 32, instance_norm=norm), 5, 8, memory, 8)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    if memory is not None:
        memory.commit(torch.nn.functional.normalize(torch.randn(5, 8), dim=1))
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["deeplab_v2", "isw"])
def test_other_networks_as_onnx(kind: str, tmp_path: Path) -> None:
    network = network_of(kind)
    found = formats.write_onnx(tmp_path / "x.onnx", network, {}, True, 18, [(1, 64, 96), (2, 83, 141), (1, 97, 40)], 1e-4)
    images = pictures(1, 71, 90)
    (again,) = session(tmp_path / "x.onnx").run(None, {"images": images})
    assert max(*found.values(), np.abs(again - logits_of(network, images)).max()) <= 1e-4


def test_a_graph_that_does_not_agree_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here one that reads another memory, and one that knows only one size."""
    network, other = network_of("deeplab_v3plus"), network_of("deeplab_v3plus")
    other.require_memory().items.neg_()
    monkeypatch.setattr(formats, "traced", lambda graph: None)
    monkeypatch.setattr(torch.export, "save", lambda program, path, extra_files: path.write_bytes(b"whatever"))
    for run, message in ((other.segment, "1 x 64 x 96"), (lambda images: network.segment(images, (64, 64)), "instead of")):
        monkeypatch.setattr(formats, "torch_runner", lambda path, run=run: run)
        with pytest.raises(OutputError, match=message):
            formats.write_torch_export(tmp_path / "x.pt2", network, {}, False, [(1, 64, 96)], 1e-4)
        assert not list(tmp_path.iterdir())
    monkeypatch.setattr(formats, "torch_runner", lambda path: network.segment)
    assert formats.write_torch_export(tmp_path / "x.pt2", network, {}, False, [(1, 64, 96)], 1e-4) == {(1, 64, 96): 0.0}


def test_what_no_graph_can_do_is_refused() -> None:
    network = network_of("deeplab_v3plus")
    check_exportable(network, RUNNING)
    for policy in ("image", "batch"):
        with pytest.raises(ConfigurationError, match="test_statistics=running"):
            check_exportable(network, BatchNormStatistics(policy))
    network.require_memory().gumbel_in_evaluation = True
    with pytest.raises(ConfigurationError, match="noise"):
        check_exportable(network, RUNNING)


def test_sizes_and_packages_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for sizes in ([], [[1, 32, 64]], [[64, 96]], [[0, 64, 96]], [[1, 64.5, 96]]):
        with pytest.raises(ConfigurationError, match="size"):
            check_sizes(sizes, network_of("deeplab_v3plus"))  # type: ignore[arg-type]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"onnx, safetensors: pip install 'pin_memory\[export\]'"):
        require("onnx", "safetensors")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["format=tflite"], "torch_export"),
        (["format=onnx", "output=model.pt"], ".onnx"),
        (["format=safetensors", "output=model.onnx"], ".safetensors"),
        (["checkpoint=nowhere", "format=hub"], "nowhere"),
        (["format=onnx", "output=x.onnx", "sizes=[[1,8,8]]"], "sizes"),
        (["format=onnx", "output=x.onnx", "test_statistics=image"], "test_statistics=running"),
        (["format=hub", "output=full"], "other things"),
        (["format=hub", "results=nowhere"], "nowhere"),
        (["format=hub", "results=foreign"], "pin-memory evaluate"),
    ],
)
def test_mistakes(
    trained_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    """One message that names what to mend, and nothing written."""
    monkeypatch.chdir(tmp_path)
    for folder in ("full", "foreign"):
        (tmp_path / folder).mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    (tmp_path / "foreign" / "results.json").write_text(json.dumps({"targets": {}, "protocol": "whole@1", "checkpoint": "/other.ckpt"}))
    given = {argument.partition("=")[0] for argument in arguments}
    usual = [argument for argument in (f"checkpoint={trained_run}", "output=hub") if argument.partition("=")[0] not in given]
    assert expected in mistake(monkeypatch, capsys, *usual, *arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign", "full"]


# Weights and the hub ------------------------------------------------------------------------------------------------------


@pytest.fixture
def scene(trained_run: Path) -> np.ndarray:
    """A stand-in picture."""
    return np.asarray(Image.open(next((trained_run.parents[1] / "stand_ins" / "gtav" / "images").iterdir())).convert("RGB"))


def test_safetensors_are_loaded_again(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scene: np.ndarray
) -> None:
    """The same network bit by bit, also for `predict`; damage is told."""
    monkeypatch.chdir(tmp_path)
    run(monkeypatch, f"checkpoint={trained_run}", "format=safetensors", "output=x.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.safetensors"]
    found, expected = load_safetensors("x.safetensors"), load_model(trained_run)
    assert np.array_equal(found.probabilities(scene), expected.probabilities(scene))
    assert (found.protocol, found.statistics, found.label_space.names) == (
        expected.protocol, expected.statistics, expected.label_space.names,
    )  # fmt: skip
    assert str(load_safetensors("x.safetensors", protocol="sliding_768").protocol) == "sliding_768@1"
    own, loaded = expected.network.state_dict(), found.network.state_dict()
    assert own.keys() == loaded.keys()
    assert all(torch.equal(own[name], loaded[name]) for name in own)

    Image.fromarray(scene).save("scene.png")
    monkeypatch.setattr("sys.argv", ["predict", "checkpoint=x.safetensors", "input=scene.png", "output=out", "save=[mask]"])
    from pin_memory.predict import main as predict

    predict()
    assert np.array_equal(np.asarray(Image.open("out/scene_trainids.png")), expected.predict(scene))

    settings = json.loads(Path("x.json").read_text())
    for change, message in (
        ({"network": settings["network"] | {"_target_": "os.system"}}, r"trust=\[os\]"),
        ({"network": settings["network"] | {"channels": 24, "memory": None}}, "does not fit"),
        ({"format": "others@7"}, "others@7"),
        ({"statistics": None}, "damaged"),
    ):
        Path("x.json").write_text(json.dumps(settings | change))
        with pytest.raises(ConfigurationError, match=message):
            load_safetensors("x.safetensors")
    Path("x.json").write_text(json.dumps(settings))
    Path("x.safetensors").write_bytes(Path("x.safetensors").read_bytes()[:5000])
    with pytest.raises(ConfigurationError, match="Is it complete"):
        load_safetensors("x.safetensors")


def test_files_of_others_are_not_replaced(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scene: np.ndarray
) -> None:
    """A model of another library, the results of a run, the settings of anything; weights and settings have one name."""
    monkeypatch.chdir(tmp_path)
    contents = {"config.json": '{"model_type": "bert"}', "model.safetensors": "theirs", "results.json": '{"targets": {}}', "README.md": "#"}
    for name, content in contents.items():
        Path(name).write_text(content)
    checkpoint = f"checkpoint={trained_run}"
    assert "other things" in mistake(monkeypatch, capsys, checkpoint, "format=hub", "output=.")
    assert "results.json is there" in mistake(monkeypatch, capsys, checkpoint, "format=safetensors", "output=results.safetensors")
    assert {path.name: path.read_text() for path in Path().iterdir()} == contents

    Path("model.safetensors").unlink()
    for _ in range(2):  # its own are replaced
        run(monkeypatch, checkpoint, "format=safetensors", "output=model.safetensors")
    assert Path("config.json").read_text() == contents["config.json"]
    assert json.loads(Path("model.json").read_text())["format"] == "pin_memory.network@1"
    assert np.array_equal(load_safetensors("model.safetensors").predict(scene), load_model(trained_run).predict(scene))


def test_weights_do_not_slip_into_a_hub_folder(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would not fit its settings and its card."""
    (tmp_path / "config.json").write_text(json.dumps({"format": "pin_memory.network@1"}))
    said = mistake(monkeypatch, capsys, f"checkpoint={trained_run}", "format=safetensors", f"output={tmp_path / 'model.safetensors'}")
    assert "format=hub" in said
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def front_matter(card: str) -> dict[str, Any]:
    """The YAML head of a model card."""
    empty, head, _ = card.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(head)


def test_a_folder_for_a_hub(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: np.ndarray) -> None:
    """Weights, settings, and a card with the results of the run, their protocol, and what they are worth."""
    folder = tmp_path / "hub"
    for _ in range(2):  # again into the same folder
        run(monkeypatch, f"checkpoint={trained_run}", "format=hub", f"output={folder}", "name=my-model", "licence=cc-by-nc-4.0")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert np.array_equal(load_safetensors(folder).predict(scene), load_model(trained_run).predict(scene))
    card = (folder / "README.md").read_text()
    head, results = front_matter(card), json.loads((trained_run / "results.json").read_text())
    assert (head["library_name"], head["license"], head["pipeline_tag"]) == ("pin_memory", "cc-by-nc-4.0", "image-segmentation")
    assert "stand-in" in head["tags"]
    (entry,) = head["model-index"]
    assert entry["name"] == "my-model"
    for result in entry["results"]:
        (metric,) = result["metrics"]
        assert metric["value"] == round(results["targets"][result["dataset"]["type"]]["miou"], 4)
        assert "whole@1" in metric["name"]
        assert "STAND-IN" in result["dataset"]["name"]
    for expected in ("STAND-IN", "| mIoU |", "whole@1", "gtav, synthia, idd", "0 road, 1 sidewalk", "cc-by-nc-4.0", "@inproceedings"):
        assert expected in card
    assert not re.search(r"\{\{|\{%|None|Undefined", card)


def test_the_card_shows_no_scores_of_another_normalisation(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Left out where the run has them, refused where they were asked for by name."""
    arguments = [f"checkpoint={trained_run}", "format=hub", f"output={tmp_path / 'hub'}", "test_statistics=image"]
    said = mistake(monkeypatch, capsys, *arguments, f"results={trained_run}")
    assert "test_statistics=running" in said
    assert "normalises by image" in said
    assert not (tmp_path / "hub").exists()
    run(monkeypatch, *arguments)
    assert "judged with test_statistics=running" in capsys.readouterr().out
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "Not evaluated" in card
    assert "model-index" not in front_matter(card)
    assert "STAND-IN" in card, "what the run was trained on does not change"


def test_the_card_names_the_terms_of_real_data(trained_run: Path, tmp_path: Path) -> None:
    """As far as they are known, and no others."""
    source = read_source(trained_run, [])
    source.data.stand_in = None
    for domain in (*source.data.sources.values(), *source.data.targets.values()):
        domain.root = tmp_path / "real"
    settings = about(source, RUNNING) | {"stand_in": False}
    card = model_card(source, settings, [], "m", None)
    assert "STAND-IN" not in card
    assert "Not evaluated" in card
    assert "model-index" not in front_matter(card)
    assert "license" not in front_matter(card)
    assert "No licence of the weights is stated" in card
    (synthia,) = re.findall(r"- \*\*synthia\*\*.*", card)
    assert "CC BY-NC-SA 3.0" in synthia
    (gtav,) = re.findall(r"- \*\*gtav\*\*.*", card)
    assert "own terms" in gtav
    assert "CC" not in gtav


def test_only_results_of_this_checkpoint_count(trained_run: Path, tmp_path: Path) -> None:
    """Those of a run belong to the checkpoint that it judged, not to its others."""
    copy = tmp_path / "run"
    shutil.copytree(trained_run, copy, ignore=shutil.ignore_patterns("wandb", "panels"))
    judged = find_checkpoint(copy)
    assert len(find_results(judged, None)) == 1
    assert len(find_results(judged, [str(copy)])) == 1
    other = copy / "checkpoints" / "other.ckpt"
    shutil.copy(judged, other)
    refused = functools.partial(find_results, other)
    assert refused(None) == []
    with pytest.raises(ConfigurationError, match=r"not .*other\.ckpt"):
        refused(str(copy / "results.json"))
