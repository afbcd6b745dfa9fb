"""Colour masks, overlays, legends, panels, heat maps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pin_memory.utils.errors import OutputError
from pin_memory.utils.images import IMAGENET_MEAN, IMAGENET_STD, denormalize
from pin_memory.utils.labels import IGNORE, PALETTE
from pin_memory.utils.pictures import (
    WRONG,
    caption,
    colorize,
    difference,
    grid,
    heat_map,
    legend,
    overlay,
    panel,
    shade,
    side_by_side,
    size_within,
    with_legend,
    write_image,
)


def colors(image: np.ndarray) -> set[tuple[int, ...]]:
    """The distinct colours of an image."""
    return {tuple(color) for color in np.unique(image.reshape(-1, 3), axis=0).tolist()}


def scene(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A noisy image, a label with all classes and an ignored stripe, and a prediction that is partly wrong."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.repeat(rng.integers(0, 19, (8, 8)), height // 8 + 1, 0), width // 8 + 1, 1)[:height, :width].astype(np.uint8)
    prediction = np.roll(truth, width // 20, axis=1)
    truth[: height // 8] = IGNORE
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), truth, prediction


def test_colorize_uses_the_cityscapes_colours_and_black_for_ignored() -> None:
    mask = np.array([[*range(19), IGNORE]], np.uint8)
    assert (colorize(mask)[0, :19] == PALETTE).all()
    assert colorize(mask)[0, 19].tolist() == [0, 0, 0]


def test_overlay_mixes_image_and_colours() -> None:
    rgb = np.full((2, 2, 3), 200, np.uint8)
    mask = np.array([[0, 13], [10, IGNORE]], np.uint8)
    assert (overlay(rgb, mask, alpha=0.0) == rgb).all()
    assert (overlay(rgb, mask, alpha=1.0)[mask != IGNORE] == colorize(mask)[mask != IGNORE]).all()
    half = overlay(rgb, mask, alpha=0.5)
    assert half[0, 0].tolist() == [164, 132, 164]
    assert half[1, 1].tolist() == [200, 200, 200]


def test_difference_marks_wrong_pixels_alone() -> None:
    rgb, truth, prediction = scene(64, 96)
    marked = (difference(rgb, truth, prediction) == WRONG).all(2)
    assert (marked == ((truth != prediction) & (truth != IGNORE))).all()
    assert not (difference(rgb, truth, truth) == WRONG).all(2).any()


def test_the_colour_of_wrong_pixels_is_none_of_the_classes() -> None:
    assert np.abs(PALETTE.astype(int) - WRONG).sum(1).min() > 100


def test_legend_lists_the_classes_that_are_present_at_the_width_asked_for() -> None:
    strip = legend([13, 0, 0, IGNORE], 300)
    assert strip.shape[1] == 300
    shown = colors(strip)
    assert {tuple(PALETTE[0].tolist()), tuple(PALETTE[13].tolist())} <= shown
    assert tuple(PALETTE[1].tolist()) not in shown
    assert legend(range(19), 200).shape[0] > legend(range(19), 1600).shape[0]
    assert legend([], 100).shape[1] == 100


@pytest.mark.parametrize(("height", "width"), [(96, 160), (16, 16), (1024, 2048), (1500, 2000), (900, 300)])
def test_panels_are_readable_and_small_at_any_size(height: int, width: int, tmp_path: Path) -> None:
    picture = panel(*scene(height, width), title="cityscapes: frankfurt_000001")
    assert 600 <= picture.shape[0] <= 1600
    assert 440 <= picture.shape[1] <= 1640
    path = tmp_path / "panel.jpg"
    write_image(path, picture)
    assert path.stat().st_size < 2_500_000  # of noise; a street takes a fifth
    with Image.open(path) as stored:
        assert stored.size == picture.shape[1::-1]


def test_panel_shows_truth_prediction_and_differences() -> None:
    rgb, truth = np.full((400, 800, 3), 90, np.uint8), np.zeros((400, 800), np.uint8)
    prediction = truth.copy()
    prediction[:, 400:] = 8
    shown = panel(rgb, truth, prediction, "title").reshape(-1, 3)
    area = {name: (shown == color).all(1).mean() for name, color in {"road": PALETTE[0], "green": PALETTE[8], "wrong": WRONG}.items()}
    tile = 400 * 800 / len(shown)
    assert area["road"] == pytest.approx(1.5 * tile, rel=0.02)
    assert area["green"] == pytest.approx(0.5 * tile, rel=0.02)
    assert area["wrong"] == pytest.approx(0.5 * tile, rel=0.02)


def test_panel_of_an_unlabelled_image_is_drawn() -> None:
    rgb, _, prediction = scene(64, 96)
    assert not (panel(rgb, np.full((64, 96), IGNORE, np.uint8), prediction, "title") == WRONG).all(2)[:-60].any()


def test_a_legend_needs_a_minimum_of_width() -> None:
    picture = np.zeros((30, 50, 3), np.uint8)
    assert with_legend(picture, picture[..., 0]).shape[1] == 400
    assert with_legend(np.zeros((300, 500, 3), np.uint8), np.zeros((300, 500), np.uint8)).shape[1] == 500


def test_tiles_are_put_together_whatever_their_sizes() -> None:
    tiles = [np.full((height, width, 3), 10 * height, np.uint8) for height, width in ((4, 6), (8, 3), (2, 5))]
    assert side_by_side(tiles, gap=2).shape == (8, 6 + 2 + 3 + 2 + 5, 3)
    both = grid(tiles, columns=2, gap=2)
    assert both.shape == (8 + 2 + 2, 6 + 2 + 6, 3)
    assert (both[:4, :6] == 40).all()
    assert (both[:8, 8:11] == 80).all()
    assert (both[10:, :5] == 20).all()
    assert (both[4:10, :6] == 255).all()
    assert caption(tiles[0], "a").shape[1] == 6


@pytest.mark.parametrize(("shape", "small", "large"), [((100, 400), (200, 50), (200, 50)), ((10, 20), (20, 10), (200, 100))])
def test_sizes_within_a_box(shape: tuple[int, int], small: tuple[int, int], large: tuple[int, int]) -> None:
    assert size_within(np.zeros(shape), 200, 100) == small
    assert size_within(np.zeros(shape), 200, 100, enlarge=True) == large


def test_colours_tell_signs_apart_and_missing_values() -> None:
    low, zero, high, missing = shade(np.array([-1, 0, 1, np.nan])).tolist()
    assert low[2] > low[0]
    assert high[0] > high[2]
    assert min(zero) > 240
    assert len(set(missing)) == 1


def test_a_heat_map_has_room_for_long_names() -> None:
    values = np.eye(5)
    short, long = (heat_map(values, [name] * 5, "title") for name in ("a", "a very long name of a class"))
    assert long.shape[0] > short.shape[0]
    assert long.shape[1] > short.shape[1]
    assert (short[:, :, 0] == 178).any()  # the diagonal


def test_denormalize_undoes_the_normalisation() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    normal = (torch.from_numpy(rgb).permute(2, 0, 1) / 255 - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[
        :, None, None
    ]
    assert (denormalize(normal) == rgb).all()
    assert (denormalize(torch.from_numpy(rgb).permute(2, 0, 1)) == rgb).all()
    assert denormalize(normal.bfloat16()).dtype == np.uint8


def test_masks_are_written_as_they_are(tmp_path: Path) -> None:
    mask = np.arange(19, dtype=np.uint8)[None].repeat(3, 0)
    write_image(tmp_path / "deep" / "mask.png", mask)
    with Image.open(tmp_path / "deep" / "mask.png") as stored:
        assert stored.mode == "L"
        assert (np.asarray(stored) == mask).all()


def test_a_picture_that_cannot_be_written_is_a_clear_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, content: bytes) -> None:
        with self.open("wb") as file:
            file.write(content[:4])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"picture\.png.*No space left"):
        write_image(tmp_path / "picture.png", np.zeros((4, 4, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_disk_that_fills_up_never_leaves_half_a_picture(suffix: str, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")  # only where file sizes can be limited
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # writing more fails as on a full disk
    try:
        with pytest.raises(OutputError, match=rf"picture\.{suffix}"):
            write_image(tmp_path / f"picture.{suffix}", noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["picture", "picture.foo", "picture.psd"])
def test_a_suffix_without_a_format_is_a_clear_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"Use \.png or \.jpg"):
        write_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
