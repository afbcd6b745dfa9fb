import multiprocessing
import os
import pickle
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from pin_memory.domains import (
    BDD100K,
    GTAV,
    BDD100KDataModule,
    CamVidDataModule,
    DomainDataModule,
    GTAVDataModule,
    IDDDataModule,
    Loading,
    MultiSourceDataModule,
    Sample,
    SynthiaDataModule,
    TrainTransform,
    normalize,
)
from pin_memory.methods.batches import DomainSplit
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.domains.readers.domain_cases import write_grey, write_image, write_palette

DEMO = "python -m pin_memory.train experiment=demo"


def write_gtav(root: Path, count: int = 10) -> Path:
    for number in range(1, count + 1):
        write_image(root / f"images/{number:05}.png", 20, 30, seed=number)
        write_palette(root / f"labels/{number:05}.png", np.full((20, 30), 7, np.uint8))
    return root


def write_bdd(root: Path) -> Path:
    for number in range(6):
        size = (10 + number, 20)
        write_image(root / f"images/10k/val/{number}.jpg", *size, seed=number)
        write_grey(root / f"labels/sem_seg/masks/val/{number}.png", np.full(size, number, np.uint8))
    return root


def gtav(root: Path, **loading: Any) -> GTAVDataModule:
    settings = {"batch_size": 2, "num_workers": 0} | loading
    return GTAVDataModule(root, TrainTransform(16), Loading(**settings))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_gtav(tmp_path / "gtav")
    write_gtav(tmp_path / "second", 15)
    write_bdd(tmp_path / "bdd100k")
    return tmp_path


@pytest.fixture
def two_sources(data: Path) -> MultiSourceDataModule:
    return MultiSourceDataModule({"a": gtav(data / "gtav"), "b": gtav(data / "second")}, {"bdd": BDD100KDataModule(data / "bdd100k")})


def test_works_alone_with_the_published_settings(data: Path) -> None:
    module = GTAVDataModule(root=str(data / "gtav"))
    assert module.loading == Loading(4, 4, 500, None, 304)
    assert module.train_dataloader().sampler.batch_size == 4
    assert module.dataset("train")[0]["image"].shape == (3, 20, 30)


def test_batches_do_not_depend_on_the_workers(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    runs = [list(islice(gtav(data / "gtav", num_workers=workers).train_dataloader(), 8)) for workers in (0, 1, 2)]
    for batches in runs[1:]:
        for batch, same in zip(batches, runs[0], strict=True):
            assert batch["name"] == same["name"]
            assert torch.equal(batch["image"], same["image"])
            assert torch.equal(batch["label"], same["label"])
    assert len({str(batch["image"].sum()) for batch in runs[0]}) == 8


def test_never_more_workers_than_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3}, raising=False)
    assert [Loading(num_workers=count).workers for count in (0, 1, 8)] == [0, 1, 2]


def test_transforms_can_go_to_spawned_workers(data: Path) -> None:
    dataset = gtav(data / "gtav").train_dataloader().domain
    again = pickle.loads(pickle.dumps(dataset))
    assert again[0]["image"].shape == (3, 16, 16)


def test_evaluation_is_one_by_one_at_native_size(data: Path) -> None:
    loader = BDD100KDataModule(data / "bdd100k", loading=Loading(num_workers=0)).test_dataloader()
    assert [tuple(batch["image"].shape) for batch in loader] == [(1, 3, 10 + number, 20) for number in range(6)]
    assert [batch["name"] for batch in loader] == [[str(number)] for number in range(6)]


@pytest.mark.parametrize(("limit", "names"), [(1, "0"), (2, "05"), (3, "025"), (6, "012345"), (9, "012345"), (None, "012345")])
def test_limited_evaluation_is_evenly_spaced(data: Path, limit: int | None, names: str) -> None:
    loading = Loading(num_workers=0, max_val_images=limit, max_test_images=limit)
    module = BDD100KDataModule(data / "bdd100k", loading=loading)
    for loader in (module.val_dataloader(), module.test_dataloader()):
        assert "".join(batch["name"][0] for batch in loader) == names


def test_stand_ins_are_recognised(data: Path) -> None:
    module = gtav(data / "gtav")
    assert not module.stand_in
    (data / "stand_in.json").write_text("{}")
    assert module.stand_in


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"num_workers": -1}, {"max_val_images": 0}])
def test_wrong_loading_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=f"loading.{next(iter(wrong))}"):
        Loading(**wrong)


def test_training_batch_has_a_part_for_each_source(two_sources: MultiSourceDataModule) -> None:
    for batch in islice(two_sources.train_dataloader(), 20):
        assert list(batch) == two_sources.source_names == ["a", "b"]
        for part in batch.values():
            assert part["image"].shape == (2, 3, 16, 16)
            assert part["label"].shape == (2, 16, 16)
            assert len(part["name"]) == 2


def test_one_data_set_under_two_names_is_drawn_twice(data: Path) -> None:
    module = MultiSourceDataModule({"a": gtav(data / "gtav"), "b": gtav(data / "gtav")}, {})
    batches = list(islice(module.train_dataloader(), 4))
    assert [batch["a"]["name"] for batch in batches] != [batch["b"]["name"] for batch in batches]


def test_sources_of_different_batch_sizes_keep_positions_of_their_own(data: Path) -> None:
    """No draw of a source comes twice, however many the other one takes, and each knows its iteration."""
    seen: dict[str, list[tuple[int, int]]] = {"a": [], "b": []}

    class Recording(TrainTransform):
        """Keeps the seeds and iterations that it is asked for."""

        def at(self, iteration: int) -> "Recording":
            self.iteration = iteration
            return self

        def __call__(self, image: np.ndarray, label: np.ndarray, seed: int | None = None) -> Any:
            seen[self.name].append((seed or 0, self.iteration))
            return super().__call__(image, label, seed)

    sources = {}
    for name, folder, batch_size in (("a", "gtav", 2), ("b", "second", 3)):
        augmentation = Recording(16)
        augmentation.name = name  # type: ignore[attr-defined]
        sources[name] = GTAVDataModule(data / folder, augmentation, Loading(batch_size=batch_size, num_workers=0))
    for _ in islice(MultiSourceDataModule(sources).train_dataloader(), 12):
        pass
    for name, batch_size in (("a", 2), ("b", 3)):
        assert len({seed for seed, _ in seen[name]}) == 12 * batch_size
        assert [iteration for _, iteration in seen[name]] == [number // batch_size for number in range(12 * batch_size)]


def test_a_pass_outside_of_the_iterations_has_draws_of_its_own(data: Path) -> None:
    """As long as it takes to draw the largest source once, and no longer; the same for the same number."""
    module = MultiSourceDataModule({"a": gtav(data / "gtav"), "b": gtav(data / "second")})  # 8 and 12 training images
    passes = [[(part["name"], part["image"].sum().item()) for batch in module.source_pass(n) for part in batch.values()] for n in (0, 0, 1)]
    assert len(passes[0]) == 2 * 12 // 2
    assert passes[0] == passes[1] != passes[2]
    training = [(part["name"], part["image"].sum().item()) for batch in islice(module.train_dataloader(), 6) for part in batch.values()]
    assert training != passes[0]


def test_loading_processes_start_with_the_first_batch_and_share_the_cpus(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before: a method may read the sources before its first iteration, and would have them twice."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    module = MultiSourceDataModule({"a": gtav(data / "gtav", num_workers=8), "b": gtav(data / "second", num_workers=1)})
    loader = module.train_dataloader()
    assert [part.workers for part in loader.loaders.values()] == [2, 1]
    before = set(multiprocessing.active_children())
    batches = iter(loader)
    assert set(multiprocessing.active_children()) == before
    next(batches)
    assert len(set(multiprocessing.active_children()) - before) == 3
    batches.close()  # type: ignore[attr-defined]
    assert set(multiprocessing.active_children()) == before


def test_evaluation_goes_domain_by_domain(two_sources: MultiSourceDataModule) -> None:
    val = [(batch["name"][0], number) for batch, _, number in two_sources.val_dataloader()]
    assert val == [("00009", 0), ("00010", 0), ("00013", 1), ("00014", 1), ("00015", 1)]
    test = [(batch["name"][0], number) for batch, _, number in two_sources.test_dataloader()]
    assert test == [(str(number), 0) for number in range(6)]
    assert two_sources.target_names == ["bdd"]


def test_validation_on_some_of_the_sources(data: Path) -> None:
    sources = {"a": gtav(data / "gtav"), "b": gtav(data / "second")}
    module = MultiSourceDataModule(sources, validate=["b"])
    assert [batch["name"][0] for batch, _, _ in module.val_dataloader()] == ["00013", "00014", "00015"]
    assert MultiSourceDataModule(sources, validate="b").validation_names == ["b"]
    with pytest.raises(ConfigurationError, match="validate names"):
        MultiSourceDataModule(sources, validate=["c"])


def test_a_target_that_is_a_source_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    with pytest.raises(ConfigurationError, match="target 'unseen' is the same data as the source 'b'"):
        MultiSourceDataModule({"a": gtav(data / "second"), "b": gtav(data / "gtav")}, {"unseen": gtav(Path("second/../gtav"))})
    drives = {name: CamVidDataModule("camvid", drives=[name]) for name in ("0001TP", "0006R0")}
    MultiSourceDataModule.leave_one_out(drives, "0001TP")
    MultiSourceDataModule({"gtav": gtav(data)}, {"bdd": BDD100KDataModule(data)})  # one folder, two readers


def test_all_that_is_missing_is_reported_at_once(data: Path) -> None:
    unpaired = data / "gtav/labels/00003.png"
    unpaired.unlink()
    module = MultiSourceDataModule(
        {"gtav": gtav(data / "gtav"), "synthia": SynthiaDataModule(data / "synthia", TrainTransform(16))},
        {"idd": IDDDataModule(data / "idd"), "bdd": BDD100KDataModule(data / "bdd100k")},
    )
    with pytest.raises(DataError) as error:
        module.check()
    message = str(error.value)
    for name, domain in {**module.sources, **module.targets}.items():
        assert (f"[{name}]" in message) == (name != "bdd")
        assert (domain.reader.download in message) == (name in ("synthia", "idd"))
    for part in (str(data / "synthia"), str(data / "idd"), "00003.png", "RAND_CITYSCAPES/RGB", "paths.data=DIR"):
        assert part in message
    assert message.count(DEMO) == 1
    with pytest.raises(DataError) as error:
        module.check(sources=False)
    assert "[idd]" in str(error.value)
    assert "[synthia]" not in str(error.value)


def test_what_domains_share_is_reported_once(tmp_path: Path) -> None:
    module = MultiSourceDataModule({name: gtav(tmp_path / "gtav") for name in ("gtav", "gtav_hard")})
    with pytest.raises(DataError, match=r"\[gtav, gtav_hard\] GTAV") as error:
        module.check()
    assert str(error.value).count("Where to get it") == 1


def test_check_looks_only_for_what_is_needed(two_sources: MultiSourceDataModule) -> None:
    # BDD100K has no training images here, and as a target it needs none.
    two_sources.check()
    with pytest.raises(DataError, match="images/10k/train"):
        two_sources.targets["bdd"].check()


def test_leave_one_out() -> None:
    domains: dict[str, DomainDataModule] = {name: GTAVDataModule(name) for name in "abc"}
    module = MultiSourceDataModule.leave_one_out(domains, "b")
    assert (module.source_names, module.target_names) == (["a", "c"], ["b"])
    with pytest.raises(ConfigurationError, match="'d' is none of the domains; choose one of a, b, c"):
        MultiSourceDataModule.leave_one_out(domains, "d")


def test_names_that_look_like_numbers() -> None:
    # Hydra reads target=0016E5, a drive of CamVid, as 1600000.0.
    domains: dict[Any, DomainDataModule] = {name: GTAVDataModule(name) for name in ("0001TP", "0016E5")}
    assert MultiSourceDataModule.leave_one_out(domains, 1600000.0).target_names == ["0016E5"]
    with pytest.raises(ConfigurationError, match=r"'2\.0' is none of the domains"):
        MultiSourceDataModule.leave_one_out(domains, 2.0)
    with pytest.raises(ConfigurationError, match=r"1600000\.0 .*quote it"):
        MultiSourceDataModule({1600000.0: GTAVDataModule("a")}, {})  # type: ignore[dict-item]


def test_no_domains_are_explained() -> None:
    module = MultiSourceDataModule()
    with pytest.raises(ConfigurationError, match=r"No source .* data\.sources"):
        module.train_dataloader()
    with pytest.raises(ConfigurationError, match=r"No target .* data\.targets"):
        module.test_dataloader()


def test_stand_ins_are_drawn_when_asked_for() -> None:
    class Drawer:
        drawn = 0

        def prepare(self) -> None:
            self.drawn += 1

    drawer: Any = Drawer()
    module = MultiSourceDataModule({"a": GTAVDataModule("nowhere")}, {}, stand_in=drawer)
    assert module.uses_stand_ins
    assert not MultiSourceDataModule({"a": GTAVDataModule("nowhere")}, {}).uses_stand_ins
    module.prepare_data()
    assert drawer.drawn == 1


class Arrived(LightningModule):
    """Keeps the image tensors of training, validation and tests, and learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[torch.Tensor] = []

    def training_step(self, batch: dict[str, Any], _: int) -> torch.Tensor:
        self.seen += [part["image"] for part in batch.values()]
        return self.layer(self.layer.weight.new_ones(1, 1)).sum()

    def validation_step(self, batch: dict[str, Any], _: int, dataloader_idx: int = 0) -> None:
        self.seen.append(batch["image"])

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class Watched(MultiSourceDataModule):
    """Keeps the image tensors that are moved to the device."""

    moved: list[torch.Tensor]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        self.moved += [batch["image"]] if "image" in batch else [part["image"] for part in batch.values()]
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


@pytest.mark.parametrize(("precision", "expected"), [("32-true", torch.float32), ("64-true", torch.float64)])
def test_images_travel_as_bytes_and_arrive_normalised(data: Path, precision: Any, expected: torch.dtype) -> None:
    """In training, validation and tests, in the floating point type that the Trainer computes in."""
    bdd = BDD100KDataModule(data / "bdd100k", loading=Loading(num_workers=0))
    module, method = Watched({"a": gtav(data / "gtav"), "b": gtav(data / "second")}, {"bdd": bdd}), Arrived()
    module.moved = []
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(max_steps=2, precision=precision, accelerator="cpu", **options)
    trainer.fit(method, module)
    trainer.test(method, module, verbose=False)
    assert len(method.seen) > 2 * 2 + 6
    assert len(module.moved) >= len(method.seen)
    assert {images.dtype for images in module.moved} == {torch.uint8}
    for before, after in zip(module.moved[-6:], method.seen[-6:], strict=True):
        torch.testing.assert_close(after, normalize(before).to(expected), rtol=0, atol=0)
    assert {images.dtype for images in method.seen} == {expected}


class Recorder(LightningModule):
    """Keeps what it is given, and learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[Any] = []

    def training_step(self, batch: dict[str, Any], _: int) -> torch.Tensor:
        self.seen.append([(part["name"], part["image"].double().sum().item()) for part in batch.values()])
        return self.layer(torch.ones(1, 1)).sum()

    def validation_step(self, batch: dict[str, Any], _: int, dataloader_idx: int = 0) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def record(data: Path, workers: int = 0, resume: str | None = None, **options: Any) -> list[Any]:
    """Train for 10 steps on two domains, keep a checkpoint of every step, and return what was seen."""
    module = MultiSourceDataModule({name: gtav(data / name, num_workers=workers) for name in ("gtav", "second")})
    recorder = Recorder()
    checkpoints: list[Callback] = [] if resume else [ModelCheckpoint(data / "checkpoints", "{step}", every_n_train_steps=1, save_top_k=-1)]
    trainer = Trainer(
        max_steps=10,
        accelerator="cpu",
        logger=False,
        callbacks=checkpoints,
        enable_checkpointing=not resume,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        **options,
    )
    trainer.fit(recorder, datamodule=module, ckpt_path=resume)
    return recorder.seen


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`", "ignore:You're resuming from a checkpoint")
@pytest.mark.parametrize("workers", [0, 1])
def test_training_resumes_as_if_never_interrupted(data: Path, workers: int) -> None:
    intact = record(data, workers)
    assert len(intact) == 10
    assert len({str(step) for step in intact}) == 10
    for step in (2, 4, 7):
        assert record(data, workers, str(data / f"checkpoints/step={step}.ckpt")) == intact[step:]


def test_a_target_may_not_share_images_with_a_source(tmp_path: Path) -> None:
    """One drive of a data set that is a source as a whole: other options, the same images."""
    for drive in ("0001TP", "0006R0"):
        for frame in range(5):
            for split in ("train", "val", "test"):
                path = tmp_path / "images" / split / f"{drive}_{split}_{frame}.png"
                write_image(path, 12, 12)
                write_grey(tmp_path / "labels" / split / path.name, np.zeros((12, 12), np.uint8))
    whole, drive = CamVidDataModule(tmp_path), CamVidDataModule(tmp_path, drives=["0001TP"])
    with pytest.raises(ConfigurationError, match=r"10 of the 15 images of the target 'dusk' are also among those of the source 'all'"):
        MultiSourceDataModule({"all": whole}, {"dusk": drive}).check()
    MultiSourceDataModule({"other": CamVidDataModule(tmp_path, drives=["0006R0"])}, {"dusk": drive}).check()


def test_evaluation_images_of_one_size_go_together(tmp_path: Path) -> None:
    for number, width in ((1, 12), (2, 12), (3, 18), (4, 12), (5, 18)):
        write_image(tmp_path / "images" / "test" / f"{number}.png", 12, width)
        write_grey(tmp_path / "labels" / "test" / f"{number}.png", np.zeros((12, width), np.uint8))
    loader = CamVidDataModule(tmp_path, loading=Loading(num_workers=0, evaluation_batch_size=2)).test_dataloader()
    batches = iter(loader)
    assert next(batches)["image"].shape == (2, 3, 12, 12)
    with pytest.raises(DataError, match=r"18x12 \(3\).*evaluation_batch_size=1"):
        next(batches)


@pytest.mark.parametrize("options", [{"foo": 1}, {"unmatched": "maybe"}])
def test_options_that_do_not_fit_are_named(data: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"foo|unmatched"):
        BDD100KDataModule(data / "bdd100k", **options).dataset("test")


def test_a_defect_in_a_reader_is_no_mistake_in_its_options(data: Path) -> None:
    """It keeps its traceback, also where options are given."""

    class Broken(BDD100K):
        def select(self, pairs: list[Sample]) -> list[Sample]:
            raise AttributeError("a defect")

    class BrokenModule(BDD100KDataModule):
        reader = Broken

    with pytest.raises(AttributeError, match="a defect"):
        BrokenModule(data / "bdd100k", unmatched="report").dataset("test")


def test_each_split_is_listed_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever asks for it: the check, training, passes of the method, validation."""
    listed: list[str] = []
    find = GTAV.find

    def counted(self: GTAV) -> Any:
        listed.append(self.split)
        return find(self)

    monkeypatch.setattr(GTAV, "find", counted)
    module = MultiSourceDataModule({"a": gtav(data / "gtav")})
    module.check()
    next(iter(module.train_dataloader()))
    for number in range(2):
        list(module.source_pass(number))
    assert len(list(module.val_dataloader())) == 2
    assert len(module.sources["a"].dataset("val")) == 2
    assert sorted(listed) == ["train", "val"]


def test_links_that_lead_back_up_are_walked_once(data: Path) -> None:
    (data / "gtav" / "images" / "loop").symlink_to(data / "gtav" / "images")
    (data / "bdd100k" / "images" / "10k" / "val" / "loop").symlink_to(data / "bdd100k" / "images")
    assert len(BDD100KDataModule(data / "bdd100k").dataset("test")) == len(
        list((data / "bdd100k" / "images" / "10k" / "val").glob("*.jpg"))
    )


def test_views_are_for_methods_that_split() -> None:
    """The others train on the data set once."""
    sources = {name: GTAVDataModule("gtav") for name in ("gtav", "hard")}
    split = DomainSplit(seed=1)
    assert MultiSourceDataModule(sources, views=["hard"]).source_names == ["gtav"]
    assert MultiSourceDataModule(sources, views=["hard"], split=split).source_names == ["gtav", "hard"]
    with pytest.raises(ConfigurationError, match=r"data.views names \['hrad'\]"):
        MultiSourceDataModule(sources, views=["hrad"])


def test_crops_of_different_sizes_are_refused() -> None:
    """They do not go into one batch."""
    sources = {"a": GTAVDataModule("a", TrainTransform(64)), "b": GTAVDataModule("b", TrainTransform((64, 96)))}
    with pytest.raises(ConfigurationError, match="'a' is cropped to 64x64 pixels, 'b' to 64x96"):
        MultiSourceDataModule(sources)
    MultiSourceDataModule({"a": sources["a"]}, {"b": sources["b"]})  # targets are never cropped


def test_data_sets_are_counted_by_what_is_read() -> None:
    """Drives of one data set are several, views of one are one (RobustNet's number of clusters goes by it)."""
    drives = {drive: CamVidDataModule("camvid", drives=[drive]) for drive in ("0001TP", "0006R0", "0016E5")}
    assert MultiSourceDataModule(drives).data_sets == 3
    assert MultiSourceDataModule({name: GTAVDataModule("gtav") for name in "ab"}).data_sets == 1
    assert MultiSourceDataModule({name: GTAVDataModule(name) for name in "ab"}).data_sets == 2
