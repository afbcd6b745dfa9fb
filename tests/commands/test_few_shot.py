"""Few-shot segmentation as a user runs it: its experiments, a tiny training, a resumption, other ways in an evaluation, refusals."""

import io
import json
import re
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from pin_memory.analysis import load_subject
from pin_memory.domains import EpisodeDataModule
from pin_memory.evaluation.evaluate import evaluate
from pin_memory.exporting import load_safetensors
from pin_memory.exporting.run import export
from pin_memory.memory import LinearMemory, PrototypeMemory, RidgeMemory
from pin_memory.prediction.load import load_model
from pin_memory.prediction.run import predict
from pin_memory.runs import build, checkpoints
from pin_memory.runs.support import read_support, support_digest
from pin_memory.training.run import train
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.helpers.exported import front_matter, logits_of, normalised, pictures, session

TINY = [
    "network.backbone.pretrained=null", "augmentation.crop_size=64", "data.size=[64, 96]", "loading.batch_size=2",
    "data.stand_in.images_per_domain=16", "data.stand_in.width=160", "data.min_pixels=20", "data.episodes=3", "data.val_episodes=2",
    "data.seeds=[0, 1]", "trainer.val_check_interval=2", "logger=csv", "paths.output=unused",
]  # fmt: skip


def composed(command: str, *overrides: str) -> DictConfig:
    """The configuration of a command."""
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose(command, overrides=list(overrides))


def run(folder: Path, *overrides: str) -> dict[str, Any]:
    """Train the tiny demo in `folder/run`; the content of `results.json`."""
    common = ["experiment=few_shot_demo", f"paths.data={folder.parent / 'sets'}", f"paths.run={folder}"]
    return train(composed("train", *TINY, *common, *overrides), {"network": "tiny"})


@pytest.mark.parametrize(("experiment", "ways"), [("few_shot_demo", 3), ("few_shot_streets", 2), ("pascal_5i", 2), ("coco_20i", 5)])
def test_every_experiment_is_built(experiment: str, ways: int, tmp_path: Path) -> None:
    """Fold, way and shot are settings of their own, and data and network agree about them."""
    shown = [f"experiment={experiment}", "fold=1", f"way={ways}", "shot=5", "paths.run=unused", f"paths.data={tmp_path}"]
    cfg = composed("train", *shown)
    data, method = build.build_data(cfg), build.build_without_weights(cfg)
    assert isinstance(data, EpisodeDataModule)
    assert (data.settings.fold, data.settings.way, data.settings.shot) == (1, ways, 5)
    method.check_classes(data.outputs.names)
    assert method.network.num_classes == ways + 1
    method.check_sources(dict.fromkeys(data.sources, 1))
    heads = {"ridge": RidgeMemory, "prototype": PrototypeMemory, "linear": LinearMemory}
    for name, kind in heads.items():
        other = build.build_without_weights(composed("train", *shown, f"head={name}"))
        assert isinstance(other.network.memory, kind)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of four steps."""
    folder, said = tmp_path_factory.mktemp("few_shot") / "run", io.StringIO()
    with redirect_stderr(said):
        run(folder, "trainer.max_steps=4", "way=2")
    (folder / "said.txt").write_text(said.getvalue())
    return folder


@pytest.mark.slow
def test_results(trained: Path) -> None:
    results = json.loads((trained / "results.json").read_text())
    assert list(results["targets"]) == ["seed_0", "seed_1"]
    for scores in results["targets"].values():
        assert set(scores["iou"]) == {"sidewalk", "vegetation", "sky", "car", "background"}
        known = [value for name, value in scores["iou"].items() if name != "background" and value is not None]
        assert scores["miou"] == pytest.approx(sum(known) / len(known))
        assert scores["episodes"] == {
            "way": 2, "shot": 1, "protocol": "ours", "queries": "one", "images": "val", "min_pixels": 20, "size": [64, 96],
        }  # fmt: skip
    one, other = (scores["miou"] for scores in results["targets"].values())
    assert results["mean_miou"] == pytest.approx((one + other) / 2)
    assert results["spread"]["miou"] == pytest.approx(abs(one - other) / 2**0.5)
    table = (trained / "results.md").read_text()
    assert "over 2 seeds, mean ± standard deviation in %: mIoU" in table
    assert "FB-IoU" in table
    assert len(list((trained / "panels").glob("seed_1_*.jpg"))) == 3
    assert not (trained / "memory_trace.npz").exists()
    assert (trained / "report.html").is_file()
    assert re.findall(r"testing on .*", (trained / "said.txt").read_text()) == [f"testing on seed_{n}: 3 episodes" for n in (0, 1)]


@pytest.mark.slow
def test_a_resumed_run_has_the_same_bits(trained: Path, tmp_path: Path) -> None:
    """Four steps, the last two of them in another folder."""
    sets = trained.parent / "sets"
    common = ["way=2", f"paths.data={sets}", "test=false", "callbacks.last.every=1", "callbacks.last.keep=9"]
    run(tmp_path / "first", *common, "trainer.max_steps=4")
    early = tmp_path / "first" / "checkpoints" / "step-2.ckpt"
    run(tmp_path / "second", *common, "trainer.max_steps=4", f"resume={early}")
    states = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (trained, tmp_path / "first", tmp_path / "second")
    ]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
        assert torch.equal(value, states[2][name]), name


@pytest.mark.slow
def test_other_episodes_in_an_evaluation(trained: Path, tmp_path: Path) -> None:
    """The run's own give its scores again; another way, shot and protocol give others, and say so."""
    common = [f"checkpoint={trained}", f"paths.data={trained.parent / 'sets'}", "paths.output=unused", "accelerator=cpu"]
    (same,) = evaluate(composed("evaluate", *common, f"paths.run={tmp_path / 'same'}"))
    before = json.loads((trained / "results.json").read_text())
    assert same.to_json()["targets"] == before["targets"]
    options = ["episodes.way=1", "episodes.shot=2", "episodes.protocol=hsnet", "episodes.episodes=2"]
    (other,) = evaluate(composed("evaluate", *common, *options, f"paths.run={tmp_path / 'other'}"))
    conditions = other.targets["seed_0"].conditions["episodes"]
    assert (conditions["way"], conditions["shot"], conditions["protocol"]) == (1, 2, "hsnet")
    assert other.targets["seed_0"].differing(same.targets["seed_0"]) == ["images", "episodes"]
    with pytest.raises(ConfigurationError, match="floors=true"):
        evaluate(composed("evaluate", *common, "floors=true", f"paths.run={tmp_path / 'floors'}"))


@pytest.mark.slow
def test_the_plan_of_a_dry_run(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "run", "dry_run=true", f"paths.data={trained.parent / 'sets'}")
    said = capsys.readouterr().out
    assert "2 episodes (1-way 1-shot, fold 0, protocol ours) on 1 device(s): 2 episodes an iteration" in said
    assert "seed_0 3, seed_1 3 test episodes" in said


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["experiment=few_shot_demo", "method=erm"], "method=erm with data=episodes"),
        (["experiment=demo", "method=meta_seg_net"], "set data=episodes"),
        (["experiment=few_shot_demo", "floors=true"], "few-shot segmentation has no floors"),
        (["experiment=few_shot_demo", "network.auxiliary_channels=8"], "learn nothing of a class"),
    ],
)
def test_what_does_not_go_together(overrides: list[str], message: str, tmp_path: Path) -> None:
    common = ["network.backbone.pretrained=null", "paths.output=unused", f"paths.data={tmp_path}", f"paths.run={tmp_path / 'run'}"]
    small = ["data.stand_in.images_per_domain=16", "data.stand_in.width=160", "trainer.accelerator=cpu"]
    with pytest.raises(Exception, match=message) as raised:
        train(composed("train", *overrides, *common, *small), {})
    assert isinstance(raised.value, ConfigurationError) or isinstance(raised.value.__cause__, ConfigurationError)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_checkpoint_of_a_few_shot_run_is_loaded(trained: Path) -> None:
    method = checkpoints.load_method(checkpoints.find_checkpoint(trained)).method
    assert method.network.num_classes == 3
    assert not method.network.require_memory().initialised


def write_support(folder: Path) -> Path:
    """Two images whose left half is class 1 and red, and whose middle is not labelled."""
    for name, shade in (("one", 200), ("two", 180)):
        for part in ("images", "labels"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        image, label = np.zeros((64, 96, 3), np.uint8), np.zeros((64, 96), np.uint8)
        image[:, :48, 0], image[:, 48:, 2], label[:, :40], label[:, 40:56] = shade, shade, 1, 255
        Image.fromarray(image).save(folder / "images" / f"{name}.jpg")
        Image.fromarray(label).save(folder / "labels" / f"{name}.png")
    return folder


@pytest.mark.slow
def test_prediction_by_a_support(trained: Path, tmp_path: Path) -> None:
    """The run's classes do not matter: it was trained with two ways, and segments one."""
    support = write_support(tmp_path / "support")
    common = [f"checkpoint={trained}", f"support={support}"]
    predict(composed("predict", *common, f"input={support / 'images'}", f"output={tmp_path / 'masks'}", "device=cpu"))
    mask = np.asarray(Image.open(tmp_path / "masks" / "one_trainids.png"))
    model = load_model(trained, support=support)
    rgb = np.asarray(Image.open(support / "images" / "one.jpg"))
    assert np.array_equal(mask, model.predict(rgb))
    assert model.label_space.names == ("background", "class 1")
    truth = np.asarray(Image.open(support / "labels" / "one.png"))
    assert (mask == truth)[truth != 255].mean() > 0.75  # a network of four steps
    settings = json.loads((tmp_path / "masks" / "predict.json").read_text())
    assert settings["classes"] == ["background", "class 1"]
    label = np.zeros((64, 96), np.uint8)
    label[:30] = 1
    Image.fromarray(label).save(support / "labels" / "two.png")
    with pytest.raises(ConfigurationError, match="support: "):
        predict(composed("predict", *common, f"input={support / 'images'}", f"output={tmp_path / 'masks'}", "device=cpu"))

    with pytest.raises(ConfigurationError, match=r"few-shot network: give it labelled images .* support=DIR"):
        export(composed("export", f"checkpoint={trained}", "format=onnx", f"output={tmp_path / 'model.onnx'}"))
    with pytest.raises(ConfigurationError, match="labelled images of the classes"):
        load_model(trained)
    with pytest.raises(ConfigurationError, match="few-shot run, which has learned no classes"):
        load_subject(trained, data=trained.parent / "sets")


@pytest.mark.slow
def test_what_is_exported_has_the_head_of_the_support(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every format: the logits of `load_model(support=)`, whose one class is not among the run's two, and its names."""
    monkeypatch.chdir(tmp_path)
    support = write_support(tmp_path / "support")
    model, images = load_model(trained, support=support), pictures(2, 71, 96)
    rgb = np.asarray(Image.open(support / "images" / "one.jpg"))
    common = [f"checkpoint={trained}", f"support={support}", "sizes=[[1, 64, 96], [1, 83, 101]]"]
    for name, file in {"onnx": "m.onnx", "torch_export": "m.pt2", "safetensors": "m.safetensors", "hub": "hub"}.items():
        export(composed("export", *common, f"format={name}", f"output={file}"))

    expected = logits_of(model.network, images)
    assert expected.shape == (2, 2, 71, 96)
    (found,) = session(Path("m.onnx")).run(["logits"], {"images": normalised(images)})
    assert np.abs(found - expected).max() <= 1e-4
    extra = {"pin_memory.json": ""}
    program = torch.export.load("m.pt2", extra_files=extra).module()
    assert np.abs(program(torch.from_numpy(normalised(images))).detach().numpy() - expected).max() <= 1e-4
    kept = next(entry.value for entry in onnx.load("m.onnx").metadata_props if entry.key == "pin_memory")
    for settings in (json.loads(kept), json.loads(extra["pin_memory.json"]), json.loads(Path("m.json").read_text())):
        assert settings["label_space"]["names"] == ["background", "class 1"]
        assert settings["support"] == support_digest(support)
    for folder in ("m.safetensors", "hub"):
        again = load_safetensors(folder)
        assert again.label_space.names == ("background", "class 1")
        assert np.array_equal(again.probabilities(rgb), model.probabilities(rgb))

    card = Path("hub/README.md").read_text()
    assert "few-shot-segmentation" in front_matter(card)["tags"]
    assert "model-index" not in front_matter(card), "the run's scores are of other heads"
    for words in ("0 background, 1 class 1.", support_digest(support), "STAND-IN", "over 2 seeds", "tian2020", "evaluated on nothing"):
        assert words in card
    assert not re.search(r"\{\{|\{%|None|Undefined|street scenes", card)


def test_a_support_that_is_none(tmp_path: Path) -> None:
    """Each with what is expected."""
    folder = write_support(tmp_path / "support")
    images, labels = read_support(folder)
    assert images.shape == (2, 3, 64, 96)
    assert labels.unique().tolist() == [0, 1, 255]
    assert support_digest(folder) != support_digest(write_support(tmp_path / "other") / "images")
    with pytest.raises(DataError, match="no file"):
        read_support(tmp_path / "nothing")
    Image.fromarray(np.full((64, 96), 2, np.uint8)).save(folder / "labels" / "one.png")
    Image.fromarray(np.zeros((64, 96), np.uint8)).save(folder / "labels" / "two.png")
    with pytest.raises(DataError, match=r"show the classes \[2\]"):
        read_support(folder)
    Image.fromarray(np.zeros((32, 96), np.uint8)).save(folder / "labels" / "two.png")
    with pytest.raises(DataError, match=r"two has an image of \(64, 96\) and a label of \(32, 96\)"):
        read_support(folder)
    (folder / "labels" / "two.png").unlink()
    with pytest.raises(DataError, match="missing: two"):
        read_support(folder)


def test_a_support_for_a_network_that_has_learned_its_classes(untrained_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Leave support out"):
        load_model(untrained_run, trust=["tests"], support=tmp_path)
    options = [f"checkpoint={untrained_run}", f"paths.run={tmp_path}", "trust=[tests]", "episodes.way=2", "paths.output=unused"]
    with pytest.raises(ConfigurationError, match=r"episodes.way: this is no few-shot run"):
        evaluate(composed("evaluate", *options))
