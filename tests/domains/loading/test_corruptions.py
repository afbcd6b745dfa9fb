"""Corruptions of evaluation images: what is random follows from the picture; the package itself where it is installed."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pin_memory.domains import FolderDataModule, Loading
from pin_memory.domains.loading.corruptions import KINDS, SETS, Corruption
from pin_memory.utils.errors import ConfigurationError, DataError


def image(seed: int = 0, height: int = 40, width: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, (height, width, 3), np.uint8)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A stand-in for the package that adds noise of numpy's global generator; the calls that it got."""
    calls: list[dict[str, Any]] = []

    def corrupt(picture: np.ndarray, **options: Any) -> np.ndarray:
        calls.append(options)
        return np.uint8(picture + np.random.randint(0, 9 * options["severity"], picture.shape))  # noqa: NPY002

    monkeypatch.setitem(sys.modules, "imagecorruptions", SimpleNamespace(corrupt=corrupt))
    return calls


def test_what_is_random_follows_from_the_picture(package: list[dict[str, Any]]) -> None:
    """And nothing else that draws from numpy's global generator notices."""
    fog, one = Corruption("fog", 2), image()
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random(3)  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    first = fog(one)
    np.testing.assert_array_equal(np.random.random(3), expected)  # noqa: NPY002
    np.testing.assert_array_equal(fog(one.copy()), first)
    noise = [found.astype(int) - source for found, source in ((first, one), (fog(image(1)), image(1)), (Corruption("frost", 2)(one), one))]
    assert all((one != other).any() for place, one in enumerate(noise) for other in noise[:place])
    assert package[0] == {"severity": 2, "corruption_name": "fog"}
    Corruption("glass_blur")(one)
    assert set(package[-1]) == {"severity", "corruption_name", "seed"}  # what does not draw from the global generator


def test_a_target_is_shown_corrupted_and_a_training_image_is_not(package: list[dict[str, Any]], tmp_path: Path) -> None:
    """Before the view, in any process alike; the label stays."""
    for number in range(5):
        for kind, pixels in (("images", image(number)), ("labels", np.zeros((40, 48), np.uint8))):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / kind / f"{number}.png")
    settings = {"classes": ["all"], "loading": Loading(num_workers=0, batch_size=1)}
    module = FolderDataModule(tmp_path, corruption={"kind": "fog", "severity": 2}, view="half_image", **settings)
    (shown,) = module.test_dataloader()
    assert shown["image"].shape[-2:] == (20, 24)
    assert shown["label"].shape[-2:] == (40, 48)
    expected = FolderDataModule(tmp_path, view="half_image", **settings)
    expected.corruption = Corruption("fog", 2)
    assert (next(iter(expected.test_dataloader()))["image"] == shown["image"]).all()
    assert (next(iter(FolderDataModule(tmp_path, view="half_image", **settings).test_dataloader()))["image"] != shown["image"]).any()
    package.clear()
    next(iter(module.train_dataloader()))
    assert package == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"kind": "smog"}, "corruption.kind must be 'gaussian_noise', .*found 'smog'"),
        ({"kind": "fog", "severity": 6}, "corruption.severity must be less than or equal to 5"),
        ({"kind": "fog", "strength": 2}, "strength"),
    ],
)
def test_other_settings_are_refused(package: list[dict[str, Any]], setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Corruption.from_setting(setting)


def test_small_images_and_a_missing_package_are_explained(package: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="at least 32x32 pixels, found 48x20"):
        Corruption("fog")(image(height=20))
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(ConfigurationError, match=r"need the package imagecorruptions: pip install -e '\.\[corruptions\]'"):
        Corruption("fog")


@pytest.mark.slow
def test_the_kinds_are_those_of_the_package() -> None:
    """Each changes a picture, the same way again, and at severity 5 mostly more than at 1."""
    package = pytest.importorskip("imagecorruptions", reason="the extra corruptions is not installed")
    assert list(KINDS) == package.get_corruption_names("all")
    assert list(SETS["imagenet_c"]) == package.get_corruption_names()
    smooth = np.asarray(Image.fromarray(image(height=6, width=8)).resize((64, 48), Image.Resampling.BICUBIC))
    more = []
    for kind in KINDS:
        weak, strong, again = (Corruption(kind, severity)(smooth) for severity in (1, 5, 5))  # type: ignore[arg-type]
        assert weak.dtype == np.uint8
        assert weak.shape == smooth.shape
        np.testing.assert_array_equal(strong, again, err_msg=kind)
        far, near = (np.abs(found.astype(int) - smooth).mean() for found in (strong, weak))
        assert near > 0, kind
        more.append(far > near)
    assert sum(more) > 15  # frost is a photograph of one of six, laid on at random
