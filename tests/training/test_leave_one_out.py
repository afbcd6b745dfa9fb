"""`sweep=leave_one_out`: the names come from the experiment, each site is tested on whole; the documented example as it stands."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from pin_memory import compare, train
from pin_memory.domains import CamVidDataModule, FolderDataModule, MultiSourceDataModule
from pin_memory.training.sweeps.summary import SweepSummary, domain_names, job_name, swept_keys
from pin_memory.utils.config import config_directory
from tests.helpers.in_process import run_in_process
from tests.helpers.tiny_run import TINY

assert SweepSummary is not None  # imported, it registers the resolvers
PAGE = (Path(__file__).parents[2] / "docs" / "leave_one_out.md").read_text(encoding="utf-8")
SITES = ("north", "south", "west")


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    """Three sites of ten images, as the documented example has them."""
    generator = np.random.default_rng(0)
    for site in SITES:
        for kind in ("images", "labels"):
            (tmp_path / "data" / site / kind).mkdir(parents=True)
        for number in range(10):
            label = generator.permuted(np.tile(np.array([0, 1, 2, 7], np.uint8), (48, 16)), axis=0)
            cv2.imwrite(str(tmp_path / "data" / site / "labels" / f"{number}.png"), label)
            image = np.stack([label * 20 + shade for shade in (5, 60, 90)], -1).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "data" / site / "images" / f"{number}.png"), image)
    return tmp_path / "data"


def targets_of(*overrides: str) -> str:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return str(compose("train", [*overrides, "sweep=leave_one_out"], return_hydra_config=True).hydra.sweeper.params.target)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["experiment=demo"], "gtav,synthia,idd"),  # the sources of an experiment
        (["experiment=camvid_leave_one_out"], "'0001TP','0006R0','0016E5',Seq05VD"),  # its domains; 0016E5 would be a number
        (["experiment=three_countries"], "camvid,kitti,idd_lite"),
        (["experiment=drives_and_kitti"], "'0001TP','0006R0','0016E5',Seq05VD,kitti"),
        (["+domain@data.sources.a=folder", "+domain@data.sources.null-b=folder"], "a,null-b"),
        (["+domain@data.sources.a=folder", "+domain@data.domains.b=camvid"], "b,a"),
    ],
)
def test_the_names_are_those_of_the_experiment(
    overrides: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert targets_of(*overrides) == expected
    assert not list(tmp_path.iterdir())  # nothing is made while settings are composed
    assert swept_keys([f"target={expected}"]) == ["target"]


@pytest.mark.parametrize("names", [["a b", "ü", "3rd", "a,b", "it's"], ["null", "1e3"], ["ends\\", "b"], ["y\\'", "x"], ["a(b)", "c=d"]])
def test_any_name_reaches_the_jobs(names: list[str]) -> None:
    swept = domain_names(_root_=OmegaConf.create({"data": {"sources": {name: {} for name in names}}}))
    parser = OverridesParser.create()
    values = parser.parse_override(f"target={swept}").sweep_string_iterator()
    assert [parser.parse_override(f"target={value}").value() for value in values] == names


@pytest.mark.parametrize("overrides", [[], ["+domain@data.sources.a=folder"], ["experiment=single_source_g"]])
def test_two_domains_are_needed_and_views_are_none(overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = run_in_process(train.main, [*overrides, "sweep=leave_one_out"], tmp_path, capsys)
    assert code == 2
    assert "sweep=leave_one_out" in errors
    assert "needs two at least" in errors


def test_the_folder_of_a_job_has_the_name_of_its_domain(tmp_path: Path) -> None:
    (tmp_path / ".swept.json").write_text('["target"]')
    assert [job_name(str(tmp_path), [f"target={name}"]) for name in ("north", "'0016E5'")] == ["target-north", "target-0016E5"]


@pytest.mark.parametrize("place", ["domains", "sources"])
def test_what_is_left_out_is_tested_on_whole(place: str, sites: Path) -> None:
    """The others keep their last fifth for validation; a part that is asked for stays."""
    domains: dict[str, Any] = {name: FolderDataModule(sites / name) for name in SITES}
    module = MultiSourceDataModule.leave_one_out(**{place: domains}, target="south")
    assert (module.source_names, module.target_names) == (["north", "west"], ["south"])
    assert len(module.targets["south"].dataset("test")) == 10
    assert [len(module.sources["north"].dataset(split)) for split in ("train", "val")] == [8, 2]
    module.check()
    part = MultiSourceDataModule.leave_one_out(domains | {"east": FolderDataModule(sites / "north", test_split="val")}, "east")
    assert len(part.targets["east"].dataset("test")) == 2


def test_whole_are_all_split_folders_and_published_parts_stay(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        for kind in ("images", "labels"):
            (tmp_path / split / kind).mkdir(parents=True)
            for number in range(count):
                cv2.imwrite(str(tmp_path / split / kind / f"{number}.png"), np.zeros((8, 8), np.uint8))
    split_folders = FolderDataModule(tmp_path, images="{split}/images", labels="{split}/labels")
    split_folders.evaluate_whole()
    assert len(split_folders.dataset("test")) == 6
    drives = CamVidDataModule(tmp_path, drives=["0001TP"])
    drives.evaluate_whole()
    assert drives.reader_options == {"drives": ["0001TP"]}


@pytest.mark.slow
def test_the_documented_example(sites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its file and its commands as they stand, on three generated sites, with a network of seconds."""
    ((name, text),) = re.findall(r"```yaml\n# (my_configs/\S+)\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(text.replace("/datasets", str(sites)))
    commands = [shlex.split(line) for line in re.findall(r"^pin-memory (.*)$", PAGE, re.MULTILINE)]
    assert [command[0] for command in commands] == ["check", "train", "compare"]
    small = [*(one for one in TINY if "stand_in" not in one), "network=deeplab_v3plus_resnet18", "network.backbone.pretrained=null"]
    small += ["augmentation.crop_size=64", "trainer.max_steps=1", "trainer.val_check_interval=1", "logger=csv"]
    small = [one for one in small if "max_test_images" not in one]
    code, said, errors = run_in_process(train.main, [*commands[1][1:], *small, "seed=1"], tmp_path, capsys)
    assert code == 0, errors + said
    jobs = sorted((tmp_path / "runs" / "sites" / "sweeps" / "leave_one_out").glob("*/results.json"))
    assert len(jobs) == 3 * 2
    for job in jobs:
        ((target, scores),) = json.loads(job.read_text())["targets"].items()
        assert job.parent.name.startswith(f"target-{target}_")
        assert scores["images"] == 10
    assert "Best setting: method=" in said
    code, said, errors = run_in_process(compare.main, commands[2][1:], tmp_path, capsys)
    assert code == 0, errors
    assert re.search(r"method +seeds +north +south +west +mean", said)
    assert {"erm", "pin_the_memory"} <= set(said.split())
    comparison = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    assert [(row["method"], row["seeds"]) for row in comparison["rows"]] == [("erm", ["1"]), ("pin_the_memory", ["1"])]
    assert comparison["rows"][1]["gain"]["paired"]
