"""Own data: raw ids and colours that are not listed, and classes that are listed and have no pixel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from pin_memory.check import main
from pin_memory.domains import FolderDataModule
from pin_memory.domains.checks.domain import Depth, Request, check_domain
from pin_memory.domains.checks.findings import Finding, Outcome
from tests.helpers.in_process import run_in_process

COLOURS = {7: (128, 64, 128), 10: (0, 0, 142), 3: (9, 9, 9), 12: (40, 50, 60)}
USUAL: dict[Any, Any] = {0: "ignore", 7: "road", 10: "car"}


def label(**rows: int) -> np.ndarray:
    """A label of 20 rows: `r7=12` paints the next 12 rows with raw id 7; the rest is 0."""
    picture, top = np.zeros((20, 30), np.uint8), 0
    for name, count in rows.items():
        picture[top : top + count] = int(name[1:])
        top += count
    return picture


def write(root: Path, *labels: np.ndarray, colours: bool = False) -> Path:
    table = np.zeros((256, 3), np.uint8)
    for raw, colour in COLOURS.items():
        table[raw] = colour
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    for number, picture in enumerate(labels):
        noise = np.random.default_rng(number).integers(0, 255, (20, 30, 3)).astype(np.uint8)
        Image.fromarray(noise).save(root / f"images/{number}.png")
        Image.fromarray(table[picture] if colours else picture).save(root / f"labels/{number}.png")
    return root


def found(root: Path, depth: Depth | None = None, **options: Any) -> dict[str, Finding]:
    """What the check finds in the training split, by kind; images may be smaller than the crop here."""
    request = Request(FolderDataModule(root, **options), ["mine"], ["train"], needed=True)
    report, _ = check_domain(request, depth or Depth(workers=0))
    return {finding.kind: finding for finding in report.findings if finding.kind != "small_images"}


def failed(finding: Finding) -> bool:
    return finding.level == "error"


class TestUnlistedValues:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"ids": USUAL}, "raw ids that ids does not list, on 10.00% of the pixels, are ignored: 3 (10.00%); in 4 of 4 labels"),
            ({"ids": {7: "road", 10: "car", 3: None}}, "does not list, on 15.00% of the pixels, are ignored: 0 (15.00%)"),
            ({"ids": {7: "road", 10: "car"}}, "does not list, on 25.00% of the pixels, are ignored: 0 (15.00%), 3 (10.00%)"),
        ],
    )
    def test_a_share_of_the_pixels_is_a_warning(self, options: dict[str, Any], words: str, tmp_path: Path) -> None:
        finding = found(write(tmp_path, *[label(r7=10, r10=5, r3=2)] * 5), **options)["unlisted_value"]
        assert not failed(finding)
        assert words in finding.message
        assert "labels/0.png" in finding.message
        assert finding.places == [str(tmp_path / f"labels/{number}.png") for number in range(4)]
        assert len(finding.details) == 4

    @pytest.mark.parametrize(("rows", "error"), [(4, False), (9, False), (10, False), (11, True), (20, True)])
    def test_more_pixels_than_all_listed_classes_are_an_error(self, rows: int, error: bool, tmp_path: Path) -> None:
        """Pixels that are listed as ignored count for neither side."""
        finding = found(write(tmp_path, *[label(r12=rows, r7=20 - rows)] * 4), ids={0: "ignore", 7: "road", 10: "car"})["unlisted_value"]
        assert failed(finding) == error
        assert ("It is an error since all listed classes together have no more than" in finding.message) == error

    def test_what_is_listed_as_ignored_counts_for_neither_side(self, tmp_path: Path) -> None:
        root = write(tmp_path, *[label(r7=2, r10=1, r3=1)] * 4)
        assert not failed(found(root, ids=USUAL)["unlisted_value"])

    def test_colours_are_named(self, tmp_path: Path) -> None:
        root = write(tmp_path, *[label(r7=10, r10=5, r3=2, r12=1)] * 4, colours=True)
        finding = found(root, palette={"0, 0, 0": "ignore", "128, 64, 128": "road", "0, 0, 142": "car"})["unlisted_value"]
        assert not failed(finding)
        assert "palette does not list, on 15.00% of the pixels, are ignored: (9, 9, 9) (10.00%), (40, 50, 60) (5.00%)" in finding.message

    def test_labels_of_train_ids(self, tmp_path: Path) -> None:
        assert not failed(found(write(tmp_path, *[label(r7=10, r10=5, r33=1)] * 4))["unlisted_value"])

    def test_nothing_is_said_where_all_is_listed(self, tmp_path: Path) -> None:
        root = write(tmp_path, *[label(r7=10, r10=5)] * 4)
        assert not found(root, ids=USUAL)
        assert not found(root, ids=["ignore"] * 7 + ["road", 255, None, "car"])

    @pytest.mark.parametrize(("rows", "accept", "code"), [(2, "[]", 0), (15, "[]", 1), (15, "[unlisted_value]", 0)])
    def test_the_exit_code_agrees(self, rows: int, accept: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write(tmp_path / "data", *[label(r3=rows, r7=2, r10=3)] * 5)
        (tmp_path / "conf/experiment").mkdir(parents=True)
        mine = {"root": str(tmp_path / "data"), "ids": USUAL}
        content = {"defaults": [{"/domain@data.sources.mine": "folder"}], "data": {"sources": {"mine": mine}}}
        (tmp_path / "conf/experiment/mine.yaml").write_text("# @package _global_\n" + yaml.safe_dump(content))
        arguments = ["--config-dir", "conf", "experiment=mine", "workers=0", f"accept={accept}"]
        done, out, _ = run_in_process(main, arguments, tmp_path, capsys)
        assert done == code
        assert ("Ready to train" in out) == (code == 0)
        assert "warning mine, train" in out or code


class TestAbsentClasses:
    @pytest.mark.parametrize(
        ("ids", "words"),
        [
            ("{0: ignore, 3: ignore, 7: road, 010: car}", "car (raw id 8). Not listed, but there: 10 (25.00%). YAML reads 010 as 8"),
            ("{0: ignore, 3: ignore, 7: road, 0x10: car}", "car (raw id 16). Not listed, but there: 10 (25.00%). YAML reads 0x10 as 16"),
            ("{0: ignore, 3: ignore, 7: road, 9: car, 11: car}", "car (raw ids 9; 11). Not listed, but there: 10 (25.00%)."),
            ("{0: ignore, 3: ignore, 7: road, 10: car, 11: truck}", "truck (raw id 11)."),
            ("{0: ignore, 3: ignore, '7': road, '12': car, 10: bus}", "car (raw id 12)."),
        ],
    )
    def test_ids(self, ids: str, words: str, tmp_path: Path) -> None:
        finding = found(write(tmp_path, *[label(r7=10, r10=5, r3=2)] * 5), ids=yaml.safe_load(ids))["absent_class"]
        assert finding.level == "warning"
        assert finding.splits == ["train"]
        assert f"have no pixel in any of the 4 labels: {words}" in finding.message

    @pytest.mark.parametrize("ids", ["{0: ignore, 3: ignore, 7: road, 1_0: car}", "{0: ignore, 3: ignore, '07': road, '010': car}"])
    def test_other_ways_to_write_the_same_ids(self, ids: str, tmp_path: Path) -> None:
        assert not found(write(tmp_path, *[label(r7=10, r10=5, r3=2)] * 5), ids=yaml.safe_load(ids))

    @pytest.mark.parametrize("colour", ["142, 0, 0", "0, 142, 0"])
    def test_colours_with_the_channels_in_another_order(self, colour: str, tmp_path: Path) -> None:
        root = write(tmp_path, *[label(r7=10, r10=5)] * 5, colours=True)
        finding = found(root, palette={"0, 0, 0": "ignore", "128, 64, 128": "road", colour: "car"})["absent_class"]
        assert f"car (colour {colour}). Not listed, but there: (0, 0, 142) (25.00%)." in finding.message
        assert f"(0, 0, 142) is ({colour}) with the channels in another order" in finding.message

    def test_own_class_lists(self, tmp_path: Path) -> None:
        """A class that no id gives, and labels of train ids that do not hold all of them."""
        root = write(tmp_path, *[label(r7=10, r10=5, r3=2)] * 5)
        mine = found(root, ids={0: "ignore", 3: "ignore", 7: "a", 10: "b"}, classes=["a", "b", "c"])["absent_class"]
        assert "c (listed nowhere)" in mine.message
        assert "b (raw id 1), c (raw id 2)" in found(root, classes=list("abcdefghijk"))["absent_class"].message

    def test_the_19_classes_need_not_all_be_there(self, tmp_path: Path) -> None:
        assert not found(write(tmp_path, *[label(r7=10, r10=5)] * 5))

    def test_of_a_sample_only_with_a_value_that_may_be_meant(self, tmp_path: Path) -> None:
        """A rare class may well be in the labels that were not decoded."""
        root, some = write(tmp_path, *[label(r7=10, r10=5)] * 15), Depth(sample=3, workers=0)
        rare = {0: "ignore", 7: "road", 10: "car", 8: "bus"}
        assert "absent_class" not in found(root, some, ids=rare)
        words = found(root, some, ids={0: "ignore", 7: "road", 8: "car"})["absent_class"].message
        assert "in the 3 of 12 labels that were decoded (deep=true decodes all): car (raw id 8). Not listed, but there: 10" in words
        assert "absent_class" in found(root, Depth(deep=True, workers=0), ids=rare)


def test_an_outcome_with_warnings_alone_has_not_failed(tmp_path: Path) -> None:
    request = Request(FolderDataModule(write(tmp_path, *[label(r7=9, r10=5, r3=1)] * 5), ids=USUAL), ["mine"], ["train"], needed=True)
    outcome = Outcome(str(tmp_path), False, [check_domain(request, Depth(workers=0))[0]])
    assert not outcome.failed
    assert {finding.kind for finding in outcome.domains[0].findings} == {"unlisted_value", "small_images"}
    assert outcome.count("warning") == 2
