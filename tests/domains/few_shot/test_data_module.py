"""Episodes of real files through the data module: labels, sides, crops, workers, ranks and resumption."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning import LightningModule, Trainer
from PIL import Image

from pin_memory.cli.unread import refuse_unread
from pin_memory.domains import VOC, EpisodeDataModule, FolderDataModule, Loading, TrainTransform
from pin_memory.domains.few_shot import data_module
from pin_memory.domains.few_shot.data_module import EpisodeLoader
from pin_memory.domains.few_shot.dataset import Episodes
from pin_memory.domains.few_shot.episodes import shown_classes
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.images import to_tensors

CLASSES = ["ground", "a", "b", "c", "d", "e"]
FOLDS = [["b", "e"], ["c"]]
HEIGHT, WIDTH, SIDE = 24, 32, 8


def write_site(root: Path) -> Path:
    """20 training and 10 validation images: ground with a border that is ignored, and on it squares of up to three classes."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 10)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            label = np.zeros((HEIGHT, WIDTH), np.uint8)
            label[0] = 255
            for place, own in enumerate(generator.choice(np.arange(1, 6), 3, replace=False)):
                label[8:16, 8 + SIDE * place : 8 + SIDE * (place + 1)] = own
            image = np.dstack([label * 40, np.full_like(label, number), generator.integers(0, 256, label.shape, np.uint8)])
            Image.fromarray(image).save(root / "images" / split / f"{number:02}.png")
            Image.fromarray(label).save(root / "labels" / split / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(tmp_path_factory.mktemp("few_shot") / "site")


def folder(root: Path, **options: Any) -> FolderDataModule:
    patterns = {"images": "images/{split}/*.png", "labels": "labels/{split}/*.png", "ids": list(range(6)), "classes": CLASSES}
    return FolderDataModule(root, **(patterns | {"augmentation": to_tensors} | options))


def module(root: Path, augmentation: Any = to_tensors, **options: Any) -> EpisodeDataModule:
    settings = {"folds": FOLDS, "way": 2, "size": [HEIGHT, WIDTH], "min_pixels": 10, "episodes": 6, "val_episodes": 4, "seeds": [1, 2]}
    loading = Loading(batch_size=3, num_workers=0, seed=7)
    return EpisodeDataModule({"site": folder(root, augmentation=augmentation)}, loading=loading, **(settings | options))


def truth(episodes: Episodes, image: int) -> np.ndarray:
    """The train ids of an image of the pool of one domain."""
    return np.asarray(episodes.domains[0].read_label(episodes.domains[0].samples[image]))


def expected(train_ids: np.ndarray, labels: dict[int, int]) -> list[list[int]]:
    """Labels by a loop over the pixels: those of some train ids, else the background."""
    return [[255 if value == 255 else labels.get(value, 0) for value in row] for row in train_ids.tolist()]


@pytest.mark.parametrize("protocol", ["ours", "panet", "hsnet", "ifsl"])
@pytest.mark.parametrize("side", ["train", "test"])
def test_labels_are_those_of_the_protocol(site: Path, protocol: str, side: Any) -> None:
    """The images have the size that is asked for, so nothing is resized."""
    episodes = module(site, protocol=protocol, shot=2).episodes(side, seed=3)
    assert episodes.domains[0].split == ("train" if side == "train" or protocol == "panet" else "val")
    for number in range(5):
        item, drawn = episodes[number], episodes.sampler.episode(number)
        assert item["classes"].tolist() == list(drawn.classes)
        for place, image in enumerate(drawn.support):
            own, other = drawn.classes[place // 2], drawn.classes[1 - place // 2]
            labels = {own: place // 2 + 1} | {"ours": {other: 2 - place // 2}, "panet": {other: 255}}.get(protocol, {})
            assert item["support"]["label"][place].tolist() == expected(truth(episodes, image), labels)
            assert own == 0 or (item["support"]["label"][place] == place // 2 + 1).sum() == SIDE * SIDE
        for place, image in enumerate(drawn.queries):
            labels = {c: 1 + i for i, c in enumerate(drawn.classes)}
            assert item["query"]["label"][place].tolist() == expected(truth(episodes, image), labels)
            sample = episodes.domains[0].samples[image]
            assert item["query"]["image"][place].permute(1, 2, 0).tolist() == np.asarray(Image.open(sample.image)).tolist()
            assert sample.name in item["name"]


@pytest.mark.parametrize("pixels", ["background", "ignore"])
def test_classes_of_the_fold_are_no_targets_of_training(site: Path, pixels: str) -> None:
    data = module(site, test_fold_pixels=pixels)
    assert data.test_classes == [CLASSES.index("b"), CLASSES.index("e")]
    met = 0
    for side in ("train", "val"):
        episodes = data.episodes(side)  # type: ignore[arg-type]
        for number in range(20):
            item, drawn = episodes[number], episodes.sampler.episode(number)
            assert not set(drawn.classes) & {2, 5}
            for part, images in (("support", drawn.support), ("query", drawn.queries)):
                for label, image in zip(item[part]["label"], images, strict=True):
                    hidden = np.isin(truth(episodes, image), (2, 5))
                    met += hidden.sum()
                    assert set(label.numpy()[hidden].tolist()) <= {0 if pixels == "background" else 255}
    assert met > 1000


def test_batches(site: Path) -> None:
    data = module(site, shot=2)
    batch = next(iter(data.train_dataloader()))
    assert batch["support"]["image"].shape == (3, 4, 3, HEIGHT, WIDTH)
    assert batch["support"]["image"].dtype == torch.uint8
    assert batch["query"]["label"].shape == (3, 2, HEIGHT, WIDTH)
    assert batch["query"]["label"].dtype == torch.int64
    assert batch["classes"].shape == (3, 2)
    assert len(batch["name"]) == 3
    moved = data.on_after_batch_transfer(batch, 0)
    assert moved["query"]["image"].is_floating_point()
    assert torch.equal(moved["classes"], batch["classes"])
    val = list(data.val_dataloader())
    assert [one["name"] for one in val] == [one["name"] for one in data.val_dataloader()]
    assert len(val) == 4
    tests = [(place, one["name"][0]) for one, _, place in data.test_dataloader()]
    assert [place for place, _ in tests] == [0] * 6 + [1] * 6
    assert [name for _, name in tests[:6]] != [name for _, name in tests[6:]]
    assert data.test_stages == ["seed_1", "seed_2"]


def same(one: Any, other: Any) -> bool:
    keys = [(part, kind) for part in ("support", "query") for kind in ("image", "label")]
    return one["name"] == other["name"] and all(torch.equal(one[part][kind], other[part][kind]) for part, kind in keys)


def test_workers_and_resumption_change_nothing(site: Path) -> None:
    episodes = module(site, TrainTransform(16, (0.5, 2.0))).episodes("train")
    batches = list(islice(EpisodeLoader(episodes, 2, 0, workers=0), 4))
    assert len({name for batch in batches for name in batch["name"]}) == 8
    resumed = list(islice(EpisodeLoader(episodes, 2, 2, workers=1), 2))
    assert all(same(one, other) for one, other in zip(batches[2:], resumed, strict=True))


def test_ranks_share_the_episodes_out(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(site)
    alone = [batch["name"] for batch in islice(EpisodeLoader(data.episodes("train"), 4, 1, 0), 2)]
    monkeypatch.setattr(data_module, "world_size", lambda: 2)
    found = []
    for rank in range(2):
        monkeypatch.setattr(data_module, "rank", lambda rank=rank: rank)
        found.append([batch["name"] for batch in islice(EpisodeLoader(data.episodes("train"), 2, 1, 0), 2)])
    assert [sorted(found[0][step] + found[1][step]) for step in range(2)] == [sorted(names) for names in alone]


def test_crops_show_the_class(site: Path) -> None:
    """A crop of an eighth of the picture mostly lacks it at the first try."""
    data = module(site, TrainTransform((12, 8), (1.0, 1.0), 0.5), size=None, min_pixels=64, shot=2)
    assert data.size == (12, 8)
    episodes = data.episodes("train")
    for number in range(30):
        item = episodes[number]
        for place, label in enumerate(item["support"]["label"]):
            assert label.shape == (12, 8)
            assert (label == place // 2 + 1).sum() > 0
        for place, label in enumerate(item["query"]["label"]):
            assert (label == place + 1).sum() > 0
    other = module(site, TrainTransform((12, 8), (1.0, 1.0), 0.5), size=None, min_pixels=64, shot=2).episodes("train")
    assert torch.equal(episodes[4]["support"]["image"], other[4]["support"]["image"])


def test_whole_images_in_place_of_crops_have_the_crops_size(site: Path) -> None:
    """Most crops show nothing of a class, so whole images take their place; the size of a test is another matter."""
    data = module(site, TrainTransform(8, (2.0, 2.0), 0.0), min_pixels=10, size=[HEIGHT, WIDTH])
    data.settings = replace(data.settings, min_pixels=64)
    episodes = data.episodes("train")
    shapes = {tuple(episodes[number]["support"]["image"].shape[-2:]) for number in range(20)}
    assert shapes == {(8, 8)}
    assert data.episodes("val")[0]["query"]["image"].shape[-2:] == (HEIGHT, WIDTH)


def test_classes_held_out_for_validation(site: Path) -> None:
    data = module(site, val_classes=2, test_fold_pixels="ignore")
    assert len(data.val_names) == len(data.train_names) == 2
    assert not set(data.val_names) & {*data.train_names, *data.test_names}
    assert set(data.hidden_names("train")) == {*data.val_names, *data.test_names}
    assert set(data.hidden_names("val")) == set(data.test_names)
    assert module(site, val_classes=2).val_names == data.val_names
    with pytest.raises(ConfigurationError, match="val_classes=4 of 4"):
        module(site, val_classes=4)
    with pytest.raises(ConfigurationError, match="way=2: val episodes have 1 classes"):
        module(site, val_classes=1).check()


def test_targets_are_tested_on_in_place_of_the_sources(site: Path, tmp_path: Path) -> None:
    other = write_site(tmp_path / "other")
    options = {"folds": FOLDS, "way": 1, "size": 16, "min_pixels": 10, "loading": Loading(num_workers=0)}
    data = EpisodeDataModule({"site": folder(site)}, {"other": folder(other)}, **options)  # type: ignore[arg-type]
    data.check()
    assert data.episodes("test").domains[0].root == other
    assert data.episodes("val").domains[0].root == site
    assert module(site, test_images="train").episodes("test").domains[0].split == "train"
    both = EpisodeDataModule({"site": folder(site), "other": folder(other)}, **options)  # type: ignore[arg-type]
    names = {both.episodes("train")[number]["name"].rsplit("-")[-1] for number in range(3)}
    pool = both.episodes("train")
    assert len(pool.sampler.shown) == 40
    assert {pool._domain(0).root, pool._domain(19).root} == {site}
    assert {pool._domain(20).root, pool._domain(39).root} == {other}
    assert pool._sample(20).name == pool._sample(0).name
    assert names


def test_which_classes_images_show(site: Path) -> None:
    domains = module(site).opened("val")
    for min_pixels, with_squares in ((64, True), (65, False)):
        shown = shown_classes(domains, min_pixels, 0)
        assert shown.shape == (10, 6)
        assert shown[:, 0].all()
        assert (shown[:, 1:].sum(1) == (3 if with_squares else 0)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "panets"}, "expected one of ours, panet"),
        ({"way": 0}, r"data\.way must be greater than or equal to 1"),
        ({"queries": "two"}, r"data\.queries must be"),
        ({"wey": 1}, r"There is no setting data\.wey"),
        ({"seeds": [1, 1]}, "none twice"),
        ({"size": [1, 2, 3]}, "a side, or height and width"),
        ({"fold": 2}, "expected a number of 0 to 1"),
        ({"folds": [["x"]]}, "'x' is no class of the data"),
    ],
)
def test_mistakes(site: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        module(site, **options)


def test_what_is_reported_before_a_training(site: Path, tmp_path: Path) -> None:
    for options, message in (
        ({"min_pixels": 65}, "way=2: train episodes have 1 classes"),  # the ground alone
        ({"fold": 1}, "way=2: test episodes have 1 classes"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            module(site, **options).check()
    with pytest.raises(ConfigurationError, match=r"test episodes need 11 images of each class, but . show b"):
        module(site, shot=10).episodes("test")
    with pytest.raises(DataError, match="Own data"):
        module(tmp_path).check()
    with pytest.raises(ConfigurationError, match="4 episodes cannot be shared out to 5 devices"):
        module(site).check_shares(5)
    with pytest.raises(ConfigurationError, match=r"loading\.sampling=rare_class is not for episodes"):
        EpisodeDataModule({"site": folder(site)}, loading=Loading(sampling="rare_class"))
    with pytest.raises(ConfigurationError, match=r"Set data=multi_source"):
        module(site).source_pass(0)
    with pytest.raises(ConfigurationError, match=r"data\.size: set it"):
        _ = module(site, size=None).size


def test_configuration(site: Path) -> None:
    names = ["folds=[[rider,bus],[truck]]", "fold=1", "way=1", "shot=5", "protocol=hsnet", "size=64"]
    overrides = ["data=episodes", "+domain@data.sources.kitti=kitti", *(f"data.{name}" for name in names), f"paths.data='{site}'"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose("train", overrides=overrides, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        refuse_unread(cfg, "train")
    data = instantiate(cfg.data)
    assert isinstance(data, EpisodeDataModule)
    assert data.test_names == ("truck",)
    assert data.settings.shot == 5
    assert data.loading.batch_size == cfg.loading.batch_size


def test_pairs_of_pascal_5i(shared: Path) -> None:
    """METASEGNET.md, section e: pairs of validation images and classes in HSNet's lists."""
    root = shared / "data" / "voc"
    if not root.is_dir():
        pytest.skip(f"needs PASCAL VOC 2012 in {root}")
    shown = shown_classes([VOC(root, "val", train_on="voc")])[:, 1:]
    assert [int(shown[:, 5 * fold : 5 * fold + 5].sum()) for fold in range(4)] == [346, 451, 725, 346]


class Recorder(LightningModule):
    """Learns one number and notes the names of the episodes that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.names: dict[str, list[str]] = {"train": [], "val": [], "test": []}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.names["train"] += batch["name"]
        return self.weight * batch["support"]["image"].mean()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.names["val"] += batch["name"]
        assert batch["query"]["image"].is_floating_point()

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.names["test"] += [f"{dataloader_idx} {name}" for name in batch["name"]]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def run(site: Path, folder: Path, steps: int, checkpoint: Path | None = None) -> Recorder:
    """Train to a number of steps, from a checkpoint where one is given, and keep one."""
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        default_root_dir=folder,
        val_check_interval=2,
        enable_checkpointing=False,
        accelerator="cpu",
        **quiet,
    )
    recorder, data = Recorder(), module(site)
    trainer.fit(recorder, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    trainer.save_checkpoint(folder / f"{steps}.ckpt")
    trainer.test(recorder, datamodule=data, verbose=False)
    return recorder


def test_a_trainer_takes_them_and_resumes_where_it_was(site: Path, tmp_path: Path) -> None:
    complete = run(site, tmp_path, 4)
    assert len(complete.names["train"]) == len(set(complete.names["train"])) == 4 * 3
    assert complete.names["val"][:4] == complete.names["val"][-4:]
    assert len({name[:8] for name in complete.names["test"]}) == 2 * 6
    run(site, tmp_path, 2)
    resumed = run(site, tmp_path, 4, tmp_path / "2.ckpt")
    assert resumed.names["train"] == complete.names["train"][6:]
    assert resumed.names["test"] == complete.names["test"]
