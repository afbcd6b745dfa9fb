"""Own data from polygons: each format against a plain rasteriser, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from pin_memory.domains import FolderDataModule, FolderDomain
from pin_memory.domains.checks.domain import Depth, Request, check_domain
from pin_memory.domains.loading.class_statistics import class_counts
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.domains.readers.domain_cases import write_image

HEIGHT, WIDTH = 40, 60
CLASSES = ["road", "car", "sky"]
SHAPES = [  # a name, corners; later ones lie on top
    ("road", [(3.0, 20.3), (57.5, 18.0), (50.0, 38.0), (8.2, 36.6)]),
    ("car", [(20.0, 10.0), (40.0, 10.0), (40.0, 30.0), (30.0, 20.0), (20.0, 30.0)]),  # concave
    ("kerb", [(34.0, 12.0), (46.0, 12.0), (46.0, 24.0), (34.0, 24.0)]),
]
IDS = {"road": "road", "car": "car", "kerb": "ignore"}
Write = Callable[[Path, dict[str, list[tuple[str, list[tuple[float, float]]]]]], None]


def write_coco(root: Path, images: dict[str, Any]) -> None:
    names = ["never used", "road", "car", "kerb"]
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 7 + n, "name": name} for n, name in enumerate(names)]}
    for number, (file, shapes) in enumerate(images.items()):
        content["images"].append({"id": number, "file_name": file, "height": HEIGHT, "width": WIDTH})
        for name, corners in shapes:
            area = [[value for corner in corners for value in corner]]
            content["annotations"].append({"id": 1, "image_id": number, "category_id": 7 + names.index(name), "segmentation": area})
    (root / "labels.json").write_text(json.dumps(content))


def write_labelme(root: Path, images: dict[str, Any]) -> None:
    for file, shapes in images.items():
        content = {"imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": [{"label": name, "points": corners} for name, corners in shapes]}
        path = (root / "labels" / file).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))


def write_cvat(root: Path, images: dict[str, Any]) -> None:
    """The shapes from the last to the first, with heights that put them right."""
    tree = ElementTree.Element("annotations")
    for number, (file, shapes) in enumerate(images.items()):
        image = ElementTree.SubElement(tree, "image", id=str(number), name=file, width=str(WIDTH), height=str(HEIGHT))
        for z, (name, corners) in reversed(list(enumerate(shapes))):
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners)
            ElementTree.SubElement(image, "polygon", label=name, points=points, occluded="0", z_order=str(z))
    (root / "labels.xml").write_bytes(ElementTree.tostring(tree))


FORMATS: dict[str, tuple[Write, str]] = {
    "coco": (write_coco, "labels.json"), "labelme": (write_labelme, "labels"), "cvat": (write_cvat, "labels.xml"),
}  # fmt: skip
each = pytest.mark.parametrize("kind", FORMATS)


def make(root: Path, kind: str, shapes: Any = None, count: int = 5) -> dict[str, Any]:
    """Images below `images/town`, and their annotations; the options of the reader."""
    write, labels = FORMATS[kind]
    for number in range(count):
        write_image(root / f"images/town/{number}.jpg", HEIGHT, WIDTH, number)
    write(root, {f"town/{number}.jpg": SHAPES if shapes is None else shapes for number in range(count)})
    return {"labels": labels, "annotations": kind, "classes": CLASSES, "ids": IDS}


def first_label(root: Path, options: dict[str, Any]) -> np.ndarray:
    """The label of the first sample; some mistakes are found when it is read."""
    domain = FolderDomain(root, "train", **options)
    return domain.read_label(domain.samples[0])


def inside(corners: Any, x: float, y: float) -> bool:
    """Whether a point lies in a polygon: a ray to the right crosses its sides an odd number of times."""
    found = False
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            found = not found
    return found


def distance(corners: Any, x: float, y: float) -> float:
    """How far a point is from the outline of a polygon."""
    return min(
        float(np.hypot(*(start + np.clip(np.dot([x, y] - start, side) / np.dot(side, side), 0, 1) * side - [x, y])))
        for start, side in ((np.array(a), np.array(b) - a) for a, b in zip(corners, [*corners[1:], corners[0]], strict=True))
    )


def plain(shapes: Any, background: int = 255) -> tuple[np.ndarray, np.ndarray]:
    """A label map by a loop over the pixels' centres, and whether a pixel is near an outline, where rasterisers differ."""
    label, near = np.full((HEIGHT, WIDTH), background), np.zeros((HEIGHT, WIDTH), bool)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            x, y = column + 0.5, row + 0.5
            for value, corners in shapes:
                if inside(corners, x, y):
                    label[row, column] = value
                near[row, column] |= distance(corners, x, y) < 1
    return label, near


@each
def test_polygons_are_drawn_as_a_plain_rasteriser_draws_them(tmp_path: Path, kind: str) -> None:
    options = make(tmp_path, kind)
    values = {"road": 0, "car": 1, "kerb": 255}
    expected, near = plain([(values[name], corners) for name, corners in SHAPES])
    assert near.mean() < 0.3
    domain = FolderDomain(tmp_path, "train", **options)
    assert [sample.name for sample in domain.samples] == ["town_0", "town_1", "town_2", "town_3"]
    label = domain.read_pair(domain.samples[0])[1]
    assert label.dtype == np.uint8
    assert np.array_equal(label[~near], expected[~near])
    assert {*np.unique(label)} == {0, 1, 255}
    assert domain.classes == ("road", "car")


@each
def test_pixels_in_no_polygon_are_of_the_background(tmp_path: Path, kind: str) -> None:
    options = make(tmp_path, kind, SHAPES[:2])
    label = FolderDomain(tmp_path, "val", **options, background="sky").read_label(FolderDomain(tmp_path, "val", **options).samples[0])
    expected, near = plain([(0, SHAPES[0][1]), (1, SHAPES[1][1])], 2)
    assert np.array_equal(label[~near], expected[~near])


@each
def test_they_are_checked_and_counted_as_other_labels(tmp_path: Path, kind: str) -> None:
    options = make(tmp_path, kind)
    data = FolderDataModule(tmp_path, **options)
    report, opened = check_domain(Request(data, ["mine"], ["train", "val"], needed=True), Depth(workers=0, deep=True))
    assert {finding.kind for finding in report.findings} == {"absent_class", "small_images"}  # sky
    assert [split.pairs for split in report.splits] == [4, 1]
    label = opened[0].read_label(opened[0].samples[0])
    expected = [4 * int((label == value).sum()) for value in (0, 1, 2, 255)]
    assert class_counts(opened[0], workers=0).sum(0).tolist() == expected
    assert report.splits[0].class_shares == pytest.approx(
        {"road": expected[0] / sum(expected[:2]), "car": expected[1] / sum(expected[:2]), "sky": 0}
    )


@each
def test_unknown_names_are_listed(tmp_path: Path, kind: str) -> None:
    options = make(tmp_path, kind) | {"ids": {"car": "car"}}
    with pytest.raises(DataError, match=r"kerb, road are not listed\. Known names: car\. .*\{kerb: ignore\}"):
        first_label(tmp_path, options)
    with pytest.raises(DataError, match="kerb is not listed"):
        first_label(tmp_path, options | {"ids": None})


@each
def test_a_size_that_is_not_the_images_is_refused(tmp_path: Path, kind: str) -> None:
    options = make(tmp_path, kind)
    write_image(tmp_path / "images/town/0.jpg", HEIGHT, WIDTH + 1)
    domain = FolderDomain(tmp_path, "train", **options)
    with pytest.raises(DataError, match=r"differ in size[^$]*61x40[^$]*60x40"):
        domain.read_pair(domain.samples[0])


@each
def test_damaged_annotations_are_refused(tmp_path: Path, kind: str) -> None:
    options = make(tmp_path, kind)
    for path in (*tmp_path.rglob("*.json"), *tmp_path.rglob("*.xml")):
        path.write_text(path.read_text()[:-20])
    with pytest.raises(DataError, match=f"no complete annotations of annotations={kind}"):
        first_label(tmp_path, options)


def test_crowds_are_ignored_and_holes_are_runs(tmp_path: Path) -> None:
    options = make(tmp_path, "coco", [], 2)
    content = json.loads((tmp_path / "labels.json").read_text())
    ring = np.zeros((HEIGHT, WIDTH), bool)
    ring[5:25, 10:40] = True
    ring[10:15, 20:30] = False  # a hole
    flat = ring.T.ravel()
    changes = np.flatnonzero(np.diff(flat.astype(int), prepend=0)).tolist()
    runs = np.diff([0, *changes, flat.size]).tolist()
    content["annotations"] = [
        {"image_id": 0, "category_id": 9, "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs}},
        {"image_id": 0, "category_id": 9, "iscrowd": 1, "segmentation": [[50, 0, 60, 0, 60, 40, 50, 40]]},
    ]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    domain = FolderDomain(tmp_path, "train", **options, background="road")
    label = domain.read_label(domain.samples[0])
    assert np.array_equal(label == 1, ring)
    assert (label[1:-1, 51:-1] == 255).all()
    assert (label[:, :49] != 255).all()
    assert (domain.read_label(FolderDomain(tmp_path, "val", **options).samples[0]) == 0).all()  # an image without annotations


def test_boxes_ellipses_masks_and_circles(tmp_path: Path) -> None:
    cvat = make(tmp_path, "cvat")
    (tmp_path / "labels.xml").write_text(
        "<annotations>" + "".join(
            f'<image id="{n}" name="{n}.jpg" width="60" height="40"><tag label="night"/>'
            '<box label="road" xtl="2" ytl="2" xbr="20" ybr="20"/>'
            '<ellipse label="car" cx="40" cy="20" rx="15" ry="6" rotation="90"/>'
            '<mask label="sky" left="5" top="30" width="4" height="2" rle="1,2,2,3"/></image>' for n in range(5)
        ) + "</annotations>"
    )  # fmt: skip
    domain = FolderDomain(tmp_path, "train", **cvat | {"ids": None})
    label = domain.read_label(domain.samples[0])
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    away = ((columns - 40) / 6) ** 2 + ((rows - 20) / 15) ** 2
    assert (label[away < 0.75] == 1).all()
    assert not (label[away > 1.4] == 1).any()
    assert (label[3:19, 3:19] == 0).all()
    assert (label[30:32, 5:9] == 2).tolist() == [[False, True, True, False], [False, True, True, True]]

    labelme = make(tmp_path, "labelme", [("car", [(30.0, 20.0), (40.0, 20.0)])])
    for path in tmp_path.rglob("labels/**/*.json"):
        content = json.loads(path.read_text())
        content["shapes"][0]["shape_type"] = "circle"
        content["shapes"].append({"label": "road", "points": [[2, 2], [20, 12]], "shape_type": "rectangle"})
        path.write_text(json.dumps(content))
    domain = FolderDomain(tmp_path, "train", **labelme)
    label = domain.read_label(domain.samples[0])
    radius = np.hypot(columns - 30, rows - 20)
    assert (label[radius < 9.2] == 1).all()
    assert not (label[radius > 10.8] == 1).any()
    assert (label[3:11, 3:19] == 0).all()
    corners = [[20, 2], [20, 12], [2, 12], [2, 2]]  # as some tools write them
    four = content | {"shapes": [{"label": "road", "points": corners, "shape_type": "rectangle"}]}
    domain.samples[0].label.write_text(json.dumps(four))
    assert ((domain.read_label(domain.samples[0]) == 0) == (label == 0)).all()
    content["shapes"] = [{"label": "car", "points": [[1, 1], [2, 2]], "shape_type": "line"}]
    domain.samples[0].label.write_text(json.dumps(content))
    with pytest.raises(DataError, match="a line of car, which is no polygon, rectangle or circle: draw it as a polygon, or delete it"):
        domain.read_label(domain.samples[0])


def test_images_and_annotations_that_do_not_agree(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = make(tmp_path, "coco")
    (tmp_path / "images/town/4.jpg").unlink()
    assert len(FolderDomain(tmp_path, "train", **options)) == 3
    assert "1 annotated images are not there and are left out: town/4.jpg" in caplog.text
    write_image(tmp_path / "images/town/9.jpg", HEIGHT, WIDTH)
    with pytest.raises(DataError, match=r"1 of 5 images .* have no label"):
        FolderDomain(tmp_path, "train", **options)
    write_coco(tmp_path, {f"{number}.jpg": [] for number in range(10)})
    write_image(tmp_path / "images/village/0.jpg", HEIGHT, WIDTH)
    with pytest.raises(DataError, match=r"'0.jpg' in .*labels.json may be any of .*town/0.jpg, .*village/0.jpg"):
        FolderDomain(tmp_path, "train", **options)
    with pytest.raises(DataError, match=r"no file .*other\.json"):
        FolderDomain(tmp_path, "train", **options | {"labels": "other.json"})


def test_files_of_labelme_may_lie_next_to_the_images(tmp_path: Path) -> None:
    options = make(tmp_path, "labelme")
    apart = first_label(tmp_path, options)
    for path in (tmp_path / "labels/town").glob("*.json"):
        path.rename(tmp_path / "images/town" / path.name)
    for images, labels in (("images", "images"), ("images/*/*.jpg", "images/*/*.json")):
        assert np.array_equal(first_label(tmp_path, options | {"images": images, "labels": labels}), apart)


def test_one_file_for_each_split_or_for_all(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        write_image(tmp_path / split / "images" / f"{split}.jpg", HEIGHT, WIDTH)
        write_coco(tmp_path / split, {f"{split}.jpg": SHAPES})
    options = {"annotations": "coco", "classes": CLASSES, "ids": IDS, "images": "{split}/images"}
    for labels in ("{split}/labels.json", "labels.json"):
        for split in ("train", "val"):
            domain = FolderDomain(tmp_path, split, **options, labels=labels)
            assert ([sample.name for sample in domain.samples], domain.notes) == ([split], [])
            assert {*np.unique(domain.read_label(domain.samples[0]))} == {0, 1, 255}
        write_coco(tmp_path, {"train.jpg": SHAPES, "val.jpg": SHAPES})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"annotations": "yolo"}, "expected one of coco, labelme, cvat"),
        ({"annotations": "coco", "palette": {"1, 2, 3": "car"}}, "palette is for labels that are pictures"),
        ({"annotations": "coco", "labels": "*.json"}, "is one file, or one for each"),
        ({"annotations": "coco", "ids": [0, 1]}, "ids has the class of each name"),
        ({"annotations": "coco", "ids": {"kerb": "pavement"}}, "'pavement' is no class"),
        ({"background": "sky"}, "background is for annotations"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        FolderDomain(tmp_path, "train", classes=CLASSES, **options)
