"""Figures: drawn with any label space and whatever is missing, kept whole, the same for the same input."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pin_memory.analysis import (
    Calibration,
    blend,
    class_gain,
    class_structure,
    domain_distances,
    feature_points,
    memory_drift,
    memory_similarity,
    plot_activation_maps,
    plot_calibration,
    plot_class_structure,
    plot_confusion,
    plot_domain_distances,
    plot_domain_pairs,
    plot_gain,
    plot_memory_drift,
    plot_memory_similarity,
    plot_tsne,
    save_figure,
    tsne,
)
from pin_memory.analysis.style import DOTS_PER_INCH, TWO_COLUMNS
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.labels import LabelSpace
from tests.analysis.test_numbers import results
from tests.helpers.references import synthetic

pytest.importorskip("matplotlib")
FOUR = LabelSpace(("lane", "car", "cone", "sky"), np.array([[128, 64, 128], [0, 0, 142], [250, 170, 30], [70, 130, 180]], np.uint8))
THREE = LabelSpace(("road", "car", "bus"), FOUR.palette[:3])


def calibrated(rng: np.random.Generator) -> Calibration:
    """Of random pixels, none of them in the first four intervals."""
    pixels = np.where(np.arange(15) < 4, 0, rng.integers(1, 9, 15))
    return Calibration(pixels, np.where(pixels > 0, (np.arange(15) + 0.5) / 15, np.nan), np.where(pixels > 0, rng.random(15), np.nan))


def figures() -> dict[str, Any]:
    """One of each kind, of a label space of its own; something is missing in each."""
    rng = np.random.default_rng(0)
    features = synthetic()
    items = rng.normal(size=(4, 6))
    items[1] = 0
    points = feature_points(features, items=items)
    places = rng.normal(size=(len(points.vectors), 2))
    distances = {"before": domain_distances(features), "after": domain_distances(synthetic(seed=1))}
    truth = np.array([[0, 0, 2], [255, 255, 2]]).repeat(20, axis=0).repeat(20, axis=1)
    rgb = rng.integers(0, 255, (40, 60, 3)).astype(np.uint8)
    confusion = rng.integers(0, 50, (4, 4))
    confusion[1] = 0
    trace = rng.normal(size=(5, 4, 6))
    trace[:2, 1] = 0
    trace[3, 2] = trace[2, 2]
    return {
        "tsne": plot_tsne({"before": (points, places), "after": (points, places)}, FOUR, "STAND-IN"),
        "tsne_one": plot_tsne({"before": (feature_points(features), places[:-3])}, FOUR),
        "distance": plot_domain_distances(distances, FOUR),
        "pairs": plot_domain_pairs(distances),
        "activation": plot_activation_maps(rgb, rng.random((4, 40, 60)), truth, FOUR),
        "nothing_labelled": plot_activation_maps(rgb, rng.random((4, 40, 60)), np.full((40, 60), 255), FOUR),
        "similarity": plot_memory_similarity(memory_similarity(items), FOUR),
        "structure": plot_class_structure({"text": class_structure(rng.normal(size=(4, 9))), "memory": class_structure(items)}, FOUR),
        "empty_structure": plot_class_structure({"memory": class_structure(np.zeros((4, 6)))}, FOUR),
        "empty_memory": plot_memory_similarity(memory_similarity(np.zeros((4, 6))), FOUR),
        "drift": plot_memory_drift(memory_drift(np.array([0, 2, 4, 6, 7]), trace), FOUR, chosen=4),
        "still": plot_memory_drift(memory_drift(np.array([0, 1]), np.ones((2, 4, 6))), FOUR),
        "confusion": plot_confusion(confusion, FOUR),
        "calibration": plot_calibration({"a": calibrated(rng), "nothing": Calibration(np.zeros(15, int), *np.full((2, 15), np.nan))}),
        "gain": plot_gain(class_gain(results(miou=0.4, iou={"road": 0.2, "car": 0.3, "bus": None}), results()), space=THREE),
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    return figures()


def texts(figure: Any) -> set[str]:
    """All that is written on a figure."""
    from matplotlib.text import Text

    return {text.get_text() for text in figure.findobj(Text)}


def test_every_figure_is_kept_in_every_format(drawn: dict[str, Any], tmp_path: Path) -> None:
    for name, figure in drawn.items():
        formats = ("png", "pdf", "svg") if name == "distance" else ("png",)
        files = save_figure(figure, tmp_path / name, formats)
        assert [file.suffix[1:] for file in files] == list(formats)
        width, height = Image.open(files[0]).size
        assert (width, height) == pytest.approx(figure.get_size_inches() * DOTS_PER_INCH, abs=1)
        assert width <= (TWO_COLUMNS + 0.1) * DOTS_PER_INCH
        assert np.asarray(Image.open(files[0]).convert("L")).std() > 5  # not blank
    assert (tmp_path / "distance.pdf").read_bytes().startswith(b"%PDF")
    assert b"/Type3" not in (tmp_path / "distance.pdf").read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_names_are_those_of_the_label_space(drawn: dict[str, Any]) -> None:
    for name in ("tsne", "similarity", "structure", "drift", "confusion"):
        assert set(FOUR.names) <= texts(drawn[name]), name
    assert {"lane", "car", "cone"} <= texts(drawn["distance"])
    assert "sky" not in texts(drawn["distance"])  # seen in one domain: it has no distance
    assert {"lane", "cone"} <= texts(drawn["activation"])
    assert {"car", "sky"}.isdisjoint(texts(drawn["activation"]))  # not in the ground truth
    assert {"road", "car"} <= texts(drawn["gain"])
    assert "bus" not in texts(drawn["gain"])
    assert {"+20.0", "-30.0", "a\nmIoU +10.0", "b\nmIoU +0.0", "mean of the targets\nmIoU +5.0"} <= texts(drawn["gain"])
    assert "STAND-IN" in texts(drawn["tsne"])


def test_points_have_the_colours_of_their_classes(drawn: dict[str, Any]) -> None:
    axes = drawn["tsne"].axes[0]
    assert len(axes.collections) == 4  # three domains, and the memory items
    stars = axes.collections[-1].get_facecolors()
    np.testing.assert_allclose(stars[:, :3], FOUR.palette[[0, 2, 3]] / 255)


def test_what_has_no_value_is_blank(drawn: dict[str, Any]) -> None:
    written = [text.get_text() for text in drawn["similarity"].axes[0].texts]
    assert len(written) == 9  # of 16: the item of one class was never written
    assert written.count("1.00") == 3


def test_blending_shows_where() -> None:
    rgb = np.full((2, 2, 3), 100, np.uint8)
    mixed = blend(rgb, np.array([[0.0, 0.5], [1.0, 2.0]]), low=0.0, high=1.0)
    assert mixed[0, 0].tolist() == [65, 65, 65]
    assert mixed[1, 0].sum() > mixed[0, 1].sum() > mixed[0, 0].sum()
    assert mixed[1, 1].tolist() == mixed[1, 0].tolist()


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    shown = {"before": domain_distances(synthetic())}
    first = [path.read_bytes() for path in save_figure(plot_domain_pairs(shown), tmp_path / "a", ("png", "pdf", "svg"))]
    again = [path.read_bytes() for path in save_figure(plot_domain_pairs(shown), tmp_path / "b", ("png", "pdf", "svg"))]
    assert first == again


def test_the_callers_settings_stay(drawn: dict[str, Any]) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plot_domain_pairs({"before": domain_distances(synthetic())})
    assert dict(mpl.rcParams) == before


def test_missing_packages_are_named_with_what_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {"before": domain_distances(synthetic())}
    for name in ("matplotlib", "sklearn.manifold"):
        monkeypatch.setitem(sys.modules, name, None)
    for call in (lambda: plot_domain_pairs(shown), lambda: tsne(np.eye(5))):
        with pytest.raises(ConfigurationError, match=r"pip install -e '\.\[analysis\]'"):
            call()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")
def test_a_figure_that_cannot_be_written_is_reported(drawn: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Cannot write the figure"):
        save_figure(drawn["gain"], tmp_path / "file" / "gain")
