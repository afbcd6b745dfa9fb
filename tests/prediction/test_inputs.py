"""What is segmented, and where its results go."""

import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from pin_memory.prediction import find_inputs
from pin_memory.prediction.inputs import read_list
from pin_memory.utils.errors import ConfigurationError, DataError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A tree with images, a video and other things."""
    folder = tmp_path / "photos"
    for name in ("b.JPG", "a.png", "more/a.png", "more/deep/c.webp", ".hidden.png", ".thumbs/d.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / "drive.mp4").write_bytes(b"")
    return folder


def names(source: str | Path | list[str], output: Path | None = None) -> list[str]:
    """Where results go."""
    return [item.name.as_posix() for item in find_inputs(source, output).items]


def test_a_folder_is_searched_to_the_bottom_and_mirrored(photos: Path) -> None:
    found = find_inputs(photos)
    assert [item.name.as_posix() for item in found.items] == ["a", "b", "more/a", "more/deep/c"]
    assert [item.path for item in found.items][:2] == [photos / "a.png", photos / "b.JPG"]
    assert found.base == photos


def test_one_file(photos: Path) -> None:
    (item,) = find_inputs(photos / "b.JPG").items
    assert (item.path, item.name, item.is_video) == (photos / "b.JPG", Path("b"), False)
    (video,) = find_inputs(photos / "drive.mp4").items
    assert video.is_video


def test_images_of_one_stem_keep_their_suffix_within_their_folder(photos: Path) -> None:
    Image.new("RGB", (8, 6)).save(photos / "a.jpg")
    assert names(photos) == ["a.jpg", "a.png", "b.JPG", "more/a", "more/deep/c"]


def test_results_are_never_inputs(photos: Path) -> None:
    """Neither those of this prediction nor those of another one."""
    before = names(photos)
    for folder, record in (("mine", False), ("more/others", True)):
        (photos / folder).mkdir()
        Image.new("RGB", (8, 6)).save(photos / folder / "a_color.png")
        if record:
            (photos / folder / "predict.json").write_text("{}")
    assert names(photos, photos / "mine") == before
    assert names(f"{photos}/*/*.png", photos / "mine") == ["more/a"]


def test_a_pattern(photos: Path) -> None:
    assert names(f"{photos}/*") == ["a", "b", "drive"]
    assert names(f"{photos}/**/*.png") == ["a", "more/a"]
    assert find_inputs(f"{photos}/mo*/a.png").base == photos
    with pytest.raises(DataError, match=r"1 files match.*\.png"):
        find_inputs(f"{photos}/*.txt")


def test_a_name_with_brackets_is_a_name_first(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a[1].png")
    assert names(tmp_path / "a[1].png") == ["a[1]"]


def test_a_list_says_by_itself_where_results_go(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else is in it, so that two processes with two parts of a list can share a folder."""
    monkeypatch.chdir(photos.parent)
    absolute = str(photos / "b.JPG")
    assert names(["photos/./more/a.png", absolute, "photos/x/../a.png"]) == ["photos/more/a", absolute[1:-4], "photos/a"]
    monkeypatch.chdir(photos / "more")
    assert names(["../a.png"]) == [str(photos / "a")[1:]]
    assert read_list(["a.png\n", "\n", "b c.png\r\n", "a.png\n"]) == ["a.png", "b c.png"]
    with pytest.raises(DataError, match="empty"):
        read_list(["\n"])


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("photos/a.png", "photos/a.png"),
        ('"photos/a.png"  ', "photos/a.png"),
        ("photos\\a.png", "photos/a.png"),
        ("photos/my photo.png", "photos/my photo.png"),
        ("photos/my photo.png,masks/my photo.png", "photos/my photo.png"),
        ("0\tphotos/a.png\t1", "photos/a.png"),
        (f"photos/{unicodedata.normalize('NFC', 'Köln')}.png", f"photos/{unicodedata.normalize('NFD', 'Köln')}.png"),
        ("photos/#1.png", "photos/#1.png"),
        (" gone.png ", "gone.png"),
        ("x" * 5000, "x" * 5000),
    ],
)
def test_lines_of_a_list_as_other_tools_write_them(line: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in ("a", "my photo", "#1", unicodedata.normalize("NFD", "Köln")):
        Path("photos", f"{name}.png").touch()
    assert read_list(["image,label\n", "# photos/a.png\n", f"{line}\r\n"]) == [path]


def test_further_files_in_a_line_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """`echo *.png` writes all names in one line."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "c.png"):
        Path(name).touch()
    assert read_list(["a.png b.png c.png\n"]) == ["a.png"]
    assert "2 files of further columns are not segmented: b.png, c.png" in caplog.text


def test_a_list_as_input_and_a_name_that_nearly_fits_lead_to_the_cure(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.png")
    with pytest.raises(DataError, match="put it on stdin: input=- <"):
        find_inputs(tmp_path / "list.txt")
    (tmp_path / "Photo.png").touch()
    with pytest.raises(DataError, match=r"'photo\.png' is nearly 'Photo\.png': upper and lower case differ"):
        find_inputs(tmp_path / "photo.png")


def test_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        find_inputs(tmp_path / "nowhere")


def test_folder_without_images_says_which_suffixes_count(photos: Path) -> None:
    for item in find_inputs(photos).items:
        item.path.unlink()
    with pytest.raises(DataError, match=r"1 other files and 1 videos.*\.png, \.jpg"):
        find_inputs(photos)


def test_output_among_the_images_is_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in (photos, photos / "a.png", f"{photos}/*.png"):
        with pytest.raises(ConfigurationError, match="Choose another"):
            find_inputs(source, photos / "more" / "..")
    monkeypatch.chdir(photos)
    with pytest.raises(ConfigurationError, match="Choose another"):
        find_inputs("a.png", ".")
    assert find_inputs(photos, photos / "predictions").items


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_a_link_that_leads_back_up_ends(photos: Path) -> None:
    (photos / "more" / "loop").symlink_to(photos, target_is_directory=True)
    assert names(photos) == ["a", "b", "more/a", "more/deep/c"]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
@pytest.mark.parametrize("source", ["", "/**/*.*", "/**"], ids=["folder", "pattern", "all below"])
@pytest.mark.parametrize("member", ["up", "sibling", "chain", "file", "hard link", "crossed", "dangling"])
def test_every_file_is_segmented_once(photos: Path, member: str, source: str, caplog: pytest.LogCaptureFixture) -> None:
    before = names(f"{photos}{source}")
    if member == "crossed":
        for place in range(8):
            (photos / f"x{place}").mkdir()
            for other in range(8):
                (photos / f"x{place}" / str(other)).symlink_to(f"../x{other}")
    elif member == "hard link":
        os.link(photos / "a.png", photos / "more" / "z.png")
    else:
        links = {"up": [("more/up", "..")], "sibling": [("Z", "more")], "chain": [("Z", "y"), ("y", "more")],
                 "file": [("more/0.png", "../a.png")], "dangling": [("Z", "nowhere")]}  # fmt: skip
        for link, target in links[member]:
            (photos / link).symlink_to(target)
    assert names(f"{photos}{source}") == before
    assert ("not segmented again" in caplog.text) == (member in ("sibling", "chain", "file", "hard link"))


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
@pytest.mark.parametrize("source", ["", "/**/*.png"], ids=["folder", "pattern"])
def test_links_to_other_trees_are_followed(photos: Path, tmp_path: Path, source: str) -> None:
    (tmp_path / "far" / "deep").mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(tmp_path / "far" / "deep" / "d.png")
    before = names(f"{photos}{source}")
    (photos / "far").symlink_to(tmp_path / "far")
    assert names(f"{photos}{source}") == sorted([*before, "far/deep/d"])
