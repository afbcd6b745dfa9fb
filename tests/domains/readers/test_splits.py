"""Which samples belong to a split: lists as they are published, and the last fifth."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from pin_memory.domains import Sample
from pin_memory.domains.readers.splits import evenly_spaced, find_list, last_fifth_or_all, listed, split_last_fifth
from pin_memory.utils.errors import ConfigurationError, DataError


def samples(*names: str) -> list[Sample]:
    return [Sample(name, Path(f"images/{name}.png"), Path(f"labels/{name}.png")) for name in names]


def numbered(count: int) -> list[Sample]:
    return samples(*(f"{number:05}" for number in range(1, count + 1)))


def names_of(chosen: list[Sample]) -> list[str]:
    return [sample.name for sample in chosen]


class TestLastFifth:
    @pytest.mark.parametrize(("count", "held_out"), [(2, 1), (4, 1), (5, 1), (9, 1), (10, 2), (24904, 4980), (9400, 1880)])
    def test_sizes(self, count: int, held_out: int) -> None:
        frames = samples("frame") * count
        train, val, test = (split_last_fifth(frames, split) for split in ("train", "val", "test"))
        assert len(val) == held_out
        assert train + val == frames
        assert test == val

    def test_a_single_sample_is_held_out(self) -> None:
        assert split_last_fifth(numbered(1), "train") == []
        assert names_of(split_last_fifth(numbered(1), "val")) == ["00001"]


def test_a_target_without_split_is_evaluated_on_all() -> None:
    frames = numbered(10)
    assert [len(last_fifth_or_all(frames, split)) for split in ("train", "val", "test")] == [8, 2, 10]


def test_positions_are_spread_over_the_whole() -> None:
    assert evenly_spaced(range(101), 3) == [0, 50, 100]
    assert evenly_spaced(range(2), 20) == evenly_spaced(range(2), None) == [0, 1]
    assert evenly_spaced(range(5), 1) == [0]


class TestFindList:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("gtav_split_train.txt", "gtav_split_val.txt", "train.txt", "val.txt", "split.mat", "retrain_list.txt"):
            (tmp_path / name).touch()
        return tmp_path

    @pytest.mark.parametrize(
        ("given", "found"),
        [
            ("gtav_split_{split}.txt", "gtav_split_val.txt"),
            ("gtav_split_train.txt", "gtav_split_val.txt"),
            ("gtav_split_val.txt", "gtav_split_val.txt"),
            ("train.txt", "val.txt"),
            ("split.mat", "split.mat"),
        ],
    )
    def test_from_a_pattern_or_from_the_list_of_another_split(self, folder: Path, given: str, found: str) -> None:
        assert find_list(folder / given, "val") == folder / found
        assert find_list(str(folder / given), "val") == folder / found

    def test_from_a_mapping(self, folder: Path) -> None:
        lists = {"train": folder / "train.txt", "val": str(folder / "gtav_split_val.txt")}
        assert find_list(lists, "val") == folder / "gtav_split_val.txt"
        with pytest.raises(ConfigurationError, match="gives lists for train, val; it needs one for 'test'"):
            find_list(lists, "test")

    def test_a_file_that_does_not_say_its_split(self, folder: Path) -> None:
        for name in ("retrain_list.txt", "frames.txt"):
            with pytest.raises(ConfigurationError, match="cannot tell which split it lists"):
                find_list(folder / name, "val")

    def test_a_file_that_is_not_there(self, folder: Path) -> None:
        with pytest.raises(DataError, match="there is no list of the split 'test'") as error:
            find_list(folder / "gtav_split_{split}.txt", "test")
        assert str(folder / "gtav_split_test.txt") in str(error.value)

    def test_the_home_folder(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(folder))
        assert find_list("~/train.txt", "train") == folder / "train.txt"


class TestListFiles:
    def test_lines_of_all_kinds(self, tmp_path: Path) -> None:
        path = tmp_path / "train.txt"
        path.write_text(
            "# a comment\n00001.png\n\n  00002.png  \nimages/train/00003.png labels/train/00003.png\n"
            "/SegNet/CamVid/train/0001TP_006690.png /SegNet/CamVid/trainannot/0001TP_006690.png\nfolder\\00005.jpg\n00006\n"
        )
        frames = [*numbered(8), *samples("0001TP_006690", "0001TP_006720")]
        assert names_of(listed(frames, path, "train", "GTAV")) == ["00001", "00002", "00003", "00005", "00006", "0001TP_006690"]

    @pytest.mark.parametrize("content", [b"", b"\n \n# nothing\n", b"image,label\n"])
    def test_an_empty_list(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "train.txt").write_bytes(content)
        with pytest.raises(DataError, match="expected a list of image names, found none"):
            listed(numbered(3), tmp_path / "train.txt", "train", "GTAV")

    @pytest.mark.parametrize("data", [b"00001\r\n00002\r\n", b"\xef\xbb\xbf00001.png\r00002.png", "00001\n00002 \n".encode("utf-16")])
    def test_text_of_other_systems(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "train.txt").write_bytes(data)
        assert names_of(listed(numbered(3), tmp_path / "train.txt", "train", "GTAV")) == ["00001", "00002"]

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"\xff\xfe\x00\xd8", "UTF-16"),
            ("1\nKöln".encode("latin-1"), "line 2 holds the byte 0xf6"),
            (b"1\n\0", "line 2 holds a zero byte"),
        ],
    )
    def test_a_file_that_is_no_text(self, tmp_path: Path, data: bytes, reason: str) -> None:
        (tmp_path / "train.txt").write_bytes(data)
        with pytest.raises(DataError, match=f"cannot be read .*{reason}") as error:
            listed(numbered(3), tmp_path / "train.txt", "train", "GTAV")
        assert str(tmp_path / "train.txt") in str(error.value)

    def test_split_mat(self, tmp_path: Path) -> None:
        """Column vectors of 1-based numbers, as GTAV's."""
        lists = {"train": [1, 12403], "val": [24966], "test": [2, 20801]}
        savemat(tmp_path / "split.mat", {f"{split}Ids": np.array(numbers, np.float64)[:, None] for split, numbers in lists.items()})
        for split, expected in (("train", ["00001", "12403"]), ("val", ["24966"]), ("test", ["00002", "20801"])):
            assert names_of(listed(samples("00001", "00002", "12403", "20801", "24966"), tmp_path / "split.mat", split, "GTAV")) == expected

    def test_a_mat_file_of_something_else(self, tmp_path: Path) -> None:
        savemat(tmp_path / "split.mat", {"classes": np.zeros(3)})
        with pytest.raises(DataError, match=r"expected GTAV's split\.mat with the list valIds"):
            listed(numbered(3), tmp_path / "split.mat", "val", "GTAV")
        (tmp_path / "split.mat").write_bytes(b"no matlab")
        with pytest.raises(DataError, match=r"expected GTAV's split\.mat"):
            listed(numbered(3), tmp_path / "split.mat", "val", "GTAV")


class TestListed:
    def test_is_sorted_and_without_repetition(self, tmp_path: Path) -> None:
        (tmp_path / "train.txt").write_text("00004.png\n00002.png\n00004.png\n")
        assert names_of(listed(numbered(5), tmp_path / "train.txt", "train", "GTAV")) == ["00002", "00004"]

    def test_names_that_are_absent(self, tmp_path: Path) -> None:
        (tmp_path / "train.txt").write_text("".join(f"{number:05}.png\n" for number in range(4, 10)))
        with pytest.raises(DataError) as error:
            listed(numbered(5), tmp_path / "train.txt", "train", "GTAV")
        message = str(error.value)
        for part in ("GTAV: 4 of the 6 names", str(tmp_path / "train.txt"), "among the 5 samples", "00006, 00007, 00008 and 1 more"):
            assert part in message

    def test_frames_may_be_named_without_their_ending(self, tmp_path: Path) -> None:
        name = "frankfurt_000000_000294"
        frame = Sample(name, Path(f"leftImg8bit/val/frankfurt/{name}_leftImg8bit.png"), Path("label.png"))
        for line in (f"frankfurt/{name}", f"leftImg8bit/val/frankfurt/{name}_leftImg8bit.png"):
            (tmp_path / "val.txt").write_text(line + "\n")
            assert listed([frame], tmp_path / "val.txt", "val", "Cityscapes") == [frame]
