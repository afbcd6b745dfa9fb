"""Training images and labels that cannot be read: the end of the run, or left out by a rule, named and counted."""

import json
import logging
import shutil
from collections import Counter
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pin_memory.cli.errors import explain
from pin_memory.domains import FolderDataModule, Loading, MultiSourceDataModule
from pin_memory.domains.loading.bad_samples import BadSamples, SkippingBad, substitutes
from pin_memory.domains.loading.transforms import TrainTransform
from pin_memory.domains.readers.draws import Draw
from pin_memory.train import main as train
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.helpers.tiny_run import TINY

SAMPLES = 10  # of training; two more are held out
SIDE = 24


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Own data of twelve pairs; the red channel of an image is its number."""
    for number in range(12):
        for folder in ("images", "labels"):
            (tmp_path / "own" / folder).mkdir(parents=True, exist_ok=True)
        pixels = np.full((SIDE, SIDE, 3), number, np.uint8)
        pixels[..., 1] = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE))
        Image.fromarray(pixels).save(tmp_path / "own" / "images" / f"{number:02}.png")
        Image.fromarray(np.full((SIDE, SIDE), number, np.uint8)).save(tmp_path / "own" / "labels" / f"{number:02}.png")
    return tmp_path / "own"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def module(root: Path, **loading: Any) -> FolderDataModule:
    settings = {"batch_size": 4, "num_workers": 0, "on_bad_sample": "skip", "max_bad_share": 0.5} | loading
    plain = TrainTransform(SIDE, (1.0, 1.0), 0.0, (0, 0, 0, 0), 0.0, None)
    return FolderDataModule(root, plain, Loading(**settings))


def names(loader: Any, batches: int = 10) -> list[list[str]]:
    return [list(batch["name"]) for batch in islice(loader, batches)]


def break_two(root: Path) -> None:
    cut(root / "images" / "03.png")
    (root / "labels" / "07.png").write_text("no label")


def test_by_default_training_ends_and_says_how_to_continue(root: Path) -> None:
    break_two(root)
    for workers in (0, 1):
        with pytest.raises(DataError) as caught:
            names(module(root, on_bad_sample="raise", num_workers=workers).train_dataloader())
        mistake = explain(caught.value)
        assert mistake is not None
        assert "03.png" in mistake.message or "07.png" in mistake.message
        assert "loading.on_bad_sample=skip" in mistake.message
        assert "Traceback" not in mistake.message


@pytest.mark.slow
def test_skipping_keeps_all_other_draws_and_the_size_of_batches(root: Path) -> None:
    """The reference are the draws of a data set without faults."""
    whole = names(module(root).train_dataloader("own"))
    break_two(root)
    left = names(module(root).train_dataloader("own"))
    assert [len(batch) for batch in left] == [4] * 10
    pairs = [pair for one, other in zip(whole, left, strict=True) for pair in zip(one, other, strict=True)]
    for before, now in pairs:
        assert now == before if before not in ("03", "07") else now not in ("03", "07")
    replaced = [now for before, now in pairs if before in ("03", "07")]
    assert len(replaced) == 8
    assert len(set(replaced)) > 2  # not always the neighbour


def test_image_label_and_name_belong_together(root: Path) -> None:
    break_two(root)
    for batch in islice(module(root).train_dataloader("own"), 10):
        assert set(batch) == {"image", "label", "name"}
        for image, label, name in zip(batch["image"], batch["label"], batch["name"], strict=True):
            assert set(label.unique().tolist()) == {int(name)}
            red = image[0].float()
            torch.testing.assert_close(red, torch.full_like(red, int(name)), atol=1e-3, rtol=0)


def test_neither_workers_nor_a_resumption_change_the_batches(root: Path) -> None:
    break_two(root)
    alone = names(module(root).train_dataloader("own"))
    assert names(module(root, num_workers=2).train_dataloader("own")) == alone
    later = module(root)
    later.trainer = SimpleNamespace(global_step=3, training=True)  # type: ignore[assignment]
    assert names(later.train_dataloader("own"), 7) == alone[3:]


@pytest.mark.parametrize("workers", [0, 2])
def test_each_bad_sample_is_named_once_and_all_draws_are_counted(root: Path, workers: int, caplog: pytest.LogCaptureFixture) -> None:
    break_two(root)
    own = module(root, num_workers=workers)
    with caplog.at_level(logging.WARNING):
        names(own.train_dataloader("own"), 20)
    said = [record.getMessage() for record in caplog.records if "left out of training" in record.getMessage()]
    assert len(said) == 2
    for file, name in (("03.png", "03"), ("07.png", "07")):
        assert sum(file in line and f"own: {name} is left out" in line for line in said) == 1
    assert set(own.bad_samples.names) == {"03", "07"}
    # Eight passes over ten samples ask eight times for each bad one; a substitute may be the other bad one, which counts, too.
    assert own.bad_samples.draws >= 16


def test_a_pass_outside_of_training_names_bad_samples_and_counts_no_draws(root: Path) -> None:
    """The initialisation of a memory reads the sources, too, but its draws are none of training."""
    break_two(root)
    data = MultiSourceDataModule({"own": module(root, max_bad_share=0.9)})
    for number in range(4):
        assert len(list(data.source_pass(number))) == 2
    assert set(data.sources["own"].bad_samples.names) == {"03", "07"}
    assert data.sources["own"].bad_samples.draws == 0


def test_too_many_bad_samples_end_the_run(root: Path) -> None:
    break_two(root)
    with pytest.raises(DataError, match=r"own: 2 of 10 training samples cannot be read, more than loading\.max_bad_share=0\.15") as caught:
        names(module(root, max_bad_share=0.15).train_dataloader("own"))
    assert "pin-memory check" in str(caught.value)
    for path in (root / "labels").iterdir():
        cut(path)
    with pytest.raises(DataError, match="10 samples in a row could not be read, of 10 in all"):
        names(module(root, max_bad_share=1.0).train_dataloader("own"))


def test_evaluation_never_skips(root: Path) -> None:
    cut(root / "images" / "11.png")
    with pytest.raises(DataError, match=r"11\.png"):
        names(module(root).val_dataloader())


def test_labels_that_rare_class_sampling_cannot_count_are_never_drawn(root: Path, cache: Path) -> None:
    break_two(root)
    own = module(root, sampling="rare_class")
    drawn = Counter(name for batch in names(own.train_dataloader("own")) for name in batch)
    assert own.bad_samples.names[0] == "07"  # its label; the bad image shows when it is drawn
    assert "07" not in drawn
    assert not list(cache.rglob("*.npz"))  # counted anew when the label is fixed
    with pytest.raises(DataError, match=r"07\.png"):
        module(root, sampling="rare_class", on_bad_sample="raise").train_dataloader("own")


def test_substitutes_follow_from_the_draw_and_name_each_sample_once() -> None:
    orders = {tuple(substitutes(Draw(4, seed), 20)) for seed in range(50)}
    assert len(orders) == 50
    for order in orders:
        assert order[0] == 4
        assert sorted(order) == list(range(20))
    assert len(list(substitutes(Draw(4, 1), 10_000))) <= 33
    first = Counter(list(substitutes(Draw(0, seed), 5))[1] for seed in range(2000))
    assert set(first) == {1, 2, 3, 4}
    assert max(first.values()) < 1.25 * min(first.values())


def test_the_count_travels_in_the_checkpoint(root: Path) -> None:
    break_two(root)
    data = MultiSourceDataModule({"own": module(root)})
    names(data.sources["own"].train_dataloader("own"))
    found = data.bad_samples()
    assert found["own"]["samples"] == ["03", "07"]
    later = MultiSourceDataModule({"own": module(root)})
    assert later.state_dict() == {}
    later.load_state_dict(json.loads(json.dumps(data.state_dict())))
    assert later.bad_samples() == found


def test_the_count_is_right_on_several_processes_after_a_resumption(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint has the bad samples of all; each process knows all names then, and their draws count once."""
    place = "pin_memory.domains.loading"
    ranks = [MultiSourceDataModule({"own": module(root)}) for _ in range(2)]
    for data, state in zip(ranks, ({"names": ["03"], "draws": 2}, {"names": ["07", "03"], "draws": 5}), strict=True):
        data.sources["own"].bad_samples.load_state_dict(state)
    own = [{"own": data.sources["own"].bad_samples.state_dict()} for data in ranks]
    monkeypatch.setattr(f"{place}.bad_samples.gather_objects", lambda _: own)
    states = [data.state_dict() for data in ranks]
    assert states == [{"bad_samples": {"own": {"names": ["03", "07"], "draws": 7}}}] * 2
    resumed = []
    for number in range(3):  # one more than before
        monkeypatch.setattr(f"{place}.multi_source.rank", lambda number=number: number)
        data = MultiSourceDataModule({"own": module(root)})
        data.load_state_dict(states[0])
        assert data.sources["own"].bad_samples.names == ["03", "07"]
        resumed.append({"own": data.sources["own"].bad_samples.state_dict()})
    monkeypatch.setattr(f"{place}.bad_samples.gather_objects", lambda _: resumed)
    assert data.bad_samples() == {"own": {"samples": ["03", "07"], "draws": 7}}


def test_settings_out_of_range() -> None:
    for wrong in ({"on_bad_sample": "ignore"}, {"max_bad_share": 1.5}, {"max_bad_share": -0.1}, {"max_bad_share": "x"}):
        with pytest.raises(ConfigurationError, match=f"loading.{next(iter(wrong))}"):
            Loading(**wrong)  # type: ignore[arg-type]


def test_a_fault_of_the_library_is_not_skipped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what cannot be read is."""
    dataset = module(root).dataset("train")
    monkeypatch.setattr(dataset, "read_pair", lambda sample: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        SkippingBad(dataset)[Draw(0, 1)]
    assert BadSamples().state_dict() == {}


@pytest.mark.slow
def test_a_run_with_bad_samples(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """Through the command: the warning in the log, the count in results.json; without the option the end, with exit code 2."""
    shutil.copytree(trained_run.parents[1] / "stand_ins", tmp_path / "data")
    dataset = FolderDataModule(tmp_path / "data" / "gtav").dataset("train")
    bad = [sample.image for sample in dataset.samples[:4]]
    for image in bad:
        image.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    settings = [setting for setting in TINY if not setting.startswith("data.stand_in")]
    settings += ["experiment=demo", "method=erm", "floors=false", "data.stand_in=null", f"paths.data={tmp_path / 'data'}"]

    monkeypatch.setattr("sys.argv", ["train", *settings, "hydra.run.dir=ended"])
    with pytest.raises(SystemExit) as ended:
        train()
    assert ended.value.code == 2
    reported = capfd.readouterr().err
    assert "an empty file" in reported
    assert "loading.on_bad_sample=skip" in reported
    assert "Traceback" not in reported

    settings += ["method.on_non_finite=skip"]
    monkeypatch.setattr("sys.argv", ["train", *settings, "hydra.run.dir=out", "loading.on_bad_sample=skip", "loading.max_bad_share=0.9"])
    train()
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["skipped"] == {"steps": 0, "memory_writes": 0}
    found = results["bad_samples"]
    assert set(found) == {"gtav"}
    assert set(found["gtav"]["samples"]) <= {image.stem for image in bad}
    log = (tmp_path / "out" / "log.txt").read_text()
    for name in found["gtav"]["samples"]:
        assert log.count(f"gtav: {name} is left out of training") == 1
    assert "draws were given others" in log
    record = torch.load(tmp_path / "out" / "checkpoints" / "last.ckpt", weights_only=True)["MultiSourceDataModule"]["bad_samples"]
    assert sorted(record["gtav"]["names"]) == found["gtav"]["samples"]
