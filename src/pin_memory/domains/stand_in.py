"""Procedural street scenes that stand in for the real data sets.

A scene is a street in metres, x to the right, y up, z ahead. It is seen by a pinhole camera and painted from back to front into the
image and the map of codes at once. The six looks (`stand_in_looks`) differ in camera, light, materials and density.
"""

import math
from dataclasses import dataclass
from functools import cache
from random import Random

import cv2
import numpy as np

from pin_memory.domains.classes import CLASSES, IGNORE
from pin_memory.domains.stand_in_looks import LOOKS, Colour, Look, Range

CODES = {name: code for code, name in enumerate((*CLASSES, "lane marking", "kerb", "licence plate", "ego vehicle"))}
"""Code of each class, and of the details that only some data sets label apart."""

_NEAREST_CLASS = {"lane marking": "road", "kerb": "sidewalk", "licence plate": "car"}
_FEATURES = (("bicycle", "fence", "train"), ("bus", "motorcycle", "wall"), ("bicycle", "fence", "truck"), ("motorcycle", "wall"))
"""What an image holds besides the usual, in turn, so that few images hold all classes while the rare ones stay rare."""

_LANE, _NEAR, _FAR, _DASHED = 3.4, 0.4, 130, 200  # metres: width of a lane, before the camera, end of the street; a code until painted
_PLAN: tuple[tuple[str, str, Range, Range, float, str], ...] = (
    # what is placed along both sides, beyond which line by how much, gaps, chance, and what of the look multiplies it
    ("traffic", "middle", (0, 0), (5, 10), 1.0, "traffic"),
    ("parked", "kerb", (-1.1, -1.1), (5.6, 5.6), 0.9, "traffic"),
    ("pole", "kerb", (0.5, 0.5), (18, 30), 1.0, ""),
    ("traffic sign", "kerb", (0.5, 0.5), (14, 26), 0.8, ""),
    ("tree", "kerb", (1.0, 1.2), (9, 18), 0.6, ""),
    ("person", "kerb", (0.6, 2.4), (2, 5), 0.4, "crowd"),
    ("barrier", "walk", (0.15, 0.15), (9, 9), 1.0, ""),
)

_SIZES = {"car": (1.82, 4.4, 1.5), "bus": (2.5, 11.0, 3.1), "truck": (2.5, 7.7, 3.5), "train": (2.7, 26.0, 3.6)}  # width, length, height

# A model is strokes of a material, a thickness in metres (0: a filled polygon) and points x,y,z; "ring" is a wheel that stands on the
# ground, "disc" a filled one of that radius, "box" a box between two corners whose top is smaller by that much, or one flat face of it.
# "=" mirrors a stroke, "~" turns it, too.
_ENDS = "; glass 0 box -{0},1.7,{1} {0},2.7,{1}; =lamp 0 box .8,.6,{1} 1.1,.85,{1}; plate 0 box -.26,.55,{1} .26,.7,{1}"
_SIGNAL = "pole .16 0,0,0 0,3.3,0; case .42 0,2.5,-.05 0,3.1,-.05; dim .22 0,2.8,-.1; "
_MODELS = {
    "car": "dark 0 box -.86,.12,-2.1 .86,.4,2.1; paint 0 box -.91,.24,-2.2 .91,.92,2.2; glass .62 box -.87,.92,-2 .87,1.46,1.3;"
    "paint 0 box -.72,1.45,-1.38 .72,1.52,.68; =lamp 0 box .55,.62,2.2 .88,.8,2.2;"
    "=tail 0 box .55,.62,-2.2 .88,.8,-2.2; plate 0 box -.26,.4,-2.2 .26,.54,-2.2; plate 0 box -.26,.4,2.2 .26,.54,2.2;"
    "=tyre .33 disc .92,.33,1.36; =hub .17 disc .92,.33,1.36; =tyre .33 disc .92,.33,-1.36; =hub .17 disc .92,.33,-1.36",
    "bus": "paint 0 box -1.25,.3,-5.5 1.25,3.1,5.5; =accent 0 box 1.25,.4,-5.5 1.25,1,5.5" + _ENDS.format(1.1, 5.5)
    + _ENDS.format(1.1, -5.5).replace("lamp", "tail") + "".join(f"; =glass 0 box 1.25,1.5,{z} 1.25,2.6,{z + 1.5}" for z in range(-5, 4, 2))
    + "; yellow 0 box -.9,2.78,5.5 .9,3.02,5.5; =tyre .48 disc 1.26,.48,3.1; =tyre .48 disc 1.26,.48,-3.2",
    "truck": "accent 0 box -1.25,.5,-3.8 1.25,3.4,3.8; =paint 0 box 1.25,.5,1.9 1.25,3.4,3.8; paint 0 box -1.25,.5,3.8 1.25,3.4,3.8;"
    "=trim 0 box 1.25,.4,-3.8 1.25,1,1.8; =white 0 box 1.25,1.9,-3 1.25,2.7,.8; dark 0 box -.03,1,-3.8 .03,3.3,-3.8;"
    "=tyre .5 disc 1.26,.5,2.9; =tyre .5 disc 1.26,.5,-2.9; =tyre .5 disc 1.26,.5,-1.8; =glass 0 box 1.25,1.6,2.6 1.25,2.4,3.6"
    + _ENDS.format(1.1, 3.8) + "; =tail 0 box .8,.6,-3.8 1.15,.85,-3.8; plate 0 box -.26,.6,-3.8 .26,.8,-3.8",
    "train": "paint 0 box -1.35,.3,-13 1.35,3.6,13; =accent 0 box 1.35,.7,-13 1.35,1.2,13" + _ENDS.format(1.2, 13)
    + _ENDS.format(1, -13).replace("lamp", "tail") + "".join(f"; =glass 0 box 1.35,1.7,{z} 1.35,2.9,{z + 2}" for z in range(-12, 11, 3)),
    "person": "~trousers .16 .1,.92,0 .11,.5,-.08 .11,.06,-.27; ~shirt .11 .2,1.4,0 .26,1.14,.1; ~face .09 .26,1.12,.1 .26,.9,.2;"
    "shirt .36 0,1.06,0 0,1.27,0; face .2 0,1.6,.03; hair .19 0,1.67,0",
    "rider": "=trousers .17 .13,.98,-.22 .16,.7,.14 .14,.32,-.05; =shirt .11 .2,1.4,0 .27,1.18,.2 .27,1.06,.44;"
    "shirt .38 0,1.06,-.2 0,1.3,-.06; face .21 0,1.63,.08; hair .23 0,1.69,.05",
    "bicycle": "air 0 0,.34,-.53 0,.2,0 0,.34,.53 0,.95,.38 0,.86,-.2; tyre .055 ring 0,.34,-.53; tyre .055 ring 0,.34,.53;"
    "paint .05 0,.34,-.53 0,.3,-.05 0,.86,.38 0,.86,-.2 0,.3,-.05; paint .05 0,.34,.53 0,.95,.38; tyre .05 -.26,1,.42 .26,1,.42;"
    "tyre .13 0,.93,-.3 0,.93,-.14",
    "motorcycle": "tyre .14 ring 0,.31,-.62; tyre .14 ring 0,.31,.66; paint .09 0,.31,.66 0,.9,.35; tyre .36 0,.45,-.25 0,.5,.15;"
    "paint .3 0,.74,-.1 0,.78,.25; tyre .2 0,.76,-.65 0,.74,-.1; tyre .06 -.35,1,.36 .35,1,.36; lamp .17 0,.8,.5; tail .14 0,.74,-.75",
    "trunk": "bark .06 0,0,0 0,.5,0; bark .035 -.12,.6,0 0,.4,0 .12,.6,0",
    "lamp post": "pole .16 0,0,0 0,7,0 -1.7,7.2,0; pole .14 -1.7,7.2,0 -2.2,7.2,0; bulb .16 -1.8,7.12,0 -2.2,7.12,0",
    "halt": _SIGNAL + "red .24 0,3.12,-.12; dim .22 0,2.48,-.1",
    "go": _SIGNAL + "dim .22 0,3.12,-.1; green .24 0,2.48,-.12",
    "ban": "pole .09 0,0,0 0,2.4,0; crimson .84 0,2.4,-.05; white .56 0,2.4,-.1",
    "warning": "pole .09 0,0,0 0,2.4,0; crimson 0 -.5,2.1,-.05 .5,2.1,-.05 0,3,-.05; white 0 -.3,2.2,-.1 .3,2.2,-.1 0,2.75,-.1",
    "duty": "pole .09 0,0,0 0,2.4,0; white .88 0,2.4,-.05; blue .8 0,2.4,-.07; white .12 0,2.2,-.1 0,2.6,-.1",
}  # fmt: skip
_COLOURS: dict[str, tuple[Colour, ...]] = {  # one of them is chosen for each thing
    "glass": ((50, 56, 62),), "trim": ((46, 46, 50),), "tyre": ((24, 24, 26),), "hub": ((128, 128, 132),), "dark": ((16, 16, 18),),
    "plate": ((236, 232, 200),), "case": ((26, 30, 28),), "dim": ((52, 50, 48),), "pole": ((112, 114, 116),), "bark": ((88, 70, 54),),
    "white": ((240, 240, 238),), "crimson": ((200, 20, 26),), "yellow": ((255, 190, 60),), "blue": ((24, 74, 176),),
    "lamp": ((255, 236, 190),), "tail": ((255, 40, 24),), "bulb": ((255, 206, 130),), "red": ((255, 44, 30),), "green": ((40, 235, 120),),
    "shirt": ((170, 40, 40), (40, 60, 130), (230, 225, 215), (40, 40, 44), (60, 110, 80), (210, 160, 60), (120, 70, 110), (90, 130, 170)),
    "trousers": ((30, 32, 44), (50, 58, 84), (86, 76, 62), (24, 24, 26)), "face": ((222, 176, 146), (176, 124, 92), (116, 78, 56)),
    "hair": ((34, 26, 22), (92, 66, 40), (60, 56, 54)), "paint": ((190, 36, 32), (30, 60, 140), (214, 210, 200), (220, 180, 50)),
    "accent": ((206, 40, 34), (230, 226, 218), (236, 190, 50), (30, 80, 150), (60, 140, 110), (40, 90, 170), (90, 130, 60)),
}  # fmt: skip
_GLOW = {"lamp": 0.2, "tail": 0.11, "yellow": 0.1, "bulb": 0.32, "red": 0.2, "green": 0.2}  # radius in metres at night
_CODE_OF = {"plate": CODES["licence plate"], "pole": CODES["pole"]} | dict.fromkeys(("case", "dim", "red", "green"), CODES["traffic light"])
_Model = tuple[np.ndarray, np.ndarray, list[tuple[str, float, int, int]]]  # points, outward normals, pieces: material, thickness, points


@dataclass(frozen=True)
class Scene:
    """One drawn picture."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    label: np.ndarray  # (H, W) uint8 train ids, 255 for what the look's data set ignores
    detail: np.ndarray  # (H, W) uint8: the train id, or the code (`CODES`) of a detail


def draw_scene(look: str, seed: int, index: int, width: int = 480) -> Scene:
    """Draw picture `index` of a set, `width` pixels wide (some of look "M" are narrower); the same arguments give the same bytes."""
    random, chosen = Random(f"{seed}/{look}/{index}"), LOOKS[look].vary(index)
    street = _Street(chosen, random, [name for name in _FEATURES[index % len(_FEATURES)] if name not in chosen.absent], width)
    street.sky()
    street.ground()
    street.houses()
    for _, draw, *arguments in sorted(street.things, key=lambda thing: -thing[0]):
        draw(*arguments)
    codes = street.view.codes
    return Scene(street.view.develop(random), train_ids(chosen)[codes], codes)


def train_ids(look: Look) -> np.ndarray:
    """Table (256,) uint8 from code to the train id that the look's data set yields."""
    table = np.full(256, IGNORE, np.uint8)
    table[: len(CLASSES)] = range(len(CLASSES))
    for detail, name in _NEAREST_CLASS.items():
        if detail not in look.ignored:
            table[CODES[detail]] = CLASSES.index(name)
    return table


@cache
def _noise(seed: int, height: int, width: int, power: float) -> np.ndarray:
    """Periodic noise with a 1/f**power spectrum, mean 0 and standard deviation 1 (0: white, 1.5: clouds)."""
    spectrum = np.fft.rfft2(np.random.default_rng(seed).standard_normal((height, width)))
    radius = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width)
    radius[0, 0] = np.inf
    field = np.fft.irfft2(spectrum / radius**power, (height, width))
    return (field / field.std()).astype(np.float32)


@cache
def _grain() -> np.ndarray:
    return np.clip(128 + 32 * np.stack([_noise(seed, 512, 512, 0.15) for seed in range(3)], 2), 0, 255).astype(np.uint8)


def _wheel(middle: np.ndarray, radius: float) -> np.ndarray:
    angles = np.arange(13) * math.pi / 6
    return middle + radius * np.stack([0 * angles, np.sin(angles), np.cos(angles)], 1)


def _box(corners: np.ndarray, taper: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Faces of a box, without its bottom, and their normals; of a flat box only the one that faces outwards."""
    grid = np.stack(np.meshgrid(*corners.T, indexing="ij"), -1)
    grid[:, 1] += taper * np.array([[(0.25, 0, 1), (0.25, 0, -1)], [(-0.25, 0, 1), (-0.25, 0, -1)]])
    faces = [(axis, end) for axis in (0, 2, 1) for end in (0, 1) if (axis, end) != (1, 0)]
    flat = np.flatnonzero(corners[0] == corners[1])
    if flat.size:
        faces = [(int(flat[0]), int(corners[0, flat[0]] > 0))]
    return [(grid.take(end, axis).reshape(4, 3)[[0, 1, 3, 2]], np.eye(3)[axis] * (2 * end - 1)) for axis, end in faces]


@cache
def _model(name: str) -> _Model:
    pieces, none = [], np.zeros(3)
    for text in _MODELS[name].split(";"):
        (material, thickness, *kind), size = [word for word in text.split() if "," not in word], 0.0
        points = np.array([word.split(",") for word in text.split() if "," in word], float)
        shapes = [(points.repeat(2 if len(points) == 1 else 1, 0), none)]
        if kind == ["box"]:
            shapes = _box(points, float(thickness))
        elif kind == ["disc"]:
            shapes = [(_wheel(points[0], float(thickness)), np.eye(3)[0])]
        else:
            size = float(thickness)
        if kind == ["ring"]:  # labels count what is seen between the spokes
            shapes = [(_wheel(points[0], points[0, 1] - size / 2), none)]
            pieces.append(("air", 0.0, *shapes[0]))
        for mirror in {"=": ((1, 1, 1), (-1, 1, 1)), "~": ((1, 1, 1), (-1, 1, -1))}.get(material[0], ((1, 1, 1),)):
            pieces += [(material.lstrip("=~"), size, corners * mirror, normal * mirror) for corners, normal in shapes]
    ends = np.cumsum([len(piece[2]) for piece in pieces]).tolist()
    parts = [(piece[0], piece[1], end - len(piece[2]), end) for piece, end in zip(pieces, ends, strict=True)]
    return np.concatenate([piece[2] for piece in pieces]), np.array([piece[3] for piece in pieces]), parts


@cache
def _cells(columns: int, rows: int, wide: float = 1.0, high: float = 1.0) -> np.ndarray:
    """Rectangles (columns * rows, 4, 2) in the middle of the cells of a grid, in shares of a plane."""
    corner = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 1, 2)
    fill = np.array((wide, high))
    return (corner + (1 - fill) / 2 + fill * [(0, 0), (1, 0), (1, 1), (0, 1)]) / (columns, rows)


def _turn(x: float, y: float, z: float) -> np.ndarray:
    return np.asarray(cv2.Rodrigues(np.array([x, y, z], float))[0])


class _View:
    """Image and code map seen by a pinhole camera at `x` metres; what is drawn later covers what was drawn before in both."""

    def __init__(self, look: Look, random: Random, x: float, width: int) -> None:
        scale, aspect = random.choice(look.sizes)
        self.look, self.height, self.width = look, round(width * scale * aspect), round(width * scale)
        self.image = np.zeros((self.height, self.width, 3), np.uint8)
        self.codes = np.full((self.height, self.width), CODES["sky"], np.uint8)
        self.glows: list[tuple[float, float, float, Colour]] = []  # x, y, radius in pixels, colour
        self.night, self.edge = look.light < 0.7, cv2.LINE_AA if look.texture else cv2.LINE_8
        self.focal, eye = random.uniform(*look.focal) * max(self.width, 0.72 * self.height), random.uniform(*look.eye)
        yaw, pitch, roll = (math.radians(random.uniform(*span)) for span in (look.yaw, look.pitch, look.roll))
        pitch += 0.045 * max(eye - 2.2, 0)  # who looks from above looks down
        self.position = np.array([x, eye, 0.0])
        self.axes = _turn(0, yaw, 0) @ _turn(pitch, 0, 0) @ _turn(0, 0, roll)
        self.horizon = self.height / 2 - self.focal * math.tan(pitch)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (..., 2), with 4 fractional bits, and depths (...) of world points (..., 3), moved before the camera if behind."""
        seen = (points - self.position) @ self.axes
        pixels = seen[..., :2] * (16 * self.focal, -16 * self.focal) / np.maximum(seen[..., 2:], _NEAR) + (8 * self.width, 8 * self.height)
        return np.rint(pixels).astype(np.int32), seen[..., 2]

    def distance(self, x: float, z: float) -> float:
        return math.hypot(x - float(self.position[0]), z)

    def lit(self, colour: Colour, depth: float, shade: float = 1.0) -> Colour:
        """Light a surface colour, by the car's own lamps at night, and fade it into the haze at `depth` metres."""
        clear = math.exp(-depth / self.look.haze)
        light = shade * clear * (self.look.light + (0.6 * math.exp(-depth / 14) if self.night else 0))
        red, green, blue = (min(a * light, 255) + b * (1 - clear) for a, b in zip(colour, self.look.sky[1], strict=True))
        return red, green, blue

    def fill(self, polygons: np.ndarray, colour: Colour | None, code: int | None = None) -> None:
        """Paint world polygons (k, n, 3) into image and code map, or one of them."""
        outlines, depths = self.project(polygons)
        self.paint(outlines[depths.max(1) > _NEAR], colour, code)

    def paint(self, outlines: np.ndarray | list[np.ndarray], colour: Colour | None, code: int | None) -> None:
        if colour is not None:
            cv2.fillPoly(self.image, outlines, colour, self.edge, 4)  # type: ignore[call-overload, arg-type]
        if code is not None:
            cv2.fillPoly(self.codes, outlines, code, cv2.LINE_8, 4)  # type: ignore[call-overload, arg-type]

    def model(self, name: str, x: float, z: float, heading: float, colours: dict[str, Colour], code: int, size: float) -> None:
        """Draw a model at `x`, `z` in its direction (0: down the road)."""
        (points, normals, pieces), turn = _model(name), _turn(0, heading, 0)
        points, normals = size * points @ turn.T + (x, 0, z), normals @ turn.T
        pixels, depths = self.project(points)
        depth, low, high = float(depths.mean()), pixels.min(0), pixels.max(0)
        if depths.min() < 2 * _NEAR or high.min() < 0 or (low > (16 * self.width, 16 * self.height)).any():
            return
        shades = 0.84 + 0.16 * (normals[:, 1] + (normals**2).sum(1) * (normals[:, 0] > 0.7) - (normals[:, 2] > 0.7))
        facing = (normals * (self.position - points[[piece[2] for piece in pieces]])).sum(1) >= 0
        metre = size * self.focal / depth
        for i in np.flatnonzero(facing).tolist():
            material, thickness, start, stop = pieces[i]
            outline, colour, label = (
                pixels[start:stop],
                self.lit(colours.get(material, (0, 0, 0)), depth, shades[i]),
                _CODE_OF.get(material, code),
            )
            if self.night and material in _GLOW:
                colour = colours[material]
                self.glows.append((*(outline.mean(0) / 16).tolist(), _GLOW[material] * metre, colour))
            if thickness:
                thick = max(round(thickness * metre), 1)
                cv2.polylines(self.image, [outline], False, colour, thick, self.edge, 4)
                cv2.polylines(self.codes, [outline], False, label, thick, cv2.LINE_8, 4)
            else:
                self.paint([outline], None if material == "air" else colour, label)

    def crown(self, x: float, z: float, tall: float, seed: int) -> None:
        """Paint the crown of a tree: leaves in three tones, the brighter the higher."""
        pixels, depth = self.project(np.array([x, 0.68 * tall, z]))
        if depth < 1:
            return
        random, radius = Random(seed), 0.3 * tall * self.focal / float(depth)
        for tone, size, count in ((0.0, 0.48, 12), (0.5, 0.24, 16), (1.0, 0.13, 16)):
            red, green, blue = np.array(self.look.leaves[0]) * (1 - tone) + np.array(self.look.leaves[1]) * tone
            colour = self.lit((red, green, blue), float(depth))
            for _ in range(count):
                angle, away = random.uniform(0, 2 * math.pi), math.sqrt(random.random()) * (1.15 - size)
                at = pixels + 16 * radius * np.array([away * math.cos(angle), 0.95 * away * math.sin(angle) - 0.2 * tone])
                for canvas, value in ((self.image, colour), (self.codes, CODES["vegetation"])):
                    cv2.circle(canvas, np.rint(at).astype(int).tolist(), round(16 * radius * size), value, -1, cv2.LINE_8, 4)

    def barrier(self, kind: str, x: float, z: float) -> None:
        """Draw 9 m of "fence" or "wall" along the street, from z on."""
        depth, span = self.distance(x, z + 4), np.array([(0, 0, 9), (0, 1.5 if kind == "fence" else 1.9, 0)])
        self.fill((x, 0, z) + _cells(3, 1) @ span, None if kind == "fence" else self.lit((140, 124, 110), depth), CODES[kind])
        cells = np.concatenate([_cells(36, 1, 0.22), _cells(1, 2, 1, 0.12)]) if kind == "fence" else _cells(20, 6, 0.93, 0.86)
        self.fill((x, 0, z) + cells @ span, self.lit((90, 92, 88) if kind == "fence" else (172, 152, 132), depth))

    def develop(self, random: Random) -> np.ndarray:
        """What the look's camera records of the painted scene: lamps that shine, its own bonnet, its colours and its grain."""
        look, spots = self.look, np.zeros((self.height // 4 + 1, self.width // 4 + 1, 3), np.float32)
        image: np.ndarray = self.image
        for x, y, radius, colour in self.glows:
            if 0 <= x < self.width and 0 <= y < self.height and image[int(y), int(x)].max() > 200:  # not hidden
                cv2.circle(spots, (round(x * 4), round(y * 4)), max(round(radius * 4), 13), colour, -1, cv2.LINE_8, 4)
        if look.glare:
            y, x = np.mgrid[: spots.shape[0], : spots.shape[1]].astype(np.float32) * 4 / self.width
            away = np.hypot(x - random.uniform(0.1, 0.9), y - max(self.horizon, 20) / self.width * random.uniform(0.3, 0.9))
            spots += look.glare * np.exp(-7 * away)[..., None] * np.array((400, 330, 230), np.float32)
        if look.glare or self.glows:
            spots = cv2.GaussianBlur(spots, (0, 0), 2.0) + 0.4 * spots * self.night
            image = cv2.add(image, cv2.resize(spots.clip(0, 255).astype(np.uint8), (self.width, self.height)))
        if look.hood:
            shine, y = 18 + 0.25 * look.light * np.array(look.sky[1]), self.height * random.uniform(1.19, 1.23)
            oval = (self.width / 2, y), (1.6 * self.width, 0.6 * self.height), 0.0
            cv2.ellipse(image, oval, (0.6 * shine).tolist(), -1, self.edge)
            cv2.ellipse(self.codes, oval, CODES["ego vehicle"], -1)
        if look.blur:
            image = cv2.addWeighted(image, 1 - look.blur, cv2.GaussianBlur(image, (3, 3), 1.0), look.blur, 0)
        contrast = look.contrast * random.uniform(0.95, 1.05)
        mix = contrast * (look.saturation * np.eye(3) + (1 - look.saturation) * np.array([[0.299, 0.587, 0.114]]))
        brightness = np.full((3, 1), 115 * (1 - contrast) + random.uniform(-9, 9) * look.light)
        image = cv2.transform(image, np.array(look.gain)[:, None] * np.hstack([mix, brightness]))
        x, y = random.randrange(512), random.randrange(512)
        grain = cv2.copyMakeBorder(_grain()[y:, x:], 0, self.height, 0, self.width, cv2.BORDER_WRAP)[: self.height, : self.width]
        return cv2.addWeighted(image, 1, grain, look.grain / 32, -4 * look.grain)


class _Street:
    """A street along z: its plan, the things on it and the shadows that they throw. Sides are -1 (left) and 1 (right)."""

    def __init__(self, look: Look, random: Random, features: list[str], width: int) -> None:
        self.look, self.random, self.features = look, random, features
        self.lanes = random.choice((1, 1, 2))
        kerb = self.lanes * _LANE + random.choice((0.3, 2.3))
        self.lines = {"middle": 0.0, "kerb": kerb, "walk": kerb + random.uniform(2.4, 3.8)}
        self.gap = {side: 0 if random.random() < look.city else random.choice((8, 8, 30)) for side in (-1, 1)}  # between houses
        x = (random.randrange(self.lanes) + 0.5) * _LANE + random.uniform(*look.side)
        self.view = _View(look, random, min(max(x, -kerb), self.lines["walk"] - 0.8), width)
        azimuth = math.radians(random.uniform(-150, 150))
        self.shadow = -1.15 * np.array([math.sin(azimuth), 0, math.cos(azimuth)])  # of 1 m
        self.things: list[tuple] = []  # distance, function that draws, its arguments
        self.shadows: list[Colour | tuple[float, ...]] = []  # x, z, width, length, height
        self.taken: list[Colour] = []  # x, z, radius
        self.stop = random.uniform(11, 28)  # where the zebra and the traffic lights are
        self.furnish()

    def furnish(self) -> None:
        """Place what this image must show, then all that lines a street."""
        random, look = self.random, self.look
        for name in self.features:
            side, z = (-1, random.uniform(26, 36)) if name == "train" else (random.choice((-1, 1)), random.uniform(15, 26))
            if name in ("bus", "truck", "train"):
                self.vehicle(name, side * _LANE / 2, z, side)
            for side in (-1, 1) if name in ("bicycle", "motorcycle") else ():
                self.vehicle(name, side * (self.lanes * _LANE - random.uniform(0.5, 2)), random.uniform(7.5, 17), side)
        fences, first = [name for name in self.features if name in ("fence", "wall")], random.choice((-1, 1))
        signal = random.choice(("halt", "go", ""))
        for side in (first, -first):
            barrier = fences.pop() if fences else random.choice(("fence", "wall", "")) if self.gap[side] else ""
            if signal:
                self.thing(signal, side * (self.lines["kerb"] + 0.5), self.stop, side, "traffic light")
            for what, line, beyond, gap, chance, amount in _PLAN:
                z = 3 + random.uniform(0, gap[1])
                while z < 70:
                    x = side * (self.lines[line] + random.uniform(*beyond))
                    if random.random() < chance * getattr(look, amount, 1.0):
                        self.place(what if what != "barrier" else barrier, side, x, z)
                    z += random.uniform(*gap)

    def place(self, what: str, side: int, x: float, z: float) -> None:
        """Place something of the plan at `x`, `z` on one side of the street."""
        random, look = self.random, self.look
        if what == "traffic":
            kind = random.choices(("car", "bicycle", "motorcycle", "bus", "truck"), (1, look.cycles / 2, look.cycles / 2, 0.04, 0.06))[0]
            if kind not in look.absent:
                self.vehicle(kind, side * _LANE * (random.randrange(self.lanes) + 0.5) + random.uniform(-0.5, 0.5), z, side)
        elif what == "parked" and abs(x) > self.lanes * _LANE:
            self.vehicle("car", x, z, side)
        elif what == "person":
            x = random.uniform(-1, 1) * abs(x) if random.random() < 0.15 else x
            if self.free(x, z, 0.4):
                self.shadows.append((x, z, 0.5, 0.5, 1.6))
                self.thing(what, x, z, random.choice((1, -1, 0.4, -0.4)), what, random.uniform(0.83, 1.07))
        elif what == "tree":
            tall = random.uniform(4.5, 8.5)
            self.shadows.append((x, z, tall * 0.4, tall * 0.4, tall))
            self.thing("trunk", x, z + 0.01, side, "vegetation", tall)
            self.things.append((self.view.distance(x, z), self.view.crown, x, z, tall, random.randrange(99)))
        elif what in ("fence", "wall"):
            self.things.append((self.view.distance(x, z + 4.5) + 1, self.view.barrier, what, x, z))
        elif what == "traffic sign":
            self.thing(random.choice(("ban", "warning", "duty")), x, z, 1, what)
        elif what == "pole":
            self.thing("lamp post", x, z, side, what)

    def free(self, x: float, z: float, radius: float) -> bool:
        """Reserve a disc of the street, unless something stands there or the camera does."""
        if self.view.distance(x, z) < radius + 2 or any(math.hypot(x - a, z - b) < radius + r for a, b, r in self.taken):
            return False
        self.taken.append((x, z, radius))
        return True

    def thing(self, name: str, x: float, z: float, side: float, code: str, size: float = 1.0) -> None:
        """Place a model in random colours that heads as the traffic on that side does."""
        colours = {part: self.random.choice(choices) for part, choices in _COLOURS.items()}
        if name == "car":
            colours["paint"] = self.random.choice(self.look.cars)
        if side > 0:  # seen from behind
            colours |= {"face": colours["hair"], "lamp": colours["tail"]}
        heading = (1 - side) * math.pi / 2
        self.things.append((self.view.distance(x, z), self.view.model, name, x, z, heading, colours, CODES[code], size))

    def vehicle(self, kind: str, x: float, z: float, side: float) -> None:
        """Place a vehicle and its shadow if there is room."""
        width, length, height = _SIZES.get(kind, (0.5, 1.7, 1.6))
        if self.free(x, z, 2.5 if kind == "car" else length / 2):
            self.shadows.append((x, z, width, length, height))
            self.thing(kind, x, z, side, kind)
            if kind not in _SIZES:
                self.thing("rider", x, z - 0.01, side, "rider")

    def sky(self) -> None:
        """Fill the picture with sky and clouds down to the horizon."""
        view, look, random = self.view, self.look, self.random
        rows, (top, low) = int(np.clip(view.horizon + 0.06 * view.width, 1, view.height)), np.array(look.sky, np.float32)
        sky = np.repeat(top + np.linspace(0, 1, rows // 3 + 1, dtype=np.float32)[:, None, None] * (low - top), view.width // 3, 1)
        x, y = random.randrange(300), random.randrange(60)
        sheet = cv2.resize(_noise(60, 256, 1024, 1.6)[y : y + 150, x : x + 500], sky.shape[1::-1])
        cover = np.clip((sheet - 0.7 + 0.9 * look.clouds) * 0.75, 0, 0.85 if look.clouds else 0)[..., None]
        sky += cover * ((low * 0.8 if view.night else np.float32(252)) - sky)
        view.image[:rows] = cv2.resize(sky.astype(np.uint8), (view.width, rows))

    def ground(self) -> None:
        """Find the place on the ground that each pixel below the horizon shows, and paint it with shadows, light and haze."""
        view, look = self.view, self.look
        first = int(np.clip(view.horizon - 0.06 * view.width, 0, view.height - 1))
        u = (np.arange(view.width, dtype=np.float32) - view.width / 2) / view.focal
        v = (view.height / 2 - np.arange(first, view.height, dtype=np.float32)[:, None]) / view.focal
        side, down, ahead = (row[0] * u + (row[1] * v + row[2]) for row in view.axes.astype(np.float32))
        depth = np.float32(view.position[1]) / np.maximum(-down, 1e-3)
        x, z = np.clip(np.float32(view.position[0]) + depth * side, -190, 190), np.minimum(depth * ahead, 1000)
        across = self.across()
        codes = across.take((x * 50 + 10000).astype(np.int16))
        if _DASHED in across:
            codes[codes == _DASHED] = np.where(z[codes == _DASHED] % 8 < 4, CODES["lane marking"], CODES["road"])
            zebra = (z > self.stop + 1) & (z < self.stop + 3.6) & (abs(x) < self.lanes * _LANE - 0.3) & (x % 1 < 0.5)
            codes[zebra] = CODES["lane marking"]
        palette = np.full((256, 3), 224, np.float32)
        for name, colour in (("road", look.road), ("sidewalk", look.walk), ("terrain", look.soil), ("kerb", look.walk)):
            palette[CODES[name]] = colour
        clear = np.exp(depth / -look.haze)
        light = (look.light + (0.6 * np.exp(depth / -14) if view.night else 0)) * clear * (1 - self.darkness()[first:] / np.float32(255))
        if look.texture:
            grain = cv2.remap(_noise(1, 256, 256, 0.6), x * 32, z * 32, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
            light *= 1 + 0.14 * grain * np.exp(depth / -18)
        haze = cv2.merge([np.float32(part) * (1 - clear) for part in look.sky[1]])
        painted = cv2.add(cv2.multiply(palette.take(codes, 0), cv2.merge([light] * 3)), haze, dtype=cv2.CV_8U)
        for canvas, new in ((view.image, painted), (view.codes, codes)):
            cv2.copyTo(new, (down < 0).view(np.uint8), canvas[first:])

    def across(self) -> np.ndarray:
        """Codes of the ground from x = -200 to 200 m in steps of 2 cm."""
        codes = np.full(20000, CODES["sidewalk" if "terrain" in self.look.absent else "terrain"], np.uint8)
        ends = [self.lines["walk"] + (0 if gap else 16) for gap in self.gap.values()]
        kerb, edge = self.lines["kerb"], self.lanes * _LANE
        strips = [(-ends[0], ends[1], "sidewalk"), (-kerb - 0.22, kerb + 0.22, "kerb"), (-kerb, kerb, "road")]
        marked = self.random.random() < self.look.marks
        strips += [(x - 0.08, x + 0.08, "lane marking") for x in (0.15 - edge, edge - 0.15) if marked]
        for start, stop, name in strips:
            codes[round(start * 50) + 10000 : round(stop * 50) + 10000] = CODES[name]
        for lane in range(1 - self.lanes, self.lanes) if marked else ():
            codes[round(lane * _LANE * 50) + 9995 :][:10] = _DASHED
        return codes

    def darkness(self) -> np.ndarray:
        """Shadow 0..255 on the ground, (H, W): contact shadows always, cast shadows when the sun shines."""
        view, plans = self.view, np.array(self.shadows).reshape(-1, 1, 5)
        corners, dark = np.zeros((len(plans), 8, 3)), np.zeros((view.height, view.width), np.uint8)
        corners[..., ::2] = plans[..., :2] + plans[..., 2:4] / 2 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)] * 2)
        corners[:, 4:] += plans[..., 4:] * self.shadow
        outlines, depths = view.project(corners)
        for outline in outlines[depths.min(1) > 0.6]:
            cv2.fillConvexPoly(dark, cv2.convexHull(outline), 235 * self.look.sun, cv2.LINE_8, 4)
            cv2.fillConvexPoly(dark, outline[:4], 165, cv2.LINE_8, 4)
        return cv2.GaussianBlur(dark, (5, 5), 0)

    def houses(self) -> None:
        """Close the view far away, and paint the houses of both sides from far to near."""
        random, look, view = self.random, self.look, self.view
        tops = [(x + dx, y, 180) for x, y in [(x, random.uniform(9, 30)) for x in range(-232, 232, 16)] for dx in (0, 16)]
        view.fill(np.array([[(-232, 0, 180), *tops, (232, 0, 180)]]), view.lit(look.walls[0], 120, 0.75), CODES["building"])
        for side in (-1, 1):
            start, plots = -3.0, []
            while start < _FAR:
                length = random.uniform(9, 20)
                plots.append((start, length))
                start += length + random.uniform(0.4, 1.6) * self.gap[side]
            for start, length in reversed(plots):
                x, wall = side * (self.lines["walk"] + 0.4 + 0.4 * self.gap[side]), random.choice(look.walls)
                origin, up = np.array((x, 0, start)), (0, random.randint(*look.floors) * 3.1 + 2, 0)
                if start > 0.5:
                    self.house(origin, np.array([(side * 11, 0, 0), up]), wall, 0.85)
                self.house(origin, np.array([(0, 0, length), up]), wall, 1 + side * look.sun * self.shadow[0] / 3)

    def house(self, origin: np.ndarray, span: np.ndarray, wall: Colour, shade: float) -> None:
        """Paint one face of a house: rows of windows, of which some are lit at night."""
        random, view = self.random, self.view
        depth = max(view.distance(origin[0], max(origin[2], 3)), 5)
        bays, floors = round(abs(span[0]).sum() / random.choice((2.5, 3))), round(span[1, 1] / 3.1)
        view.fill(origin + _cells(bays, 1) @ span, view.lit(wall, depth, shade), CODES["building"])
        if depth > 80:
            return
        panes = origin + _cells(bays, floors, random.choice((0.45, 0.55, 0.65)), random.choice((0.5, 0.6))) @ span
        bright = np.array(random.choices((True, False, False), k=bays * floors))
        view.fill(panes[~bright], view.lit((46, 56, 70), depth, shade))
        view.fill(panes[bright], (236, 186, 106) if view.night else view.lit((96, 112, 130), depth, shade))
