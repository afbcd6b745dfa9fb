"""Lists of names as other tools write them: read where it is certain what they mean, and otherwise refused with what nearly matches."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from pin_memory.domains import FolderDomain, Sample
from pin_memory.domains.readers.splits import listed
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.domains.readers.domain_cases import write_grey, write_image

COMPOSED = unicodedata.normalize("NFC", "Köln_été")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)

READ: dict[str, tuple[list[str], str, list[str]]] = {
    "no suffix": (["a", "b"], "a\nb\n", ["a", "b"]),
    "a dot and no suffix": (["a.b", "a"], "a.b\n", ["a.b"]),
    "a dot and a suffix": (["a.b", "a"], "a.b.png\na.jpg\n", ["a", "a.b"]),
    "a suffix twice": (["x", "x.png"], "x.png.png\n", ["x.png"]),
    "quotation marks": (["a", "b"], "\"a.png\"\n'b.png'\n", ["a", "b"]),
    "blanks in a name": (["my image 1", "1"], "my image 1.png\n", ["my image 1"]),
    "blanks in a folder": (["img 1", "1"], "my folder/img 1.png\n", ["img 1"]),
    "pairs, blanks in names": (["my image 1"], "images/my image 1.png labels/my image 1.png\n", ["my image 1"]),
    "pairs, tabs": (["my image 1"], "my image 1.png\tmy image 1_mask.png\n", ["my image 1"]),
    "pairs, commas": (["a", "b"], "a.png,a_mask.png\nb.png, b_mask.png\n", ["a", "b"]),
    "pairs, semicolons": (["a", "b"], "a.png;a_mask.png\n", ["a"]),
    "pairs, commas in names": (["a, b"], '"a, b.png","a, b_mask.png"\n', ["a, b"]),
    "pairs without suffix": (["a", "b"], "images/a labels/a\n", ["a"]),
    "flags of a class": (["2007_000032", "2007_000039", "1"], "2007_000032  1\n2007_000039 -1\n", ["2007_000032", "2007_000039"]),
    "a header": (["a", "b"], "image,label\na.png,a_mask.png\n", ["a"]),
    "another header": (["a", "b"], "Image Name;Mask Path\n\na.png;b_mask.png\n", ["a"]),
    "numbers of rows": (["0", "1", "3"], ",image,mask\n0,3.png,3.png\n1,1.png,1.png\n", ["1", "3"]),
    "a column of splits": (["a", "b", "c"], "name,split\na.png,train\nb.png,val\nc.png,training\n", ["a", "c"]),
    "a column of another name": (["a", "b", "c"], "Name\tSubset\na.png\tTrain\nb.png\tVal\nc.png\tTest\n", ["a"]),
    "splits without a header": (["a", "b"], "a.png,train\nb.png,test\n", ["a"]),
    "names that say train": (["train 1", "train 2"], "train 2\n", ["train 2"]),
    "a spreadsheet's separator": (["a", "b"], "sep=;\nimage;label\nb.png;b.png\n", ["b"]),
    "bars": (["a", "b"], "a.png|a_mask.png\n", ["a"]),
    "JSON in a line": (["a", "b"], '["a.png", "b.png"]', ["a", "b"]),
    "JSON in lines": (["a", "b"], '[\n  "images/a.png",\n  "images/b.png"\n]\n', ["a", "b"]),
    "JSON by split": (["a", "b", "c"], '{"val": ["a"], "training": ["b.png", "c"]}', ["b", "c"]),
    "names in brackets": (["[1] a", "[2]", "{b}"], "[1] a.png\n{b}\n[2]\n", ["[1] a", "[2]", "{b}"]),
    "ends of lines of other systems": (["a", "b", "c"], "a.png\x0bb.png\u2028c.png\x0c", ["a", "b", "c"]),
    "the end of a text in DOS": (["a", "b"], "a.png\r\nb.png\r\n\x1a", ["a", "b"]),
    "a name with the sign of comments": (["scene", "scene #2"], "scene #2.png\tscene #2_mask.png  # the second\n", ["scene #2"]),
    "other folders": (["a", "b"], "./images/a.png\n/elsewhere/b.png\n", ["a", "b"]),
    "Windows": (["a", "b"], "images\\a.png\nC:\\data\\b.png\n", ["a", "b"]),
    "a comment behind": (["a", "b"], "a.png  # the first, not b.png\n# b.png\n#b.png\n", ["a"]),
    "a name that begins like a comment": (["#1", "1"], "#1.png\n# 1.png\n", ["#1"]),
    "a name twice": (["a", "b"], "a.png\n\na\na.png,x\n", ["a"]),
    "items of YAML": (["a", "b"], '- a.png\n- "b.png"\n', ["a", "b"]),
    "decomposed in the list": ([COMPOSED], f"{DECOMPOSED}.png\n", [COMPOSED]),
    "decomposed on the disk": ([DECOMPOSED], f"images/{COMPOSED}\n", [DECOMPOSED]),
    "folders where names repeat": (["t1/rgb/1", "t2/rgb/1", "t3/rgb/1"], "t1/rgb/1.png t1/seg/1.png\n", ["t1_rgb_1"]),
    "folders above are not named": (["t1/rgb/1", "t2/rgb/1", "t3/rgb/1"], "./t3/rgb/1.png\nrgb/../t1/rgb/1\n", ["t1_rgb_1", "t3_rgb_1"]),
}
REFUSED: dict[str, tuple[list[str], str, str]] = {
    "a first name that is no header": (["a"], "front photo\na\n", "1 of the 2 names .*: front photo"),
    "a name that is not there": (["a"], "a.v2\n", "'a.v2' is nearly 'a'"),
    "a wide letter": (["a1"], "a\uff11.png\n", r"it has FULLWIDTH DIGIT ONE \(U\+FF11\) where the other has DIGIT ONE \(U\+0031\)"),
    "a wide blank": (["my image"], "my\u00a0image.png\n", r"it has NO-BREAK SPACE \(U\+00A0\) where the other has SPACE"),
    "an invisible sign": (["ab"], "a\u200bb.png\n", r"'a\\u200bb' is nearly 'ab': it has ZERO WIDTH SPACE \(U\+200B\)"),
    "another script": (["cat"], "c\u0430t.png\n", r"it has CYRILLIC SMALL LETTER A \(U\+0430\) where the other has LATIN SMALL LETTER A"),
    "another hyphen": (["a-b"], "a\u2011b.png\n", r"NON-BREAKING HYPHEN \(U\+2011\) where the other has HYPHEN-MINUS"),
    "another case": (["IMG_1"], "img_1.jpg\n", "'img_1' is nearly 'IMG_1': upper and lower case differ"),
    "zeros that a table program has dropped": (["00001"], "1\n", "'1' is nearly '00001'"),
    "a slip": (["frame_0001"], "fram_0001.png\n", "'fram_0001' is nearly 'frame_0001'"),
    "a name without its end": (["a_rgb"], "x/a.png\n", "'a' is nearly 'a_rgb'"),
    "a name with another end": (["a"], "a_mask.png\n", "'a_mask' is nearly 'a'"),
    "a list as Python shows it": (["a", "b"], "['a.png', 'b.png']", "brackets around something else"),
    "JSON lines": (["a", "b"], '{"image": "a.png"}\n{"image": "b.png"}\n', "brackets around something else"),
    "annotations": (["a", "b"], '{"images": [{"file_name": "a.png"}]}', "brackets around something else"),
    "pairs, the sign of comments": (["scene", "scene #2"], "x/scene #2.png y/scene #2.png\n", "could mean several images"),
    "all names in a line": (["a", "b", "c"], "a.png b.png c.png\n", "could mean several images, .* a, b, c"),
    "a wrong pair": (["a", "b"], "images/a.png labels/b.png\n", "could mean several images"),
    "two numbers": (["3", "5"], "5,3\n", "could mean several images, such as 5 or 3"),
    "a name in two folders": (["t1/1", "t2/1"], "1.png\n", "Write the names of samples, which say the folders, one a line: t1_1, t2_1"),
    "names that look alike": ([COMPOSED, DECOMPOSED], COMPOSED, "which is composed of other Unicode characters"),
}


def found(names: list[str], text: str, folder: Path) -> list[str]:
    """The names of the samples that a list names."""
    files = [Sample(name.replace("/", "_"), Path(f"/data/images/{name}.png"), Path(f"/data/labels/{name}.png")) for name in names]
    (folder / "train.txt").write_text(text, encoding="utf-8")
    return [sample.name for sample in listed(files, folder / "train.txt", "train", "Own data")]


@pytest.mark.parametrize("case", READ)
def test_what_is_certain_is_read(case: str, tmp_path: Path) -> None:
    names, text, expected = READ[case]
    assert found(names, text, tmp_path) == expected


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_is_refused_with_the_cure(case: str, tmp_path: Path) -> None:
    names, text, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as error:
        found(names, text, tmp_path)
    assert str(tmp_path / "train.txt") in str(error.value)


def test_another_number_is_no_near_match(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        found(["00001", "00002"], "00003.png\n", tmp_path)
    assert "nearly" not in str(error.value)


def test_labels_may_be_named(tmp_path: Path) -> None:
    """Of pairs whose names differ; a wrong pair is none."""
    files = [Sample(name, Path(f"images/{name}.png"), Path(f"labels/{name}_mask.png")) for name in ("a", "b")]
    for text in ("labels/b_mask.png\n", "images/b.png,labels/b_mask.png\n", "labels/b_mask.png images/b.png\n"):
        (tmp_path / "train.txt").write_text(text)
        assert listed(files, tmp_path / "train.txt", "train", "Own data") == files[1:]
    (tmp_path / "train.txt").write_text("images/a.png labels/b_mask.png\n")
    with pytest.raises(DataError, match="could mean several images, such as"):
        listed(files, tmp_path / "train.txt", "train", "Own data")


class TestOwnFolders:
    """Files whose names are spelt differently in Unicode on disk and in the settings, as copies from other systems are."""

    def write(self, root: Path, images: str, labels: str, *names: tuple[str, str]) -> Path:
        for image, label in names:
            write_image(root / images / f"{image}.png", 2, 2)
            write_grey(root / labels / f"{label}.png", np.eye(2, dtype=np.uint8))
        return root

    def test_image_and_label_are_a_pair(self, tmp_path: Path) -> None:
        self.write(tmp_path, "images", "labels", (COMPOSED, DECOMPOSED), ("a", "a"))
        assert [sample.name for sample in FolderDomain(tmp_path, "test", test_split="all").samples] == [COMPOSED, "a"]

    def test_patterns_and_folders(self, tmp_path: Path) -> None:
        self.write(tmp_path, f"{DECOMPOSED}/rgb", f"{DECOMPOSED}/seg", ("1", "1"), ("2", "2"))
        for images in (f"{COMPOSED}/rgb/*.png", "*/rgb/*.png", f"{COMPOSED}/rgb"):
            domain = FolderDomain(tmp_path, "test", images=images, labels=images.replace("rgb", "seg"), test_split="all")
            assert len(domain) == 2

    def test_a_label_that_nearly_fits_is_named(self, tmp_path: Path) -> None:
        self.write(tmp_path, "images", "labels", ("a", "a"), ("my scene", "my\u00a0scene"))
        with pytest.raises(DataError, match=r"'my scene' is nearly 'my\\xa0scene': it has SPACE .* where the other has NO-BREAK SPACE"):
            FolderDomain(tmp_path, "train")

    def test_a_folder_that_nearly_fits_is_named(self, tmp_path: Path) -> None:
        self.write(tmp_path, "images", "Labels", ("a", "a"))
        with pytest.raises(DataError, match="'image' is nearly 'images'"):
            FolderDomain(tmp_path, "train", images="image", labels="Labels")

    def test_names_of_classes(self, tmp_path: Path) -> None:
        self.write(tmp_path, "images", "labels", ("a", "a"), ("b", "b"))
        classes = [COMPOSED, "car"]
        domain = FolderDomain(tmp_path, "train", classes=classes, ids={0: DECOMPOSED, 1: "car"})
        assert domain.classes == tuple(classes)
        with pytest.raises(ConfigurationError, match="CYRILLIC SMALL LETTER A"):
            FolderDomain(tmp_path, "train", classes=classes, ids={0: COMPOSED, 1: "c\u0430r"})
