"""`check` on own data: links, orientation tags, label maps of unusual modes."""

import os
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from pin_memory.domains.checks.findings import Finding, Outcome
from pin_memory.domains.checks.run import run_check
from pin_memory.utils.config import config_directory
from tests.domains.readers.domain_cases import stripes, write_grey, write_image


def write_pair(root: Path, name: str, seed: int) -> None:
    write_image(root / "images" / f"{name}.png", 12, 15, seed)
    write_grey(root / "labels" / f"{name}.png", stripes([0, 1, 2, 8, 13]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(4):
        write_pair(tmp_path / "own", f"a/{number}", number)
    return tmp_path / "own"


def check(root: Path, *overrides: str) -> Outcome:
    """The check of own data as a source, in this process."""
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        own = ["+domain@data.sources.own=folder", f"data.sources.own.root={root}"]
        return run_check(compose("check", overrides=[f"paths.data={root.parent}", "workers=0", *own, *overrides]))


def findings(outcome: Outcome, kind: str) -> list[Finding]:
    return [finding for report in outcome.domains for finding in report.findings if finding.kind == kind]


@pytest.mark.parametrize("link", [("images/a/back", ".."), ("images/b", "a"), ("images/a/9.png", "0.png"), ("labels/x", "../images")])
def test_linked_files_count_once(root: Path, link: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    (root / link[0]).symlink_to(link[1])
    if link[0].startswith("images"):
        (root / link[0].replace("images", "labels")).symlink_to(link[1])
    outcome = check(root)
    assert [split.pairs for split in outcome.domains[0].splits] == [3, 1]
    assert "Ready to train" in capsys.readouterr().out
    left_out = [finding for finding in findings(outcome, "note") if "are links to images" in finding.message]
    assert len(left_out) == (link[1] in ("a", "0.png"))


def test_images_in_two_splits_are_named(root: Path) -> None:
    for kind in ("images", "labels"):
        (root / "val").mkdir(exist_ok=True)
        (root / "val" / kind).symlink_to(root / kind)
        (root / "train").mkdir(exist_ok=True)
        (root / "train" / kind).symlink_to(root / kind)
    options = ["data.sources.own.images='{split}/images'", "data.sources.own.labels='{split}/labels'"]
    outcome = check(root, *options)
    (found,) = findings(outcome, "shared_image")
    assert outcome.failed
    assert (found.level, len(found.places)) == ("error", 4)
    assert f"{root}/val/images/a/0.png, which is {root}/train/images/a/0.png" in found.message


@pytest.mark.parametrize("member", ["root", "file", "hard link"])
def test_targets_that_meet_sources_through_links_are_named(root: Path, member: str) -> None:
    target = root.parent / "other"
    if member == "root":
        target.symlink_to(root)
    else:
        write_pair(target, "z", 9)
        for kind in ("images", "labels"):
            source, place = root / kind / "a" / "0.png", target / kind / "0.png"
            place.symlink_to(source) if member == "file" else os.link(source, place)
    options: dict[str, Any] = {"root": target, "test_split": "all", "images": "images/**/*.png", "labels": "labels/**/*.png"}
    other = ["+domain@data.targets.other=folder", *(f"data.targets.other.{name}='{value}'" for name, value in options.items())]
    outcome = check(root, *other)
    (found,) = findings(outcome, "shared_image")
    assert outcome.failed
    assert len(found.places) == (4 if member == "root" else 1)
    assert "images are also among those of the source own, such as" in found.message


def test_sources_that_validate_on_what_others_train_on_are_named(root: Path) -> None:
    other = root.parent / "other"
    write_pair(other, "a", 9)
    for kind in ("images", "labels"):
        (other / kind / "z.png").symlink_to(root / kind / "a" / "0.png")
    outcome = check(root, "+domain@data.sources.other=folder", f"data.sources.other.root={other}")
    (found,) = findings(outcome, "shared_image")
    assert not outcome.failed
    assert (found.level, found.splits) == ("warning", ["val"])
    assert "1 images of the split 'val' are also among those that the source own trains on, such as" in found.message


def tag(path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(path) as picture:
        picture.load()
        picture.save(path, exif=exif)


def test_orientation_tags_are_counted(root: Path) -> None:
    tag(root / "images" / "a" / "0.png", 3)
    tag(root / "images" / "a" / "2.png", 2)
    tag(root / "labels" / "a" / "2.png", 2)
    tag(root / "images" / "a" / "3.png", 1)
    outcome = check(root)
    (found,) = findings(outcome, "turned")
    assert not outcome.failed
    assert (found.level, found.details) == ("warning", ["EXIF orientation 3", "EXIF orientation 2", "EXIF orientation 2"])
    assert "3 pictures are turned upright by their EXIF orientation" in found.message


def test_a_size_mismatch_names_the_tag(root: Path) -> None:
    tag(root / "images" / "a" / "1.png", 6)
    outcome = check(root)
    (found,) = findings(outcome, "size_mismatch")
    assert found.details == ["image 12x15, label 15x12, as EXIF orientation turns them"]
    assert outcome.domains[0].splits[0].sizes == {"15x12": 2, "12x15": 1}


@pytest.mark.parametrize(
    ("crop", "scale", "warned"),
    [
        ("12", "[0.5,2]", False),
        ("14", "[0.5,2]", True),
        ("12", "[0.5,1]", True),
        ("18", "[1.5,2]", False),
        ("20", "[1.5,2]", True),
        ("[15,12]", "[1,1]", True),
        ("[12,15]", "[1,1]", False),
    ],
)
def test_training_images_smaller_than_the_crop_are_a_warning(root: Path, crop: str, scale: str, warned: bool) -> None:
    outcome = check(root, f"augmentation.crop_size={crop}", f"augmentation.scale={scale}")
    found = findings(outcome, "small_images")
    assert not outcome.failed
    assert len(found) == warned
    for finding in found:
        assert (finding.level, finding.splits) == ("warning", ["train"])
        assert "3 of 3 images are smaller than the crops, " in finding.message
        assert ": 15x12." in finding.message
