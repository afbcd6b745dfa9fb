"""`python -m pin_memory.check` on clean stand-ins, and on stand-ins with one fault of each kind."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from pin_memory.check import main
from pin_memory.domains import GTAV, GTAVDataModule
from pin_memory.domains.checks.domain import Depth, Request, check_domain
from pin_memory.domains.checks.findings import DomainReport, Outcome
from pin_memory.domains.checks.run import labelled, run_check
from pin_memory.domains.stand_ins.writers import StandIns
from pin_memory.utils.config import config_directory
from pin_memory.utils.decoding import PIXEL_LIMIT
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import CITYSCAPES
from tests.helpers.planted_faults import FAULTS, corner, cut, cut_label, no_label, no_labels_folder, only_road, other_size, pair, repaint

GSI = "experiment=multi_source_gsi"

DECODING = {
    "cut_label": "truncated",
    "empty_image": "empty",
    "text_image": "not_a_picture",
    "cut_jpeg": "truncated",
    "colour_label": "wrong_encoding",
}
"""Why the files of the planted faults cannot be decoded."""


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small stand-ins of the six data sets; tests copy what they spoil."""
    root = tmp_path_factory.mktemp("clean") / "data"
    StandIns(root, images_per_domain=8, seed=2, width=96).prepare()
    return root


@pytest.fixture
def data(clean: Path, tmp_path: Path) -> Path:
    shutil.copytree(clean, tmp_path / "data")
    return tmp_path / "data"


def check(root: Path, *overrides: str) -> Outcome:
    """The check in this process, without worker processes."""
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return run_check(compose("check", overrides=[f"paths.data={root}", "workers=0", *overrides]))


def domain(outcome: Outcome, name: str) -> DomainReport:
    (report,) = (report for report in outcome.domains if name in report.names)
    return report


def kinds(outcome: Outcome, level: str = "error") -> set[str]:
    return {finding.kind for report in outcome.domains for finding in report.findings if finding.level == level}


def command(*overrides: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pin_memory.check", *overrides],
        cwd=cwd, capture_output=True, text=True, timeout=300, env=os.environ | environment,
    )  # fmt: skip


def run_here(monkeypatch: pytest.MonkeyPatch, cwd: Path, *overrides: str) -> int:
    """The command in this process: its exit code."""
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(sys, "argv", ["check", *overrides])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        logging.getLogger("pin_memory.domains.readers.base").setLevel(logging.NOTSET)  # the command's configuration silences it
    return 0


def test_clean_data(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(path.relative_to(clean) for path in clean.rglob("*"))
    outcome = check(clean, GSI)
    text = capsys.readouterr().out
    assert not outcome.failed
    assert not kinds(outcome)
    assert "0 errors" in text
    assert [report.names for report in outcome.domains] == [["gtav"], ["synthia"], ["idd"], ["cityscapes"], ["bdd100k"], ["mapillary"]]
    gtav, idd = domain(outcome, "gtav"), domain(outcome, "idd")
    assert all(report.stand_in for report in outcome.domains)
    assert [(split.split, split.images, split.labels, split.own_folder) for split in gtav.splits] == [
        ("train", 12, 12, False),
        ("val", 12, 12, False),
    ]
    assert sum(split.pairs for split in gtav.splits) == 12
    assert "as published" in gtav.splits[0].layout
    assert [split.split for split in domain(outcome, "cityscapes").splits] == ["test"]
    assert {"7", "26"} <= {str(value) for value in gtav.splits[0].raw_values}
    assert gtav.splits[0].raw_values[7]["class"] == "road"
    assert gtav.splits[0].raw_values[34]["class"] is None
    assert gtav.splits[0].sizes == {"96x53": gtav.splits[0].pairs}
    shares = gtav.splits[0].class_shares
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["road"] > 0.1
    assert idd.splits[0].images == idd.splits[0].pairs > 0
    assert sorted(path.relative_to(clean) for path in clean.rglob("*")) == files


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_named(data: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind, plant = FAULTS[name]
    kind = DECODING.get(name, kind)
    path = plant(data)
    outcome = check(data, GSI)
    text = capsys.readouterr().out
    assert outcome.failed
    assert kinds(outcome) == {kind}
    assert str(path) in text
    assert f"[{kind}]" in text
    # One finding, although the file may belong to several splits and several looks may notice it.
    (found,) = (finding for report in outcome.domains for finding in report.findings if finding.kind == kind)
    assert kind == "missing" or found.places == [str(path)]
    assert len(found.details) == len(found.places)
    assert not kinds(outcome, "note")


def test_what_a_rule_leaves_out_is_said_once(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in pair(data, 1):
        shutil.copy(file, file.with_name("15188.png"))
    outcome = check(data, GSI)
    assert not outcome.failed
    (note,) = domain(outcome, "gtav").findings
    assert (note.kind, note.splits) == ("note", ["train", "val"])
    assert "15188" in note.message
    assert capsys.readouterr().out.count("15188") == 1


@pytest.mark.slow
def test_the_command_names_all_faults_at_once(data: Path, tmp_path: Path) -> None:
    numbers = [name for name in FAULTS if name != "text_image"]
    planted = [(DECODING.get(name, FAULTS[name][0]), FAULTS[name][1](data)) for name in numbers]
    done = command(GSI, f"paths.data={data}", cwd=tmp_path)
    assert done.returncode == 1
    for kind, path in planted:
        assert f"[{kind}]" in done.stdout
        assert str(path) in done.stdout
    assert "Traceback" not in done.stderr + done.stdout
    assert sorted(tmp_path.iterdir()) == [data]


@pytest.mark.slow
def test_the_command_on_clean_data_as_json(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = command(GSI, f"paths.data={clean}", "format=json", "deep=true", cwd=tmp_path, PIN_MEMORY_CACHE=str(tmp_path / "file"))
    assert done.returncode == 0, done.stderr
    assert "cannot be kept" in done.stderr
    content = json.loads(done.stdout)
    assert content["errors"] == 0
    assert content["deep"]
    assert next(report["names"] for report in content["domains"]) == ["gtav"]


def test_json_holds_what_the_text_says(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("no_label", "cut_label", "other_size", "no_folder"):
        FAULTS[name][1](data)
    check(data, GSI)
    text = capsys.readouterr().out
    check(data, GSI, "format=json")
    content = json.loads(capsys.readouterr().out)
    assert content["failed"]
    assert content["errors"] == 4
    findings = [(report["names"][0], finding) for report in content["domains"] for finding in report["findings"]]
    assert {finding["kind"] for _, finding in findings if finding["level"] == "error"} == {
        "unmatched_image",
        "truncated",
        "size_mismatch",
        "missing",
    }
    for name, finding in findings:
        assert len(finding["details"]) == len(finding["places"])
        assert finding["message"].splitlines()[0] in text
        assert name in text
    for report in content["domains"]:
        for split in report["splits"]:
            assert split["layout"] in text
            assert f"{split['pairs']:,}" in text


@pytest.mark.parametrize("override", ["format=xml", "accept=[nonsense]", "sample=0", "workers=-1", "deep=perhaps"])
def test_mistakes_in_the_command(clean: Path, override: str) -> None:
    with pytest.raises(ConfigurationError, match=override.partition("=")[0]):
        check(clean, GSI, override)


def test_a_mistake_ends_the_command_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(monkeypatch, tmp_path, "experiment=demo", "format=xml") == 2
    assert capsys.readouterr().err.startswith("Error: format=xml")


def test_help(tmp_path: Path) -> None:
    text = command("--help", cwd=tmp_path).stdout
    assert text.partition("Examples")[2].count("pin-memory check") >= 3
    assert "Choices" in text
    for setting in ("deep", "format", "panel", "sample", "workers", "accept"):
        assert f"{setting}:" in text


@pytest.mark.slow
def test_everything_below_the_folder(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without experiment: what is absent is no error, what is there must be right."""
    shutil.rmtree(data / "idd")
    (data / "kitti").mkdir()
    outcome = check(data)
    text = capsys.readouterr().out
    assert not outcome.failed
    there = [report.names[0] for report in outcome.domains if not report.absent]
    assert there == ["bdd100k", "cityscapes", "gtav", "mapillary", "synthia"]
    absent = text.partition("Not there:")[2].partition("\n")[0]
    assert "idd/" in absent
    assert "kitti/" in absent
    assert [split.split for split in domain(outcome, "cityscapes").splits] == ["train", "val"]
    no_labels_folder(data)
    shutil.rmtree(data / "synthia/RAND_CITYSCAPES/GT")
    outcome = check(data)
    assert outcome.failed
    assert [report.names[0] for report in outcome.domains if "missing" in {f.kind for f in report.findings} and not report.absent] == [
        "synthia"
    ]
    # Mapillary's training split is there; the other one was not requested.
    assert {f.kind: f.level for f in domain(outcome, "mapillary").findings}["missing_split"] == "warning"


@pytest.mark.slow
def test_a_missing_split_is_not_ready_to_train(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not check(data).failed
    assert capsys.readouterr().out.endswith("Ready to train.\n")
    shutil.rmtree(data / "cityscapes/leftImg8bit/train")
    no_labels_folder(data)
    outcome = check(data)
    conclusion = capsys.readouterr().out.splitlines()[-1]
    assert not outcome.failed
    assert kinds(outcome, "warning") == {"missing_split"}
    assert outcome.missing == ["cityscapes train", "mapillary val"]
    assert conclusion.startswith("0 errors, 2 warnings. Not there: cityscapes train, mapillary val.")
    assert "Ready" not in conclusion
    # What an experiment needs stays an error, and is not ready either when that is accepted.
    assert check(data, GSI).failed
    capsys.readouterr()
    assert not check(data, GSI, "accept=[missing]").failed
    assert "Not there: mapillary test." in capsys.readouterr().out.splitlines()[-1]


def test_broken_links_are_named(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Both files of a pair that a data set of links has lost: nothing of them can be read, not even their times."""
    files = pair(data, 3)
    for file in files:
        file.unlink()
        file.symlink_to(tmp_path / "unmounted" / file.name)
    assert run_here(monkeypatch, tmp_path, GSI, f"paths.data={data}", "workers=0", f"panel={tmp_path / 'sheets'}") == 1
    out, err = capsys.readouterr()
    assert "Traceback" not in err + out
    assert "2 files cannot be read: [unreadable]" in out
    for file in files:
        assert f"{file} (a broken link to {tmp_path / 'unmounted' / file.name})" in out
    assert kinds(check(data, GSI, "deep=true")) == {"unreadable"}


def test_every_file_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of a kind up to 20 in the text, each with its own reason; all of them in JSON."""
    for number in range(13, 41):
        for old, new in zip(pair(data, 1 + number % 12), pair(data, number), strict=True):
            shutil.copy(old, new)
    empty = [pair(data, number)[0] for number in range(1, 8)]
    torn = [pair(data, number)[1] for number in range(8, 33)]
    unlisted = {pair(data, 35)[1]: 200, pair(data, 36)[1]: 201}
    for path in empty:
        path.write_bytes(b"")
    for path in torn:
        cut(path)
    for path, value in unlisted.items():
        repaint(path, corner(value))
    check(data, GSI, "sample=40")
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert all(f"{path} (an empty file)" in lines for path in empty)
    assert [line.partition(" (")[0] for line in lines if "runcated File" in line] == [str(path) for path in torn[:20]]
    assert "and 5 more, which format=json names" in lines
    check(data, GSI, "sample=40", "format=json")
    findings = json.loads(capsys.readouterr().out)["domains"][0]["findings"]
    found = {finding["kind"]: dict(zip(finding["places"], finding["details"], strict=True)) for finding in findings}
    assert found["empty"] == {str(path): "an empty file" for path in empty}
    assert found["truncated"] == {str(path): "Truncated File Read" for path in torn}
    assert set(found["unlisted_value"]) == {str(path) for path in unlisted}
    for path, value in unlisted.items():
        # 8 x 8 of 96 x 53 pixels
        assert found["unlisted_value"][str(path)] == f"{value} on 1.26% of the pixels"


def test_pictures_of_too_many_pixels_are_named(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in pair(data, 5):
        with Image.open(path) as picture:
            picture.resize((960, 530), Image.Resampling.NEAREST).save(path)
    monkeypatch.setenv(PIXEL_LIMIT, str(960 * 530 - 1))
    outcome = check(data, GSI, "deep=true", f"panel={tmp_path / 'sheets'}")
    assert kinds(outcome) == {"too_large"}
    (found,) = domain(outcome, "gtav").findings
    assert found.places == [str(path) for path in pair(data, 5)]
    assert all("pixels" in detail for detail in found.details)


def test_a_reader_that_leaves_the_number_of_pixels_to_pillow(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(self: GTAV, path: Path) -> np.ndarray:
        raise Image.DecompressionBombError(f"{path.name} is a bomb")

    monkeypatch.setattr(GTAV, "read_raw_label", refuse)
    outcome = check(data, "experiment=multi_source_gs", "sample=1", f"panel={tmp_path / 'sheets'}")
    assert "is a bomb" in domain(outcome, "gtav").findings[0].details[0]


def test_a_deep_label_is_not_damaged(data: Path) -> None:
    path = pair(data, 5)[1]
    with Image.open(path) as picture:
        ids = np.array(picture).astype(np.uint16)
    Image.fromarray(ids).save(path)
    assert not domain(check(data, GSI), "gtav").findings
    Image.fromarray(ids * 1000 + 1).save(path)
    (found,) = domain(check(data, GSI), "gtav").findings
    assert (found.kind, found.places) == ("wrong_encoding", [str(path)])
    assert "expected a label map of ids of 0..255, found values up to" in found.details[0]


@pytest.mark.parametrize("options", [{"foo": 1}, {"split_file": 5}, {"unmatched": "perhaps"}])
def test_options_that_the_reader_does_not_know(clean: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))) as caught:
        check_domain(Request(GTAVDataModule(clean / "gtav", **options), ["g"], ["train", "val"], needed=True), Depth(workers=0))
    assert "unmatched='report'" not in str(caught.value)


@pytest.mark.parametrize("override", ["+data.sources.g.foo=1", "+data.targets.g=1", "data.sources.gtav=null"])
def test_an_option_of_no_data_set(
    clean: Path, override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here(monkeypatch, tmp_path, GSI, f"paths.data={clean}", override) == 2
    _, err = capsys.readouterr()
    assert err.startswith("Error: ")
    assert override.removeprefix("+").partition("=")[0].removesuffix(".foo") in err
    assert "is no data set" in err
    side = override.split(".")[1]
    assert f"+domain@data.{side}." in err
    assert "Traceback" not in err


def test_an_unknown_option_ends_the_command_with_2(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here(monkeypatch, tmp_path, GSI, f"paths.data={clean}", "+data.sources.gtav.foo=1") == 2
    out, err = capsys.readouterr()
    assert err.startswith("Error: ")
    assert "foo" in err
    assert "Traceback" not in err + out


def test_nothing_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path / "nowhere").failed
    assert "No data set was found" in capsys.readouterr().out


def test_a_sample_decodes_little_and_sees_all_sizes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(13, 200):
        for old, new in zip(pair(data, 1 + number % 12), pair(data, number), strict=True):
            shutil.copy(old, new)
    decoded: list[Path] = []
    read = GTAV.read_raw_label
    monkeypatch.setattr(GTAV, "read_raw_label", lambda self, path: decoded.append(path) or read(self, path))
    other_size(data)
    cut(pair(data, 100)[0])
    cut(pair(data, 101)[1])
    outcome = check(data, "experiment=multi_source_gs", "sample=3")
    assert len(decoded) == 6
    assert not {pair(data, number)[1] for number in (6, 101)} & set(decoded)
    places = {finding.kind: finding.places for finding in domain(outcome, "gtav").findings}
    assert places["size_mismatch"] == [str(pair(data, 6)[0])]
    assert places["truncated"] == [str(pair(data, 100)[0]), str(pair(data, 101)[1])]
    assert sum(sum(split.sizes.values()) for split in domain(outcome, "gtav").splits) == 199


def test_without_deep_a_png_is_checked_to_its_end_and_a_jpeg_is_not(data: Path) -> None:
    png, jpeg = pair(data, 2)[0], sorted((data / "bdd100k").rglob("val/*.jpg"))[1]
    content = bytearray(png.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    png.write_bytes(content)
    cut(jpeg)
    outcome = check(data, GSI, "sample=1")
    assert [finding.places for report in outcome.domains for finding in report.findings] == [[str(png)]]
    assert kinds(outcome) == {"undecodable"}
    outcome = check(data, GSI, "deep=true")
    assert kinds(outcome) == {"undecodable", "truncated"}
    (found,) = domain(outcome, "bdd100k").findings
    assert (found.kind, found.places) == ("truncated", [str(jpeg)])


def test_deep_keeps_the_frequencies(data: Path) -> None:
    outcome = check(data, GSI, "deep=true")
    before = domain(outcome, "gtav").splits[0]
    # A sample afterwards knows the shares of all labels.
    after = domain(check(data, GSI, "sample=1"), "gtav").splits[0]
    assert (before.decoded, after.decoded) == (before.pairs, 1)
    assert after.counted == after.pairs == before.counted
    assert after.class_shares == before.class_shares


def test_workers_change_nothing(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    alone, shared = (domain(check(clean, GSI, "deep=true", f"workers={count}"), "gtav") for count in (0, 2))
    assert alone == shared


def test_files_without_partner_are_as_serious_as_the_reader_says(data: Path) -> None:
    no_label(data)
    outcome = check(data, GSI, "+data.sources.gtav.unmatched=report")
    assert not outcome.failed
    assert "unmatched_image" in kinds(outcome, "warning")


def test_files_without_partner_are_no_error_where_the_data_set_is_published_so(data: Path) -> None:
    next((data / "bdd100k/labels").rglob("val/*.png")).unlink()
    outcome = check(data, GSI)
    assert not outcome.failed
    assert "unmatched_image" in kinds(outcome, "warning")


def test_faults_can_be_accepted(data: Path) -> None:
    only_road(data)
    outcome = check(data, GSI, "accept=[single_class_label]")
    assert not outcome.failed
    assert "single_class_label" in kinds(outcome, "warning")


def test_real_data_that_are_not_complete(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Few images are no error, since people train on parts, but they are said; of stand-ins no more are expected."""
    assert "fewer" not in kinds(check(data, GSI), "warning")
    (data / "stand_in.json").unlink()
    outcome = check(data, GSI)
    assert not outcome.failed
    (fewer,) = (finding for finding in domain(outcome, "cityscapes").findings if finding.kind == "fewer")
    assert "test 4 of 500" in fewer.message
    assert "of 500" in capsys.readouterr().out


def test_data_under_two_names_are_looked_at_once(clean: Path) -> None:
    outcome = check(clean, GSI, "+domain@data.sources.again=gtav")
    assert next(report.names for report in outcome.domains) == ["gtav", "again"]


def test_contact_sheets(data: Path, tmp_path: Path) -> None:
    cut_label(data)
    check(data, GSI, f"panel={tmp_path / 'sheets'}")
    assert {path.stem for path in (tmp_path / "sheets").iterdir()} == {"gtav", "synthia", "idd", "cityscapes", "bdd100k", "mapillary"}
    for path in (tmp_path / "sheets").iterdir():
        with Image.open(path) as sheet:
            assert sheet.width > 1000
            assert sheet.height > 300


def test_labels_are_laid_over_images() -> None:
    image, mask = np.full((8, 8, 3), 90, np.uint8), np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    picture = labelled(image, mask, CITYSCAPES)
    np.testing.assert_array_equal(picture[:, :4], np.broadcast_to([117, 72, 117], (8, 4, 3)))  # 0.3 * 90 + 0.7 * (128, 64, 128)
    assert {tuple(colour) for colour in picture[:, 4:].reshape(-1, 3).tolist()} == {(0, 0, 0), (48, 48, 48)}
