"""`export` as a user types it: what is exported computes what the network computes, and says what it is."""

import functools
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from pin_memory import load_model
from pin_memory.export import main
from pin_memory.exporting import load_safetensors
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.exported import front_matter, logits_of, normalised, pictures, session
from tests.helpers.in_process import refusal, run_command
from tests.helpers.untrained_run import TRUST

OWN = ["tests"]
"""The package of the backbone."""
SHAPES = [(1, 64, 96), (1, 83, 141), (2, 97, 40), (3, 17, 33)]
"""Batches of images of even, odd, upright and small size."""


@pytest.fixture
def scene() -> np.ndarray:
    """An image with coarse structure."""
    coarse = np.random.default_rng(0).integers(0, 256, (10, 20, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((160, 80)))


run = functools.partial(run_command, main)
mistake = functools.partial(refusal, main)


@pytest.mark.slow
@pytest.mark.parametrize("normalise", [False, True])
def test_onnx_equals_pytorch_at_any_size(
    untrained_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    scene: np.ndarray,
    normalise: bool,
) -> None:
    """Within 1e-4, through the command; a picture gets the mask that `predict` gives it."""
    path, model = tmp_path / "model.onnx", load_model(untrained_run, trust=OWN)
    run(monkeypatch, f"checkpoint={untrained_run}", TRUST, "format=onnx", f"output={path}", f"normalise={normalise}")
    printed = capsys.readouterr().out
    assert float(re.search(r"Largest difference to the network: (\S+)", printed)[1]) <= 1e-4  # type: ignore[index]
    assert "STAND-IN" in printed
    graph = session(path)
    assert graph.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    for shape in SHAPES:
        images = pictures(*shape)
        (found,) = graph.run(["logits"], {"images": images if normalise else normalised(images)})
        expected = logits_of(model.network, images)
        assert found.shape == expected.shape == (shape[0], 19, *shape[1:])
        assert np.abs(found - expected).max() <= 1e-4
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
def test_torch_export_equals_pytorch_at_any_size(untrained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, network = tmp_path / "model.pt2", load_model(untrained_run, trust=OWN).network
    run(monkeypatch, f"checkpoint={untrained_run}", TRUST, "format=torch_export", f"output={path}")
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
def test_invalid_settings(
    untrained_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    """One message that names what to fix, and nothing written."""
    monkeypatch.chdir(tmp_path)
    for folder in ("full", "foreign"):
        (tmp_path / folder).mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    (tmp_path / "foreign" / "results.json").write_text(json.dumps({"targets": {}, "protocol": "whole@1", "checkpoint": "/other.ckpt"}))
    given = {argument.partition("=")[0] for argument in arguments}
    usual = [argument for argument in (f"checkpoint={untrained_run}", TRUST, "output=hub") if argument.partition("=")[0] not in given]
    assert expected in mistake(monkeypatch, capsys, *usual, *arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign", "full"]


def test_safetensors_are_loaded_again(
    untrained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scene: np.ndarray
) -> None:
    """The same network bit by bit, also for `predict`; damage is reported."""
    monkeypatch.chdir(tmp_path)
    run(monkeypatch, f"checkpoint={untrained_run}", TRUST, "format=safetensors", "output=x.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.safetensors"]
    found, expected = load_safetensors("x.safetensors", trust=OWN), load_model(untrained_run, trust=OWN)
    assert np.array_equal(found.probabilities(scene), expected.probabilities(scene))
    assert (found.protocol, found.statistics, found.label_space.names) == (
        expected.protocol, expected.statistics, expected.label_space.names,
    )  # fmt: skip
    assert str(load_safetensors("x.safetensors", trust=OWN, protocol="sliding_768").protocol) == "sliding_768@1"
    own, loaded = expected.network.state_dict(), found.network.state_dict()
    assert own.keys() == loaded.keys()
    assert all(torch.equal(own[name], loaded[name]) for name in own)

    Image.fromarray(scene).save("scene.png")
    monkeypatch.setattr("sys.argv", ["predict", "checkpoint=x.safetensors", TRUST, "input=scene.png", "output=out", "save=[mask]"])
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
            load_safetensors("x.safetensors", trust=OWN)
    Path("x.json").write_text(json.dumps(settings))
    Path("x.safetensors").write_bytes(Path("x.safetensors").read_bytes()[:5000])
    with pytest.raises(ConfigurationError, match="Is it complete"):
        load_safetensors("x.safetensors", trust=OWN)


@pytest.mark.slow
def test_files_of_others_are_not_replaced(
    untrained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scene: np.ndarray
) -> None:
    """A model of another library, the results of a run, the settings of anything; weights and settings have one name."""
    monkeypatch.chdir(tmp_path)
    contents = {"config.json": '{"model_type": "bert"}', "model.safetensors": "theirs", "results.json": '{"targets": {}}', "README.md": "#"}
    for name, content in contents.items():
        Path(name).write_text(content)
    checkpoint = [f"checkpoint={untrained_run}", TRUST]
    assert "other things" in mistake(monkeypatch, capsys, *checkpoint, "format=hub", "output=.")
    assert "results.json exists" in mistake(monkeypatch, capsys, *checkpoint, "format=safetensors", "output=results.safetensors")
    assert {path.name: path.read_text() for path in Path().iterdir()} == contents

    Path("model.safetensors").unlink()
    for _ in range(2):  # its own are replaced
        run(monkeypatch, *checkpoint, "format=safetensors", "output=model.safetensors")
    assert Path("config.json").read_text() == contents["config.json"]
    assert json.loads(Path("model.json").read_text())["format"] == "pin_memory.network@1"
    assert np.array_equal(
        load_safetensors("model.safetensors", trust=OWN).predict(scene), load_model(untrained_run, trust=OWN).predict(scene)
    )


def test_weights_do_not_slip_into_a_hub_folder(
    untrained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would not fit its settings and its card."""
    (tmp_path / "config.json").write_text(json.dumps({"format": "pin_memory.network@1"}))
    said = mistake(
        monkeypatch, capsys, f"checkpoint={untrained_run}", TRUST, "format=safetensors", f"output={tmp_path / 'model.safetensors'}"
    )
    assert "format=hub" in said
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.slow
def test_a_folder_for_a_hub(untrained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: np.ndarray) -> None:
    """Weights, settings, and a card with the results of the run, their protocol, and what they are worth."""
    folder = tmp_path / "hub"
    for _ in range(2):  # again into the same folder
        run(monkeypatch, f"checkpoint={untrained_run}", TRUST, "format=hub", f"output={folder}", "name=my-model", "licence=cc-by-nc-4.0")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert np.array_equal(load_safetensors(folder, trust=OWN).predict(scene), load_model(untrained_run, trust=OWN).predict(scene))
    card = (folder / "README.md").read_text()
    head, results = front_matter(card), json.loads((untrained_run / "results.json").read_text())
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
    untrained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Left out where the run has them, refused where they were asked for by name."""
    arguments = [f"checkpoint={untrained_run}", TRUST, "format=hub", f"output={tmp_path / 'hub'}", "test_statistics=image"]
    said = mistake(monkeypatch, capsys, *arguments, f"results={untrained_run}")
    assert "test_statistics=running" in said
    assert "normalises by image" in said
    assert not (tmp_path / "hub").exists()
    run(monkeypatch, *arguments)
    assert "evaluated with test_statistics=running" in capsys.readouterr().out
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "Not evaluated" in card
    assert "model-index" not in front_matter(card)
    assert "STAND-IN" in card, "what the run was trained on does not change"
