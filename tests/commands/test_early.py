"""The first mistake of a command, and all of `compare` and `report`, come without torch and Lightning."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAVY = ("torch", "lightning", "torchvision", "torchmetrics", "albumentations", "cv2", "timm", "wandb", "scipy")
SEVERAL = f"""
import contextlib, io, json, logging, runpy, sys
from hydra.core.global_hydra import GlobalHydra
for name, *arguments in json.loads(sys.argv[1]):
    sys.argv, said, code = ["x", *arguments], io.StringIO(), 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            runpy.run_module(f"pin_memory.{{name}}", run_name="__main__", alter_sys=True)
        except SystemExit as stop:
            code = stop.code
    GlobalHydra.instance().clear()
    logging.getLogger().handlers.clear()
    print(json.dumps([code, said.getvalue(), [m for m in {HEAVY} if m in sys.modules]]))
"""
CASES: dict[tuple[str, ...], str] = {
    ("train",): "experiment=demo",
    ("train", "experiment=multi_source_gsi", "paths.data=nowhere"): "no such folder",
    ("train", "experiment=multi_source_gsi", "paths.data=runs"): "data.targets.bdd100k.root=runs/bdd100k",
    ("train", "experiment=multi_source_gsi", "paths.data=runs", "test=false"): "3 of 3 data sets are not there",
    ("train", "experiment=three_countries", "paths.data=runs", "target=kitti", "test=false"): "2 of 2 data sets are not there",
    ("train", "data=leave_one_out", "experiment=multi_source_gsi", "paths.data=runs"): "+target=NAME",
    ("train", "data.sources=gtav"): "data.sources=gtav: expected domains by name; add one with +domain@data.sources.NAME=gtav",
    ("train", "experiment=demo", "trainer.max_steps=???"): "`trainer.max_steps` has no value",
    ("train", "experiment=demo", "trainer.max_step=3"): "Did you mean trainer.max_steps",
    ("train", "experiment=demo", "method.nonsense=1"): "There is no setting method.nonsense",
    ("train", "experiment=demo", "method.whitening=1"): "An option that the YAML file does not list takes a plus sign: +method.whitening=1",
    ("train", "experiment=demo", "trainer.overfit_batches=1"): "takes a plus sign: +trainer.overfit_batches=1",
    ("train", "experiment=demo", "+trainer.nonsense=1"): "trainer.nonsense; nothing would read it. trainer has ",
    ("train", "experiment=demo", "+optimizer.momentun=1", "optimizer=sgd"): "Did you mean optimizer.momentum?",
    ("train", "experiment=demo", "+method.dim=1"): "method.dim; nothing would read it. method has ",
    ("train", "experiment=demo", "+nonsense=1"): "There is no setting nonsense",
    ("train", "experiment=demo", "+method.nonsense=1", "+method.senseless=1"): "method.nonsense; nothing would read it. method has ",
    ("train", "experiment=demo", "+method.inner_rl=1", "+method.inner_rll=1"): "Did you mean method.inner_lr",
    ("train", "experiment=demo", "+method.whitenning=1"): "Did you mean method.whitening?",
    ("train", "experiment=demo", "+loading.worker=1"): "Did you mean loading.num_workers?",
    ("train", "experiment=demo", "+data.sources.gtav.nonsense=1"): "nothing would read it. data.sources.gtav has ",
    ("check", "experiment=demo", "+augmentation.nonsense=1"): "There is no setting augmentation.nonsense",
    ("train", "experiment=demo", "resume=nowhere.ckpt"): "nowhere.ckpt: expected a run folder",
    ("train", "experiment=demo", "network=5"): "expected the name of an option of network",
    ("evaluate",): "`checkpoint` has no value",
    ("evaluate", "checkpoint=[nowhere,neither]"): "nowhere: expected a run folder",
    ("predict",): "`checkpoint`, `input`, `output` have no value; give them on the command line: checkpoint=... input=... output=...",
    ("predict", "checkpoint=here.ckpt", "input=photo", "output=out"): "'photo' is nearly 'Photo'",
    ("predict", "checkpoint=here.ckpt", "input=Photo", "output=here.ckpt/out"): "here.ckpt is no folder",
    ("predict", "checkpoint=here.ckpt", "input=Photo", "output=out", "save=[mask,x]"): "there is no x; choose among mask, color",
    ("predict", "checkpoint=here.ckpt", "input=Photo", "output=out", "support=nowhere"): "support=nowhere: no such file or folder",
    ("train", "experiment=demo", "split.meta_test=[gtav,kitti]"): "split.meta_test=['gtav', 'kitti']: there is no kitti; choose among gtav",
    ("train", "experiment=demo", "data=leave_one_out", "+target=x"): "target=x: there is no x; choose among gtav, synthia, idd",
    ("train", "experiment=demo", "network.backbone.pretrained=r50.pth"): "network.backbone.pretrained=r50.pth: no such file",
    ("train", "experiment=demo", "network.backbone.pretrained=imagent"): "and none of the names imagenet, timm, packaged",
    ("train", "experiment=demo", "trainer.precision=16-mixed"): "trainer.precision=16-mixed: expected one of 32-true, 64-true, bf16-mixed",
    ("train", "experiment=demo", "trainer.max_epochs=3"): "training counts iterations, not epochs",
    ("train", "experiment=demo", "selection=newest"): "selection must be 'best' or 'last', found 'newest'",
    ("train", "experiment=demo", "optimizer.lr=-1"): "optimizer.lr must be greater than 0, found -1",
    ("train", "experiment=demo", "loading.batch_size=0"): "loading.batch_size must be greater than or equal to 1, found 0",
    (
        "train",
        "experiment=demo",
        "network._target_=nowhere.Net",
    ): "Error locating target 'nowhere.Net' of network._target_",
    ("train", "experiment=demo", "method.first_order=false", "network.compile=true"): "method.first_order=false differentiates twice",
    (
        "train",
        "experiment=demo",
        "network=deeplab_v3plus_timm",
        "network.backbone.name=resnet1800",
    ): "Did you mean resnet18",
    (
        "train",
        "experiment=demo",
        "network=vit_linear",
        "network.backbone.name=vit_nano_patch14_dino.x",
    ): "or vit_small_patch14_dinov2?",
    ("text", "output=x.safetensors", "classes=city"): "classes=city: expected a list of names, as classes=[road,sky], or one of cityscapes",
    ("train", "experiment=demo", "method=ppar"): "text.path is missing: name a file",
    ("train", "experiment=demo", "method=ppar", "text.path=nowhere.npy"): "text.path=nowhere.npy: no such file",
    ("evaluate", "checkpoint=runs/own", "targets=[north]"): "targets=['north']: there is no north; choose among cityscapes.",
    ("evaluate", "checkpoint=runs/own", "targets=gtav"): "targets=gtav: there is no gtav; choose among cityscapes.",
    ("evaluate", "checkpoint=runs/own/checkpoints/last.ckpt", "targets=gtav"): "targets=gtav: there is no gtav; choose among cityscapes.",
    ("evaluate", "checkpoint=runs/own", "corruptions=[fog,smog]"): "there is no smog; choose among gaussian_noise, shot_noise",
    ("evaluate", "checkpoint=runs/own", "corruptions=[]"): "corruptions=[] severity=None: expected a kind and a severity at least",
    ("evaluate", "checkpoint=runs/own", "corruptions=fog", "severity=6"): "severity=6: expected 1 (weak) to 5, or several of them",
    ("evaluate", "checkpoint=runs/own", "severity=2"): "severity=2: nothing is corrupted",
    ("analyze", "checkpoint=runs/own", "device=gpu"): "device=gpu: expected auto, cpu, cuda or cuda:NUMBER",
    ("evaluate", "checkpoint=runs/left", "targets=west"): "targets=west: there is no west; choose among north, south.",
    ("evaluate", "checkpoint=runs/own", "paths.data=nowhere"): "paths.data=nowhere: no such file or folder",
    ("evaluate", "checkpoint=runs/own", "baseline=nowhere"): "baseline=nowhere: expected run folders",
    ("evaluate", "checkpoint=runs/own", "tables=[word]"): "there is no word; choose among markdown, csv, latex",
    (
        "evaluate",
        "checkpoint=runs/own",
        "+domain@data.targets.new=folder",
        "data.targets.new.root=nowhere",
    ): "data.targets.new.root=nowhere",
    ("analyze", "checkpoint=runs/own", "plots=[gains]"): "plots=['gains']: there is no gains; choose among gain, similarity",
    ("analyze", "checkpoint=runs/own", "domains=north"): "domains=north: there is no north; choose among gtav, cityscapes",
    ("export", "checkpoint=runs/own", "format=onxx", "output=x.onnx"): "format=onxx: there is no onxx; choose among onnx",
    ("convert", "source=here.ckpt", "output=x.ckpt", "to=mine"): "to=mine: there is no mine; choose among ours, official",
    ("dashboard", "entity=me", "kind=x"): "kind=x: there is no x; choose among training, weights",
    ("check", "format=x"): "format=x: there is no x; choose among text, json",
    ("stand_in", "root=new", "contact_sheet=here.ckpt/x.png"): "contact_sheet=here.ckpt/x.png: nothing can be written there",
    ("evaluate", "checkpoint=runs"): "runs: expected a run folder (runs/<experiment>/<time>) or a checkpoint file, found a folder without",
    ("predict", "checkpoint=runs/one", "input=Photo", "output=out"): "runs/one: expected a run folder",
    ("check", "experiment=multi_source_gs", "data=leave_one_out", "paths.data=Photo"): "name the domain that is left out",
    ("analyze",): "`checkpoint` has no value",
    ("report",): "`run` has no value",
    ("report", "run=nowhere"): "run=nowhere: no such folder",
    ("compare",): "`runs` has no value",
    ("compare", "runs=nowhere"): "runs=nowhere: expected run folders",
    ("export", "checkpoint=nowhere", "format=onnx", "output=x.onnx"): "nowhere: expected a run folder",
    ("check",): "paths.data=data: no such folder",
    ("convert", "source=nowhere", "output=x.ckpt"): "source=nowhere: no such file",
    ("text",): "`output` has no value",
    ("stand_in", "root=here.ckpt/set"): "here.ckpt is no folder",
}

SURVEY = ("check", "paths.data=runs")  # the last, since it imports torch


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Any]:
    """Exit code, words, and heavy modules of each command, all in one process."""
    cwd = tmp_path_factory.mktemp("early")
    (cwd / "here.ckpt").touch()
    (cwd / "Photo").mkdir()
    (cwd / "runs" / "own" / "checkpoints").mkdir(parents=True)
    (cwd / "runs" / "own" / "checkpoints" / "last.ckpt").touch()
    (cwd / "runs" / "left" / "checkpoints").mkdir(parents=True)
    (cwd / "runs" / "left" / "checkpoints" / "last.ckpt").touch()
    (cwd / "runs" / "left" / "config.yaml").write_text("data: {_target_: pin_memory.x.leave_one_out, sources: {north: {}, south: {}}}")
    (cwd / "runs" / "own" / "config.yaml").write_text("data: {_target_: pin_memory.x, sources: {gtav: {}}, targets: {cityscapes: {}}}")
    for name, miou in (("one", 0.25), ("two", 0.5)):
        results = {"method": name, "targets": {"cityscapes": {"miou": miou, "iou": {"road": miou}}}, "mean_miou": miou, "seed": 1}
        (cwd / "runs" / name).mkdir(parents=True)
        (cwd / "runs" / name / "results.json").write_text(json.dumps(results))
    commands = [*CASES, ("compare", "runs=runs", "baseline=one", "output=out"), ("report", "run=runs/two"), SURVEY]
    done = subprocess.run([sys.executable, "-c", SEVERAL, json.dumps(commands)], cwd=cwd, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (cwd / "runs").iterdir()) == ["left", "one", "own", "two"], "no folder is left of what was refused"
    return dict(zip(commands, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("command", CASES)
def test_the_first_mistake_comes_without_torch(said: dict[tuple[str, ...], Any], command: tuple[str, ...]) -> None:
    code, words, heavy = said[command]
    assert (code, heavy) == (2, []), words
    assert CASES[command] in words
    assert words.startswith("Error: ")


def test_compare_and_report_need_no_torch(said: dict[tuple[str, ...], Any]) -> None:
    (compared, table, _), (reported, *_) = list(said.values())[-3:-1]
    assert (compared, reported) == (0, 0), said
    assert "+25.0" in table
    assert {name for _, _, heavy in list(said.values())[-3:-1] for name in heavy} <= {"scipy"}  # of the test of a gain


def test_a_training_without_an_experiment_lists_them_with_their_heads(said: dict[tuple[str, ...], Any]) -> None:
    lines = said["train",][1].splitlines()
    known = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "experiment").glob("[!_]*.yaml"))
    assert [line.split()[0].removeprefix("experiment=") for line in lines[1:]] == known
    assert all(len(line.split()) > 4 and "Try:" not in line and "@package" not in line for line in lines[1:])


def test_a_check_without_an_experiment_looks_for_every_data_set(said: dict[tuple[str, ...], Any]) -> None:
    code, words, *_ = said[SURVEY]
    assert code == 1
    assert "Not there: acdc/" in words
    assert "No data set was found in runs. Each needs its own folder there; name another place with paths.data=DIR." in words
