"""Every experiment is composed, instantiated and run for two steps, on stand-ins and on tiny data sets."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf

from pin_memory.domains.stand_ins.writers import StandIns
from pin_memory.memory import RidgeMemory
from pin_memory.methods.meta_learning import SplitSources
from pin_memory.runs import build, checkpoints
from pin_memory.training.run import train
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError
from tests.helpers import tiny_vits  # noqa: F401 (timm knows them then)

FEW_SHOT = {"few_shot_demo", "few_shot_streets", "pascal_5i", "coco_20i", "meta_seg_net"}  # have tests of their own: test_few_shot.py
EXPERIMENTS = sorted({path.stem for path in (config_directory() / "experiment").glob("[!_]*.yaml")} - FEW_SHOT)
METHODS = sorted({path.stem for path in (config_directory() / "method").glob("*.yaml")} - FEW_SHOT)
NETWORKS = sorted(path.stem for path in (config_directory() / "network").glob("[!_]*.yaml"))
DRIVES = ("0001TP", "0006R0", "0016E5", "Seq05VD")
STAINS = ("fluo256", "fluo520", "purple_on_white", "fluo360", "purple_on_purple", "brightfield")
TARGETS = {
    "camvid_leave_one_out": ["0001TP"],
    "three_countries": ["idd_lite"],
    "drives_and_kitti": ["kitti"],
    "drawn_to_real": ["kitti", "camvid"],
    "nuclei": ["fluo360", "purple_on_purple", "brightfield"],
}
"""Of the experiments that do not have those of the published ones."""
HALVED = {"drives_and_kitti": {"kitti"}, "drawn_to_real": {"kitti", "camvid"}, "nuclei": {"fluo360"}}
"""Targets whose images are halved."""
SMALL = [
    "network=deeplab_v3plus_resnet18", "network.backbone.pretrained=null", "network.channels=16", "network.auxiliary_channels=8",
    "augmentation.crop_size=64", "loading.batch_size=2", "loading.num_workers=0",
    "loading.max_val_images=1", "loading.max_test_images=1", "trainer.max_steps=2", "trainer.val_check_interval=1",
    "trainer.log_every_n_steps=1", "trainer.accelerator=cpu", "logger=csv", "paths.output=unused",
]  # fmt: skip


TRANSFORMER = {"network": "vit_linear", "network.auxiliary_channels": "null", "network.backbone.name": "vit_tiny_patch16_224"}
"""What the experiments with LoRA on a transformer have in place of settings of SMALL."""
TEXT = ["text.path=null", "text.rows=random", "text.dim=32", "network.alignment.width=16", "network.alignment.layers=1"]
"""In place of a file with text."""
SOON = ["method.whitening.warmup_iterations=0", "method.whitening.images=2", "method.whitening.trials=2"]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins of every data set, and tiny CamVid drives, KITTI, IDD Lite and nuclei next to them."""
    root = tmp_path_factory.mktemp("data") / "sets"
    StandIns(root, images_per_domain=8, seed=1, width=160).prepare()
    for frame in range(5):
        for drive in DRIVES:
            write_pair(root / "camvid", f"train/{drive}_{frame:06}", 12)
        for number, split in enumerate(("val", "test"), 1):
            write_pair(root / "camvid", f"{split}/Seq05VD_{100 * number + frame:06}", 12)
        write_pair(root / "kitti_semantics", f"{frame:06}_10", 34)
        for split in ("train", "val"):
            write_pair(root / "idd_lite", f"{split}/{len(split)}_{frame}", 7)
        for stain in STAINS:
            write_pair(root / "nuclei", f"{stain}_{frame:012x}", 2, ".png")
    return root


def write_pair(root: Path, name: str, classes: int, suffix: str = ".jpg") -> None:
    """A picture of noise and a label of all classes, 60 x 80 pixels."""
    generator = np.random.default_rng(len(name))
    for kind, high, shape in ((f"images/{name}{suffix}", 256, (60, 80, 3)), (f"labels/{name}.png", classes, (60, 80))):
        (root / kind).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / kind), generator.integers(0, high, shape, dtype=np.uint8))


def composed(*overrides: str) -> DictConfig:
    """The configuration of `train` with overrides."""
    methods = [override for override in overrides if override.startswith("method=")]
    aligned = "method=ppar" in methods or "+alignment=text" in overrides or (not methods and "experiment=single_source_g_ppar" in overrides)
    text = TEXT if aligned else []
    small = dict(setting.split("=", 1) for setting in SMALL)
    if any("=dinov2" in override for override in overrides):
        small |= TRANSFORMER | {"protocol": "whole"}
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose("train", overrides=[*(f"{key}={value}" for key, value in small.items()), *text, *overrides])


def run(tmp_path: Path, data: Path, *overrides: str) -> dict[str, Any]:
    """Train two steps and evaluate; the content of `results.json`."""
    cfg = composed(f"paths.data={data}", f"paths.run={tmp_path / 'run'}", *overrides)
    if cfg.data.get("stand_in"):
        cfg.data.stand_in.update({"root": str(data), "images_per_domain": 8, "seed": 1, "width": 160})
    results = train(cfg, {"network": "tiny"})
    assert results == json.loads((tmp_path / "run" / "results.json").read_text()) | {"floors": results["floors"]}
    return results


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of `experiment=multi_source_gs` after two steps. Read only."""
    folder = tmp_path_factory.mktemp("trained")
    run(folder, data, "experiment=multi_source_gs", "initialisation.batches=1")
    return folder / "run"


def test_an_experiment_trains_and_is_evaluated(trained: Path) -> None:
    """The quick one; the others are slow."""
    check_run(trained, "multi_source_gs")


@pytest.mark.parametrize("experiment", sorted(TARGETS))
def test_benchmarks_have_batches_that_methods_take(tmp_path: Path, experiment: str) -> None:
    """By its own settings, which the tests below replace."""
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        overrides = [f"experiment={experiment}", f"paths.data={tmp_path}", f"paths.output={tmp_path}", f"paths.run={tmp_path}"]
        data = build.build_data(compose("train", overrides=overrides))
    assert {source.loading.batch_size >= 2 for source in data.sources.values()} == {True}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name != "multi_source_gs"])
def test_every_experiment_trains_and_is_evaluated(tmp_path: Path, data: Path, experiment: str) -> None:
    run(tmp_path, data, f"experiment={experiment}", "initialisation.batches=1")
    check_run(tmp_path / "run", experiment)


def check_run(folder: Path, experiment: str) -> None:
    """Two steps, validation after each, both checkpoints, results for every target, panels, metrics, settings, provenance."""
    results = json.loads((folder / "results.json").read_text())
    targets = TARGETS.get(experiment, ["cityscapes", "bdd100k", "mapillary"])
    assert list(results["targets"]) == targets
    assert not set(targets) & set(results["sources"])
    assert results["stand_in"]  # the CamVid fixture lies next to stand-ins
    step = int(results["selection"].partition("(step ")[2].rstrip(")"))
    assert results["images_seen"] == step * 2 * len(results["sources"])  # of the evaluated checkpoint
    assert set(results["source_validation"]) <= set(results["sources"])
    assert len(results["source_validation"]) >= 1
    assert {"method", "network", "sources", "seed", "protocol", "stand_in", "images_seen", "targets", "mean_miou"} <= set(results)
    for name, target in results["targets"].items():
        view, scale = ("half_image", 0.5) if name in HALVED.get(experiment, ()) else ("native", 1.0)
        assert (target["view"], target["image_scale"], target["label_scale"], target["images"]) == (view, scale, 1.0, 1)
        assert target["layout"]
        assert set(target["classes"]) <= set(target["iou"])
        assert ("miou16" in target) == any(name.endswith("synthia") for name in results["sources"])
    assert len(list((folder / "panels").iterdir())) == len(targets)
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "step-1.ckpt"}
    assert OmegaConf.load(folder / "config.yaml").trainer.max_steps == 2
    assert json.loads((folder / "provenance.json").read_text())["packages"]["torch"]
    rows = (folder / "metrics.csv").read_text().splitlines()
    own = "loss/vtp" if experiment.endswith("ppar") else "loss/total" if experiment.startswith("dinov2") else "loss/inner"
    assert own in rows[0]
    assert "val/miou" in rows[0]


@pytest.mark.parametrize(
    ("experiment", "pairs"),
    [
        ("three_countries", {"camvid": 367, "kitti": 160, "idd_lite": 204}),
        ("drives_and_kitti", {"0001TP": 100, "0006R0": 81, "0016E5": 244, "Seq05VD": 137, "kitti": 200}),
        ("drawn_to_real", {"kitti": 200, "camvid": 233}),
        ("nuclei", {"fluo256": 268, "fluo520": 72, "purple_on_white": 31, "fluo360": 90, "purple_on_purple": 67, "brightfield": 16}),
    ],
)
def test_benchmarks_read_the_real_frames(shared: Path, tmp_path: Path, experiment: str, pairs: dict[str, int]) -> None:
    """Complete, in one label space, sources and targets apart; of each domain the middle label has classes of it alone."""
    cfg = composed(f"experiment={experiment}", f"paths.data={shared / 'data'}", f"paths.run={tmp_path}", f"paths.output={tmp_path}")
    data = build.build_data(cfg)
    data.check(sources=data.stand_in is None)
    opened = {name: domain.dataset("train") for name, domain in data.sources.items() if data.stand_in is None}
    opened |= {name: domain.dataset("test") for name, domain in data.targets.items()}
    assert {name: len(domain) for name, domain in opened.items()} == pairs
    assert cfg.network.num_classes == len(data.label_space)
    for name, domain in opened.items():
        label = domain.read_label(domain.samples[len(domain) // 2])
        names = {data.label_space.names[train_id] for train_id in np.unique(label) if train_id != 255}
        assert len(names) > 1, name
        assert names <= set(domain.classes), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "overrides"),
    [
        ("erm", []),
        ("erm_memory", []),
        ("mldg", []),
        ("meta_seg_net_dg", ["method.solve_batches=1"]),
        ("ibn_net", []),
        ("isw", SOON),
        ("ppar", ["method.alignment.majority=0.75"]),
        ("meta_seg_net_dg", ["+alignment=text", "method.solve_batches=1", "method.alignment.reweight=class"]),
        ("pin_the_memory", ["+alignment=text", "method.first_order=false", "method.alignment.reweight=domain"]),
        ("pin_the_memory", ["method.first_order=false"]),
        ("pin_the_memory", ["method.train_statistics=mixture", "test_statistics.policy=image", "network.memory.shares=area"]),
        ("pin_the_memory", ["+whitening=isw", *SOON]),
        ("pin_the_memory", ["+randomisation=fourier"]),
        ("erm", ["+randomisation=random_convolution", "method.randomisation.kernel=[1,3]"]),
        ("mldg", ["+randomisation=mixstyle", "network.backbone.checkpointing=true", "method.first_order=false"]),
        ("mldg", ["network.backbone.instance_norm=ibn", "method.train_statistics=frozen"]),
    ],
)
def test_methods_train(tmp_path: Path, data: Path, method: str, overrides: list[str]) -> None:
    """Every method, the second order, the other statistics and the combinations on two sources."""
    results = run(tmp_path, data, "experiment=multi_source_gs", "initialisation.batches=1", f"method={method}", *overrides)
    assert results["method"] == method
    assert results["statistics"] == ("image" if "test_statistics.policy=image" in overrides else "running")
    if "isw" in (method, *(part.partition("whitening=")[2] for part in overrides)):
        state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        assert sum(name.startswith("whitening.mask") for name in state) == 3
        assert checkpoints.load_method(tmp_path / "run" / "checkpoints" / "last.ckpt").method.whitening is not None


@pytest.mark.slow
@pytest.mark.parametrize(("network", "method"), [("vit_fusion", "pin_the_memory"), ("vit_linear", "erm")])
def test_vision_transformers_train(tmp_path: Path, data: Path, network: str, method: str) -> None:
    """From a file, on images of any size; results say what licence the weights have, a checkpoint loads without the file."""
    torch.manual_seed(0)
    name = "vit_nano_patch14_dinov2"
    state = timm.create_model(name).state_dict() | {"mask_token": torch.zeros(1, 16)}
    torch.save(state, tmp_path / "weights.pth")
    backbone = [f"network.backbone.name={name}", f"network.backbone.pretrained={tmp_path / 'weights.pth'}", "method.backbone_lr_factor=0.1"]
    chosen = [f"network={network}", f"method={method}", "network.auxiliary_channels=null", "initialisation.batches=1", "optimizer=adamw"]
    results = run(tmp_path, data, "experiment=multi_source_gs", *chosen, *backbone)
    assert results["backbone_licence"] == "apache-2.0"
    assert set(results["targets"]) == {"cityscapes", "bdd100k", "mapillary"}
    (tmp_path / "weights.pth").unlink()
    loaded = checkpoints.load_method(tmp_path / "run" / "checkpoints" / "last.ckpt").method
    assert loaded.network.backbone.net.patch_embed.patch_size == (16, 16)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_every_network_and_method_is_built(network: str, method: str) -> None:
    """All combinations instantiate, with and without memory; instance norms have their places in ResNets alone."""
    needed = {"deeplab_v3plus_timm": ["network.backbone.name=resnet18"], "middle_efficientnet_lite0": ["network.channels=176"]}
    cfg = composed("experiment=multi_source_gsi", f"network={network}", f"method={method}", *needed.get(network, []), "paths.run=unused")
    if method in ("ibn_net", "isw") and "ResNetBackbone" not in cfg.network.backbone._target_:
        with pytest.raises(InstantiationException, match="has no place for instance norms"):
            build.build_without_weights(cfg)
        return
    made = build.build_without_weights(cfg)
    assert (made.network.memory is None) == (method not in ("pin_the_memory", "erm_memory", "meta_seg_net_dg"))
    assert made.name == method


def test_the_head_over_domains() -> None:
    """Its settings are those of the few-shot head, but for `balance`; what is solved in another way is refused."""
    common = ["experiment=multi_source_gs", "method=meta_seg_net_dg", "paths.run=unused"]
    memory = instantiate(composed(*common, "head.regularisation=0.1", "head.bias=free").network.memory)
    assert isinstance(memory, RidgeMemory)
    assert (memory.bias, memory.balance, float(memory.log_lambda.detach().exp())) == ("free", 0, pytest.approx(0.1))
    for head, kind in (("prototype", "PrototypeMemory"), ("linear", "LinearMemory")):
        with pytest.raises(ConfigurationError, match=f"trains a RidgeMemory, found network.memory={kind}"):
            build.build_without_weights(composed(*common, f"head={head}")).check_sources({"gtav": 2, "synthia": 2})


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("method", METHODS)
def test_every_experiment_takes_every_method(experiment: str, method: str) -> None:
    """What an experiment sets fits whichever method is chosen with it; those with instance norms need a ResNet, as their message says."""
    cfg = composed(f"experiment={experiment}", f"method={method}", "paths.run=unused")
    if method in ("ibn_net", "isw") and experiment.startswith("dinov2"):
        with pytest.raises(InstantiationException, match="has no place for instance norms"):
            build.build_without_weights(cfg)
        return
    if method in ("ibn_net", "isw") and "TimmBackbone" in cfg.network.backbone._target_:
        cfg = composed(f"experiment={experiment}", f"method={method}", "network=deeplab_v3plus_resnet18", "paths.run=unused")
    assert build.build_without_weights(cfg).name == method
    assert build.build_data(cfg).source_names


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["multi_source_gs", "multi_source_gsi", "camvid_leave_one_out", "demo"])
def test_ppar_is_planned_with_a_file(tmp_path: Path, data: Path, experiment: str) -> None:
    """A dry run of each protocol with text from a file."""
    rows = np.random.default_rng(0).standard_normal((19, 32))
    np.save(tmp_path / "text.npy", rows / np.linalg.norm(rows, axis=1, keepdims=True))
    text = [f"text.path={tmp_path / 'text.npy'}", "text.rows=file"]
    cfg = composed(f"experiment={experiment}", "method=ppar", *text, "dry_run=true", f"paths.data={data}", f"paths.run={tmp_path / 'run'}")
    if cfg.data.get("stand_in"):
        cfg.data.stand_in.update({"images_per_domain": 8, "seed": 1, "width": 160})
    plan = train(cfg, {"network": "tiny"})["dry_run"]
    assert plan["method"] == "ppar"
    assert {"loss/otp", "loss/vtp", "loss/regulariser"} <= plan["losses"].keys()


def test_a_checkpoint_rebuilds_the_network_bitwise(trained: Path) -> None:
    """Weights-only loading, settings from the file, the memory's items included."""
    path = checkpoints.find_checkpoint(trained)
    assert path.name == "best.ckpt"
    trained = checkpoints.load_method(path)
    state = trained.checkpoint.state
    assert state["network.memory.items"].norm(dim=1).max() == pytest.approx(1, abs=1e-5)
    for name, value in trained.method.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"devices": 1}, "trainer=ddp"),
        ({"devices": 2, "strategy": "ddp"}, "use_distributed_sampler"),
    ],
)
def test_trainers_that_share_wrongly_are_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], expected: str
) -> None:
    """A strategy without whole replicas, and a sampler that repeats images, do not start; the right ones do."""
    cfg = composed("experiment=multi_source_gs", f"paths.data={data}", f"paths.run={tmp_path}")
    method = build.build_method(cfg)
    method._trainer = Trainer(accelerator="cpu", logger=False, **options)
    monkeypatch.setattr(Trainer, "world_size", 2)
    with pytest.raises(ConfigurationError, match=expected):
        method.on_fit_start()
    method.check_trainer(Trainer(accelerator="cpu", logger=False, devices=2, strategy="ddp", use_distributed_sampler=False))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_epochs": 3}, r"max_epochs=3: training counts iterations"),
        ({"max_steps": 9, "limit_train_batches": 10}, r"limit_train_batches=10.*overfit_batches"),
        ({"max_steps": 9, "limit_train_batches": 0.5}, r"limit_train_batches=0\.5"),
        ({"max_steps": 9, "overfit_batches": 2}, r"limit_train_batches=2"),
    ],
)
def test_a_trainer_of_ones_own_that_would_start_the_draws_anew_is_refused(options: dict[str, Any], expected: str) -> None:
    """Each of its epochs would train on the same images, and the meta-test augmentation would take the wrong side."""
    method = build.build_without_weights(composed("experiment=multi_source_gs", "paths.run=unused"))
    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    with pytest.raises(ConfigurationError, match=expected):
        method.check_trainer(Trainer(**settings, **options))
    method.check_trainer(Trainer(**settings, max_steps=9))
    method.check_trainer(Trainer(**settings, max_steps=-1, max_epochs=-1))
    method.check_trainer(Trainer(**settings, fast_dev_run=True))


def resumed(run_folder: Path, folder: Path, data: Path, *overrides: str) -> dict[str, Any]:
    """A new run of four steps in `folder` from the last checkpoint of another."""
    common = ["experiment=multi_source_gs", f"paths.data={data}", f"paths.run={folder}"]
    return train(composed(*common, "trainer.max_steps=4", f"resume={run_folder}", *overrides), {})


@pytest.mark.slow
def test_a_resumed_run_keeps_the_best_so_far(trained: Path, tmp_path: Path, data: Path) -> None:
    """A best score that the new steps do not beat stays, with its weights."""
    shutil.copytree(trained, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    (key,) = (key for key in content["callbacks"] if key.startswith("BestCheckpoint"))
    best = str(path.with_name("best.ckpt"))
    content["callbacks"][key] |= {"best_model_score": torch.tensor(0.99), "best_model_path": best}
    path.unlink()  # it may share its content with another name
    torch.save(content, path)
    earlier = torch.load(best, weights_only=True)
    results = resumed(tmp_path / "run", tmp_path / "second", data)
    assert results["selection"] == f"best source validation (step {earlier['global_step']})"
    kept = torch.load(tmp_path / "second" / "checkpoints" / "best.ckpt", weights_only=True)
    assert all(torch.equal(kept["state_dict"][k], v) for k, v in earlier["state_dict"].items())


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["method=erm"], "does not fit"),
        (["network.channels=32"], "another shape"),
        (["+domain@data.sources.idd=idd"], "trained on gtav, synthia"),
        (["trainer.max_steps=2"], "max_steps"),
    ],
)
def test_resuming_what_does_not_fit_is_refused(trained: Path, tmp_path: Path, data: Path, overrides: list[str], expected: str) -> None:
    """Another method, network, source, or nothing left to do: refused before the run folder is made."""
    with pytest.raises(ConfigurationError, match=expected):
        resumed(trained, tmp_path / "second", data, *overrides)
    assert not (tmp_path / "second").exists()


def test_a_checkpoint_may_not_name_foreign_code(trained: Path, tmp_path: Path) -> None:
    """Loading calls the classes a checkpoint names, so only this library's and trusted ones are."""
    path = trained / "checkpoints" / "best.ckpt"
    for target in ("pathlib.Path.write_text", "pin_memory.methods.base.torch.save"):
        content = torch.load(path, weights_only=True)
        content["pin_memory"]["config"]["method"]["split"] = {"_target_": target}
        torch.save(content, tmp_path / "evil.ckpt")
        with pytest.raises(ConfigurationError, match="trust="):
            checkpoints.load_method(tmp_path / "evil.ckpt")


def test_passes_of_the_memory_initialisation_draw_anew(data: Path) -> None:
    """Two passes see different draws."""
    cfg = composed("experiment=multi_source_gs", f"paths.data={data}", "paths.run=unused")
    method = build.build_method(cfg)
    method._trainer = type("Trainer", (), {"datamodule": build.build_data(cfg)})()
    first, again, second = (next(method.source_batches(number))["gtav"]["image"] for number in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("experiment", ["single_source_g", "single_source_g_views"])
@pytest.mark.parametrize("method", METHODS)
def test_a_single_source_has_further_views_for_meta_learning_alone(experiment: str, method: str) -> None:
    """The published baselines see GTAV once, in ordinary colours."""
    cfg = composed(f"experiment={experiment}", f"method={method}", "paths.run=unused", "augmentation.crop_size=64")
    data = build.build_data(cfg)
    splits = isinstance(build.build_method(cfg), SplitSources)
    views = [name for name in cfg.data.sources if name != "gtav"]
    assert data.source_names == ["gtav", *(views if splits else [])]
    assert data.data_sets == 1
    assert {domain.augmentation.crop_size for domain in data.sources.values()} == {(64, 64)}


def test_the_harder_view_changes_every_picture() -> None:
    """The ordinary jitter leaves half of them as they are; blur alone keeps grey pictures grey and flat ones flat."""
    cfg = composed("experiment=single_source_g", "paths.run=unused", "augmentation.crop_size=16")
    sources = build.build_data(cfg).sources
    image, label = np.full((40, 40, 3), (180, 120, 60), np.uint8), np.zeros((40, 40), np.uint8)

    def changed(name: str) -> int:
        """How many of 60 draws change the colour of a flat picture, which is shown somewhere in the crop."""
        crops = [sources[name].augmentation.augment(image, label, seed) for seed in range(60)]
        return sum(bool((crop[classes == 0] != (180, 120, 60)).any()) for crop, classes in crops)

    assert changed("gtav_hard") == 60
    assert 15 < changed("gtav") < 45


def test_a_harder_meta_test_side_is_for_methods_that_have_one() -> None:
    """Without a split, it would be augmented by one that does not exist."""
    harder = ["+augmentation@data.meta_test_augmentation=hard", "experiment=camvid_leave_one_out", "paths.run=unused", "paths.data=."]
    assert build.build_data(composed(*harder, "method=mldg")).meta_test_augmentation is not None
    with pytest.raises(Exception, match="for methods that split their sources"):
        build.build_data(composed(*harder, "method=erm"))
