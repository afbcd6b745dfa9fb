"""Segmenting files: what is read, what is written, and what is said when it cannot be."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pin_memory.domains.classes import CITYSCAPES, PALETTE
from pin_memory.errors import ConfigurationError, DataError, OutputError
from pin_memory.predict import check_alpha, choose_device, find_images, main, predict_folder, prepare_output, read_rgb


class Halves:
    """Predicts sky on the left half and road on the right."""

    label_space = CITYSCAPES

    def predict(self, rgb: np.ndarray) -> np.ndarray:
        """Return the mask; the image must be what a network can take."""
        assert rgb.dtype == np.uint8
        assert rgb.ndim == 3
        assert rgb.shape[2] == 3
        mask = np.zeros(rgb.shape[:2], np.uint8)
        mask[:, : rgb.shape[1] // 2] = 10
        return mask


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two images and other things."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, color in (("b.JPG", (10, 20, 30)), ("a.png", (200, 100, 50))):
        Image.new("RGB", (60, 40), color).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"no image")
    return folder


def test_three_files_per_image(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    written = predict_folder(Halves(), find_images(photos), output, alpha=0.5)
    assert sorted(path.name for path in output.iterdir()) == sorted(
        f"{stem}_{kind}" for stem in ("a", "b") for kind in ("trainids.png", "color.png", "overlay.jpg")
    )
    assert sorted(written) == sorted(output.iterdir())
    with Image.open(output / "a_trainids.png") as mask:
        assert mask.mode == "L"
        assert (np.asarray(mask) == Halves().predict(np.zeros((40, 60, 3), np.uint8))).all()
    with Image.open(output / "a_color.png") as color:
        assert color.getpixel((59, 0)) == tuple(PALETTE[0].tolist())
    with Image.open(output / "a_overlay.jpg") as overlay:
        assert overlay.height > 40, "the legend is below the picture"


def test_images_are_listed_by_name_without_other_files(photos: Path) -> None:
    assert [path.name for path in find_images(photos)] == ["a.png", "b.JPG"]
    assert find_images(photos / "b.JPG") == [photos / "b.JPG"]


def test_images_of_one_stem_keep_their_suffix(photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (60, 40)).save(photos / "a.jpg")
    predict_folder(Halves(), find_images(photos), tmp_path / "out")
    masks = sorted(path.name for path in (tmp_path / "out").glob("*_trainids.png"))
    assert masks == ["a.jpg_trainids.png", "a.png_trainids.png", "b.JPG_trainids.png"]


def test_a_broken_image_is_named_and_the_others_are_segmented(photos: Path, tmp_path: Path) -> None:
    (photos / "a0.png").write_bytes(b"no image")
    whole = (photos / "a.png").read_bytes()
    (photos / "a1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="2 of 4 images") as caught:
        predict_folder(Halves(), find_images(photos), tmp_path / "out")
    assert "a0.png: not an image" in str(caught.value)
    assert "a1.png: not a readable image" in str(caught.value)
    assert (tmp_path / "out" / "b_trainids.png").is_file()
    assert not list((tmp_path / "out").glob("a0*"))


def test_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        find_images(tmp_path / "nowhere")


def test_folder_without_images_says_which_suffixes_count(photos: Path) -> None:
    for image in find_images(photos):
        image.unlink()
    with pytest.raises(DataError, match=r"1 other files and 1 subfolders.*\.png, \.jpg"):
        find_images(photos)


def test_output_among_the_images_is_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="Choose another"):
        prepare_output(photos / "more" / "..", photos)
    monkeypatch.chdir(photos)
    with pytest.raises(ConfigurationError, match="Choose another"):
        prepare_output(".", Path("a.png"))
    assert prepare_output(photos / "predictions", photos).is_dir()


def test_output_that_is_a_file_is_refused(photos: Path) -> None:
    with pytest.raises(OutputError, match=r"notes\.txt"):
        prepare_output(photos / "notes.txt", photos)
    with pytest.raises(OutputError, match="cannot write"):
        prepare_output(photos / "notes.txt" / "below", photos)


def test_the_command(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("pin_memory.inference.load_model", lambda checkpoint, device, trust: Halves())
    arguments = ["checkpoint=run", f"input={photos}", f"output={tmp_path / 'out'}", "device=cpu"]
    monkeypatch.setattr("sys.argv", ["predict", *arguments])
    main()
    assert "2 images" in capsys.readouterr().out
    assert len(list((tmp_path / "out").iterdir())) == 6
    (photos / "c.webp").write_bytes(b"no image")
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "c.webp" in capsys.readouterr().err


@pytest.mark.parametrize("alpha", [-0.1, 1.5, "much"])
def test_alpha_outside_its_range_is_refused(alpha: float) -> None:
    with pytest.raises(ConfigurationError, match="alpha"):
        check_alpha(alpha)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert choose_device("auto") == "cpu"
    for device in ("cuda", "cuda:1", "tpu", "cuda:x"):
        with pytest.raises(ConfigurationError, match="device="):
            choose_device(device)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
def test_every_kind_of_picture_becomes_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode).save(path)
    rgb = read_rgb(path)
    assert rgb.shape == (4, 6, 3)
    assert rgb.dtype == np.uint8
    assert (rgb == 255).all()


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_16_bits_are_scaled_not_clipped(shape: tuple[int, ...], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), np.full(shape, 128 * 257, np.uint16))
    assert (read_rgb(tmp_path / "deep.png") == 128).all()


def test_a_photo_is_turned_upright(tmp_path: Path) -> None:
    stored = Image.new("RGB", (60, 40))
    exif = stored.getexif()
    exif[0x0112] = 6  # turn by 90 degrees to show
    stored.save(tmp_path / "phone.jpg", exif=exif)
    assert read_rgb(tmp_path / "phone.jpg").shape == (60, 40, 3)
