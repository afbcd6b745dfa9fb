"""Procedural street scenes that stand in for the real data sets.

A scene is a street in metres, x to the right, y up, z ahead. It is seen by a pinhole camera and painted from back to front into the
image and the label map at once. Shapes are data: vehicles are profiles with marks on their faces, what is thin is made of strokes, and
ground, houses and barriers are cells of planes. The six looks (`stand_in_looks`) differ in camera, light, materials and density.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from random import Random

import cv2
import numpy as np

from pin_memory.domains.classes import CLASSES, IGNORE
from pin_memory.domains.stand_in_looks import LOOKS, Colour, Glow, Look, Range, develop, noise

__all__ = ["CODES", "DETAILS", "LOOKS", "Scene", "draw_scene", "train_ids"]

DETAILS = ("lane marking", "kerb", "licence plate", "ego vehicle", "rail track", "billboard", "autorickshaw")
"""Things that only some data sets label apart; in a code map they follow the 19 classes."""

CODES = {name: code for code, name in enumerate(CLASSES + DETAILS)}
"""Code of each class and detail."""

_NEAREST_CLASS = {"lane marking": "road", "kerb": "sidewalk", "licence plate": "car"}
_FEATURES = (
    ("bicycle", "fence", "train"),
    ("bus", "motorcycle", "wall"),
    ("bicycle", "fence", "truck"),
    ("crossing", "motorcycle", "wall"),
)
"""What an image holds besides the usual, in turn, so that few images hold all classes while the rare ones stay rare."""

_LANE, _NEAR, _FAR = 3.4, 0.4, 130.0  # metres: width of a lane, where polygons are cut, end of the street
_SIGNS = ("ban", "warning", "duty", "priority", "guide")
_PLAN: tuple[tuple[str, str, Range, Range, Range, float, str], ...] = (
    # what is placed along both sides, beyond which line by how much, first z, gaps, chance, and what of the look multiplies it
    ("traffic", "middle", (0, 0), (7, 18), (5, 10), 1.0, "traffic"),
    ("parked", "road", (-1.1, -1.1), (2, 8), (5.6, 5.6), 0.9, "traffic"),
    ("lamp post", "kerb", (0.5, 0.5), (6, 20), (18, 30), 1.0, ""),
    ("sign", "kerb", (0.5, 0.5), (8, 14), (14, 26), 0.8, ""),
    ("tree", "kerb", (1.0, 1.2), (9, 20), (9, 18), 0.6, ""),
    ("billboard", "walk", (0.5, 0.5), (12, 30), (99, 99), 0.3, ""),
    ("person", "kerb", (0.6, 2.4), (4, 9), (2, 5), 0.4, "crowd"),
    ("left there", "kerb", (0.6, 1.2), (7, 20), (8, 20), 0.3, "cycles"),
    ("barrier", "walk", (0.15, 0.15), (3, 7), (9, 9), 1.0, ""),
    ("garden", "front", (-1.0, -0.8), (7, 12), (6, 12), 1.0, ""),
)

# Vehicles: length, width, height, narrowing of the roof; axles (shares of half the length); radius of wheels; profile of points z,y with
# the material of the edge between; marks of sides, front and rear (these mirrored) from corner to corner or by all corners, in shares.
_FRONT, _REAR = (f"trim -.95,.12 .95,.3; {lamp} .6,.4 .93,.53; plate -.18,.26 .18,.36" for lamp in ("lamp", "tail"))
_ENDS = "glass -.9,.5 .9,.82; trim -.97,.12 .97,.2; {} .65,.23 .92,.3; plate -.17,.2 .17,.25"
_VEHICLES: dict[str, tuple[tuple[float, ...], tuple[float, ...], float, tuple[str, ...]]] = {
    "sedan": ((4.6, 1.8, 1.42, 0.2), (-0.62, 0.64), 0.31, (
        "-1,.15 paint -1,.6 paint -.72,.67 glass -.44,1 roof .08,1 glass .42,.67 paint .95,.56 paint 1,.15",
        "glass -.56,.69 -.4,.94 -.16,.94 -.16,.69; glass -.11,.69 -.11,.94 .05,.94 .29,.69; trim -.97,.15 .97,.25", _FRONT, _REAR)),
    "hatch": ((4.2, 1.85, 1.7, 0.2), (-0.62, 0.64), 0.33, (
        "-1,.15 paint -1,.58 glass -.8,1 roof .1,1 glass .48,.66 paint .95,.54 paint 1,.15",
        "glass -.86,.66 -.72,.94 -.2,.94 -.2,.66; glass -.14,.66 -.14,.94 .07,.94 .34,.66; trim -.97,.15 .97,.25", _FRONT, _REAR)),
    "autorickshaw": ((2.7, 1.35, 1.75, 0.15), (-0.55, 0.7), 0.27, (
        "-1,.16 paint -.98,.5 accent -.9,1 accent .3,1 glass .74,.55 paint .95,.42 paint 1,.16",
        "accent -.93,.55 -.9,1 .3,1 .62,.6; dark -.55,.58 .3,.92; dark -.2,.25 .35,.6", _FRONT, _REAR)),
    "bus": ((11.0, 2.5, 3.1, 0.0), (-0.58, 0.56), 0.48, (
        "-1,.11 paint -1,1 roof .97,1 paint 1,.4 paint 1,.11",
        "accent -1,.11 1,.3; dark -.96,.46 .95,.83" + "".join(f"; glass {z / 100},.48 {z / 100 + 0.24},.81" for z in range(-95, 90, 27)),
        _ENDS.format("lamp") + "; sign -.7,.86 .7,.96", _ENDS.format("tail"))),
    "truck": ((7.7, 2.5, 3.5, 0.0), (-0.76, -0.47, 0.76), 0.5, (
        "-1,.27 accent -1,1 roof .44,1 accent .44,.78 roof .95,.78 paint 1,.4 paint 1,.13 trim .5,.13 trim .44,.27",
        "accent -1,.27 .44,1; trim -.98,.17 .5,.27; glass .62,.46 .92,.7; white -.8,.55 .2,.75",
        "glass -.9,.42 .9,.68; trim -.95,.13 .95,.22; lamp .62,.24 .92,.31",
        "trim -.95,.14 .95,.27; dark -.02,.28 .02,.98; tail .68,.17 .95,.24; plate -.2,.18 .2,.25")),
    "train": ((26.0, 2.7, 3.6, 0.0), (), 0.0, (
        "-1,.1 paint -1,1 roof .96,1 paint 1,.55 paint 1,.1", "trim -1,.1 1,.22; accent -1,.22 1,.34; dark -.35,0 -.33,1; dark .33,0 .35,1"
        + "".join(f"; glass {z / 100},.48 {z / 100 + 0.13},.8" for z in range(-97, 90, 17)), _ENDS.format("lamp"), _ENDS.format("tail"))),
}  # fmt: skip

# What is thin: strokes of a material, a thickness in metres (0: a filled polygon) and points x,y,z, or "o" and y,z,radius of a wheel;
# "=" mirrors them, "~" turns them, too.
_SIGNAL = "pole .16 0,0,0 0,3.3,0; case .42 0,2.5,-.05 0,3.1,-.05; dim .22 0,3.14,-.1; dim .22 0,2.8,-.1; dim .22 0,2.46,-.1; "
_SPRITES = {
    "person": "~trousers .16 .1,.92,0 .11,.5,-.08 .11,.06,-.27; ~shirt .11 .2,1.4,0 .26,1.14,.1; ~face .09 .26,1.12,.1 .26,.9,.2;"
    "shirt .36 0,1.06,0 0,1.27,0; face .2 0,1.6,.03; hair .19 0,1.67,0",
    "rider": "=trousers .17 .13,.98,-.22 .16,.7,.14 .14,.32,-.05; =shirt .11 .2,1.4,0 .27,1.18,.2 .27,1.06,.44;"
    "shirt .38 0,1.06,-.2 0,1.3,-.06; face .21 0,1.63,.08; hair .23 0,1.69,.05",
    "bicycle": "air 0 0,.34,-.53 0,.2,0 0,.34,.53 0,.95,.38 0,.86,-.2; tyre .055 o .34,-.53,.34; tyre .055 o .34,.53,.34;"
    "paint .05 0,.34,-.53 0,.3,-.05 0,.86,.38 0,.86,-.2 0,.3,-.05; paint .05 0,.34,.53 0,.95,.38; tyre .05 -.26,1,.42 .26,1,.42;"
    "tyre .13 0,.93,-.3 0,.93,-.14",
    "motorcycle": "tyre .14 o .31,-.62,.24; tyre .14 o .31,.66,.24; paint .09 0,.31,.66 0,.9,.35; tyre .36 0,.45,-.25 0,.5,.15;"
    "paint .3 0,.74,-.1 0,.78,.25; tyre .2 0,.76,-.65 0,.74,-.1; tyre .06 -.35,1,.36 .35,1,.36; lamp .17 0,.8,.5; tail .14 0,.74,-.75",
    "trunk": "bark .06 0,0,0 0,.5,0; bark .035 -.12,.6,0 0,.4,0 .12,.6,0",
    "lamp post": "pole .16 0,0,0 0,7,0 -1.7,7.2,0; pole .14 -1.7,7.2,0 -2.2,7.2,0; bulb .16 -1.8,7.12,0 -2.2,7.12,0",
    "halt": _SIGNAL + "red .24 0,3.14,-.12",
    "go": _SIGNAL + "green .24 0,2.46,-.12",
    "ban": "pole .09 0,0,0 0,2.4,0; crimson .84 0,2.4,-.05; white .56 0,2.4,-.1",
    "warning": "pole .09 0,0,0 0,2.4,0; crimson 0 -.5,2.1,-.05 .5,2.1,-.05 0,3,-.05; white 0 -.3,2.2,-.1 .3,2.2,-.1 0,2.75,-.1",
    "duty": "pole .09 0,0,0 0,2.4,0; white .88 0,2.4,-.05; blue .8 0,2.4,-.07; white .12 0,2.2,-.1 0,2.6,-.1",
    "priority": "pole .09 0,0,0 0,2.4,0; white 0 0,2,0 .5,2.5,0 0,3,0 -.5,2.5,0; yellow 0 0,2.1,-.1 .4,2.5,-.1 0,2.9,-.1 -.4,2.5,-.1",
    "guide": "pole .12 -.6,0,0 -.6,3,0; pole .12 .6,0,0 .6,3,0; forest 0 -1.2,2.2,-.05 1.2,2.2,-.05 1.2,3.3,-.05 -1.2,3.3,-.05;"
    "white .08 -.9,3,-.1 .7,3,-.1; white .08 -.9,2.6,-.1 .3,2.6,-.1",
    "billboard": "pole .25 0,0,0 0,3.6,0; accent 0 -2,3.4,0 2,3.4,0 2,5.8,0 -2,5.8,0; yellow 1.3 .9,4.6,-.1; white .3 -1.5,5,-.1 0,5,-.1",
}  # fmt: skip
_COLOURS: dict[str, Colour] = {
    "trim": (46, 46, 50), "tyre": (24, 24, 26), "hub": (128, 128, 132), "dark": (16, 16, 18), "plate": (236, 232, 200),
    "case": (26, 30, 28), "dim": (52, 50, 48), "pole": (112, 114, 116), "bark": (88, 70, 54), "white": (240, 240, 238),
    "crimson": (200, 20, 26), "blue": (24, 74, 176), "yellow": (240, 196, 40), "forest": (20, 110, 60), "lamp": (255, 236, 190),
    "tail": (255, 40, 24), "air": (0, 0, 0), "sign": (255, 190, 60), "bulb": (255, 206, 130), "red": (255, 44, 30), "green": (40, 235, 120),
}  # fmt: skip
_CHOICES: dict[str, tuple[Colour, ...]] = {
    "shirt": ((170, 40, 40), (40, 60, 130), (230, 225, 215), (40, 40, 44), (60, 110, 80), (210, 160, 60), (120, 70, 110), (90, 130, 170)),
    "trousers": ((30, 32, 44), (50, 58, 84), (86, 76, 62), (24, 24, 26)), "face": ((222, 176, 146), (176, 124, 92), (116, 78, 56)),
    "hair": ((34, 26, 22), (92, 66, 40), (60, 56, 54)), "paint": ((190, 36, 32), (30, 60, 140), (214, 210, 200), (220, 180, 50)),
    "accent": ((206, 40, 34), (230, 226, 218), (236, 190, 50), (30, 80, 150), (60, 140, 110), (40, 90, 170), (90, 130, 60)),
}  # fmt: skip
_GLOW = {"lamp": 0.2, "tail": 0.11, "sign": 0.1, "bulb": 0.32, "red": 0.2, "green": 0.2}  # radius in metres at night
_CODE_OF = {"plate": CODES["licence plate"], "pole": CODES["pole"]} | dict.fromkeys(("case", "dim", "red", "green"), CODES["traffic light"])
_INNER = ("glass", "lamp", "tail", "sign", "hub", "accent", "trim", "white")  # marks of a vehicle within its outline


@dataclass(frozen=True)
class Scene:
    """One drawn picture."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    label: np.ndarray  # (H, W) uint8 train ids, 255 for what the look's data set ignores
    detail: np.ndarray  # (H, W) uint8: the train id, or the code (`CODES`) of one of the `DETAILS`


def draw_scene(look: str, seed: int, index: int, width: int = 480) -> Scene:
    """Draw one picture; the same arguments give the same bytes, whatever was drawn before.

    Args:
        look: A key of `LOOKS`.
        seed: Seed of the set.
        index: Number of the picture in its set; it also decides which rare things are shown.
        width: Width in pixels (some cameras of look "M" are narrower).
    """
    random, chosen = Random(f"{seed}/{look}/{index}"), LOOKS[look].vary(index)
    street = _Street(chosen, random, [name for name in _FEATURES[index % len(_FEATURES)] if name not in chosen.absent], width)
    street.sky()
    street.ground()
    street.houses()
    for _, draw in sorted(street.things, key=lambda thing: -thing[0]):
        draw()
    street.windscreen()
    view = street.view
    return Scene(develop(view.image, view.glows, chosen, random), train_ids(chosen)[view.codes], view.codes)


def train_ids(look: Look) -> np.ndarray:
    """Table (256,) uint8 from code to the train id that the look's data set yields."""
    table = np.full(256, IGNORE, np.uint8)
    table[: len(CLASSES)] = range(len(CLASSES))
    for detail, name in _NEAREST_CLASS.items():
        if detail not in look.ignored:
            table[CODES[detail]] = CLASSES.index(name)
    return table


class _Model:
    """Points (P, 3) of a shape in pieces of a material and a thickness, with outward normals (0 where both sides are seen)."""

    def __init__(self, pieces: Sequence[tuple[str, float, np.ndarray, tuple[float, ...]]]) -> None:
        ends = np.cumsum([len(points) for _, _, points, _ in pieces]).tolist()
        self.points, self.normals = np.concatenate([piece[2] for piece in pieces]), np.array([piece[3] for piece in pieces], float)
        self.pieces = [(*piece[:2], end - len(piece[2]), end) for piece, end in zip(pieces, ends, strict=True)]


def _parse(text: str) -> Iterable[tuple[list[str], np.ndarray]]:
    """Split a table's text into the words before the numbers and the points."""
    for piece in text.split(";"):
        words = piece.split()
        yield [word for word in words if "," not in word], np.array([word.split(",") for word in words if "," in word], float)


def _wheel(y: float, z: float, radius: float, x: float = 0.0) -> np.ndarray:
    angles = np.arange(13) * math.pi / 6
    return np.stack([np.full(13, x), np.maximum(y + radius * np.sin(angles), 0), z + radius * np.cos(angles)], 1)


@cache
def _sprite(name: str) -> _Model:
    pieces = []
    for (material, thickness, *wheel), points in _parse(_SPRITES[name]):
        if wheel:  # labels count what is seen between the spokes
            pieces.append(("air", 0.0, _wheel(*points[0]), (0, 0, 0)))
        corners = _wheel(*points[0]) if wheel else np.repeat(points, 2, 0) if len(points) == 1 else points
        for mirror in {"=": ((1, 1, 1), (-1, 1, 1)), "~": ((1, 1, 1), (-1, 1, -1))}.get(material[0], ((1, 1, 1),)):
            pieces.append((material.lstrip("=~"), float(thickness), corners * mirror, (0, 0, 0)))
    return _Model(pieces)


@cache
def _vehicle(name: str) -> _Model:
    (length, width, height, narrow), axles, radius, (profile, *marks) = _VEHICLES[name]
    pieces: list[tuple[str, float, np.ndarray, tuple[float, ...]]] = []

    def face(material: str, points: list[tuple[float, float, float]], normal: tuple[float, ...]) -> None:
        places = [(x * width / 2 * (1 - narrow * max(0, y - 0.62) / 0.38), y * height, z * length / 2) for x, y, z in points]
        pieces.append((material, 0.0, np.array(places), normal))

    [(materials, outline)] = _parse(profile)
    for a, b, material in zip(outline, outline[1:], materials, strict=False):
        rise, run = (b - a)[::-1] * (height, length / 2) / math.hypot((b[0] - a[0]) * length / 2, (b[1] - a[1]) * height)
        for part, margin in (("paint", 0.0), (material, 0.1)) if material == "glass" else ((material, 0.0),):
            (z0, y0), (z1, y1), x = a + margin * (b - a), b - margin * (b - a), 1 - margin
            face(part, [(-x, y0, z0), (x, y0, z0), (x, y1, z1), (-x, y1, z1)], (0, run, -rise))
    for side in (-1, 1):
        face("paint", [(side, y, z) for z, y in outline], (side, 0, 0))
        for end, text in zip((0, 1, -1), marks, strict=True):
            for (material,), points in _parse(text):
                (u0, v0), (u1, v1) = points[0], points[-1]
                corners = points.tolist() if len(points) > 2 else [(u0, v0), (u1, v0), (u1, v1), (u0, v1)]
                face(material, [(side * u, v, end) if end else (side, v, u) for u, v in corners], (0 if end else side, 0, end))
        for material, scale in (("dark", 1.2), ("tyre", 1.0), ("hub", 0.55)):
            wheels = [_wheel(radius, axle * length / 2, radius * scale, side * width / 2) for axle in axles]
            pieces += [(material, 0.0, wheel, (side, 0, 0)) for wheel in wheels]
    return _Model(pieces)


@cache
def _cells(columns: int, rows: int, wide: float = 1.0, high: float = 1.0, top: float = 1.0, bottom: float = 0.0) -> np.ndarray:
    """Rectangles (columns * rows, 4, 2) in the middle of the cells of a grid, in shares of a plane."""
    corner = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 1, 2)
    fill = np.array((wide, high))
    cells = (corner + (1 - fill) / 2 + fill * [(0, 0), (1, 0), (1, 1), (0, 1)]) / (columns, rows)
    return cells * (1, top - bottom) + (0, bottom)


@cache
def _foliage(kind: str, variety: int) -> tuple[np.ndarray, np.ndarray]:
    """Brightness and mask, (112, 112) uint8 each, of a tree crown or bush: "round", "fir", "bare" or "bush"."""
    y, x = np.mgrid[-1:1:112j, -1:1:112j].astype(np.float32)
    rough, fine = noise(10 + variety, 112, 112, 1.3), noise(30 + variety, 112, 112, 0.7)
    mask = {
        "round": x**2 + y**2 + 0.2 * rough + 0.07 * fine < 0.72,
        "bush": x**2 + (0.5 * y - 0.5) ** 2 + 0.12 * rough + 0.05 * fine < 0.72,
        "fir": np.abs(x) + 0.05 * fine < (y + 1) * 0.45 * (0.8 + 0.35 * np.mod((y + 1) * 3, 1)),
        "bare": (np.abs(noise(50 + variety, 112, 112, 1.5)) < 0.12) & (x**2 + y**2 + 0.1 * rough < 0.8),
    }[kind]
    return np.clip(118 - 44 * y + 26 * rough - 22 * x + 26 * fine, 0, 255).astype(np.uint8), mask.astype(np.uint8) * 255


class _View:
    """Image and code map seen by a pinhole camera at `x` metres; what is drawn later covers what was drawn before in both."""

    def __init__(self, look: Look, random: Random, x: float, width: int) -> None:
        scale, aspect = random.choice(look.sizes)
        self.look, self.height, self.width = look, round(width * scale * aspect), round(width * scale)
        self.image = np.zeros((self.height, self.width, 3), np.uint8)
        self.codes = np.full((self.height, self.width), CODES["sky"], np.uint8)
        self.glows: list[Glow] = []
        self.night, self.edge = look.light < 0.7, cv2.LINE_AA if look.texture else cv2.LINE_8
        self.focal, eye = random.uniform(*look.focal) * max(self.width, 0.72 * self.height), random.uniform(*look.eye)
        yaw, pitch, roll = (math.radians(random.uniform(*span)) for span in (look.yaw, look.pitch, look.roll))
        pitch += 0.045 * max(eye - 2.2, 0)  # who looks from above looks down
        self.position = np.array([x, eye, 0.0])
        self.axes = _turn(0, yaw, 0) @ _turn(pitch, 0, 0) @ _turn(0, 0, roll)
        self.horizon = self.height / 2 - self.focal * math.tan(pitch)

    def see(self, points: np.ndarray) -> np.ndarray:
        """Turn world points (..., 3) into camera coordinates: right, up, depth."""
        return (points - self.position) @ self.axes

    def pixels(self, seen: np.ndarray) -> np.ndarray:
        """Project camera coordinates (..., 3) to pixels (..., 2) with 4 fractional bits."""
        pixels = seen[..., :2] * (16 * self.focal, -16 * self.focal) / seen[..., 2:] + (8 * self.width, 8 * self.height)
        return np.rint(np.minimum(np.maximum(pixels, -2e7), 2e7)).astype(np.int32)

    def distance(self, x: float, z: float) -> float:
        """Distance of a place on the ground from the camera, in metres."""
        return math.hypot(x - float(self.position[0]), z)

    def lit(self, colour: Colour, depth: float, shade: float = 1.0) -> Colour:
        """Light a surface colour and fade it into the haze at `depth` metres."""
        clear, haze = math.exp(-depth / self.look.haze), self.look.sky[1]
        gain = shade * (self.look.light + self.look.beams * math.exp(-depth / 14))
        red, green, blue = (min(a * gain, 255) * clear + b * (1 - clear) for a, b in zip(colour, haze, strict=True))
        return red, green, blue

    def plane(
        self, origin: Colour, across: Colour, up: Colour, colour: Colour | None, code: int | None = None, cells: np.ndarray | None = None
    ) -> bool:
        """Paint the rectangle that `across` and `up` span at `origin`, or `cells` of it; returns whether anything is in view."""
        shares = _cells(1, 1) if cells is None else cells
        return self.fill(np.array(origin) + shares @ np.array([across, up]), colour, code)

    def fill(self, polygons: np.ndarray, colour: Colour | None, code: int | None = None) -> bool:
        """Paint world polygons (k, n, 3): one that reaches behind the camera is cut, among several it is left out."""
        seen = self.see(polygons)
        front = seen[..., 2] > _NEAR
        if len(seen) > 1:
            seen = seen[front.all(1)]
        elif not front.all():
            ahead = np.concatenate([seen[:, 1:], seen[:, :1]], 1)
            rise = ahead[..., 2:] - seen[..., 2:]
            cuts = seen + (_NEAR - seen[..., 2:]) / np.where(rise, rise, 1) * (ahead - seen)
            seen = np.stack([seen, cuts], 2)[np.stack([front, front != (ahead[..., 2] > _NEAR)], 2)][None]
        if not seen.size:
            return False
        outlines = self.pixels(seen)
        if len(outlines) == 1:
            low, high = outlines[0].min(0), outlines[0].max(0)
            if high.min() < 0 or (low > (16 * self.width, 16 * self.height)).any():
                return False
        self.paint(outlines, colour, code)
        return True

    def paint(self, outlines: np.ndarray, colour: Colour | None, code: int | None) -> None:
        """Fill polygons (k, n, 2) of fixed-point pixels in the image and in the code map."""
        if colour is not None:
            cv2.fillPoly(self.image, outlines, colour, self.edge, 4)  # type: ignore[call-overload]
        if code is not None:
            cv2.fillPoly(self.codes, outlines, code, cv2.LINE_8, 4)  # type: ignore[call-overload]

    def model(self, name: str, place: Colour, colours: dict[str, Colour], code: int, size: Colour, sun: np.ndarray) -> None:
        """Draw a model at `place` (x, z, heading; 0 looks down the road), `size` times as wide, high and long, lit by the `sun`."""
        model, turn = (_vehicle if name in _VEHICLES else _sprite)(name), _turn(0, place[2], 0)
        points, normals = (model.points * size) @ turn.T + (place[0], 0, place[1]), model.normals @ turn.T
        seen = self.see(points)
        depth = float(seen[:, 2].mean())
        if seen[:, 2].min() < 2 * _NEAR or np.abs(seen[:, 0]).min() > depth * self.width / self.focal:
            return
        at, metre, shades = self.pixels(seen), self.focal / depth * size[1], (1 - 0.16 * (normals**2).sum(1) + normals @ sun).tolist()
        facing = (normals * (self.position - points[[piece[2] for piece in model.pieces]])).sum(1) >= 0
        lit = cache(lambda material, shade: self.lit(colours[material], depth, shade))
        for i in np.flatnonzero(facing).tolist():
            material, thickness, start, stop = model.pieces[i]
            outline, colour, label = at[start:stop], lit(material, shades[i]), _CODE_OF.get(material, code)
            if self.night and material in _GLOW:
                colour = colours[material]
                self.glows.append((*(outline.mean(0) / 16).tolist(), _GLOW[material] * metre, colour))
            if thickness:
                thick = max(round(thickness * metre), 1)
                cv2.polylines(self.image, [outline], False, colour, thick, self.edge, 4)
                cv2.polylines(self.codes, [outline], False, label, thick, cv2.LINE_8, 4)
            else:
                self.paint(outline[None], None if material == "air" else colour, None if normals[i].any() and material in _INNER else label)

    def crown(self, x: float, z: float, box: tuple[float, float, float], kind: str, variety: int, tint: float) -> None:
        """Paint foliage that faces the camera, `box` being width, height and the height of its middle in metres."""
        seen = self.see(np.array([x, box[2], z]))
        (u, v), metre = self.pixels(seen) / 16, self.focal / float(seen[2])
        width, height = max(round(box[0] * metre), 1), max(round(box[1] * metre), 1)
        left, top = round(u - width / 2), round(v - height / 2)
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + width, self.width), min(top + height, self.height)
        if seen[2] < 1 or x1 <= x0 or y1 <= y0:
            return
        how, part = cv2.INTER_AREA if width < 112 else cv2.INTER_LINEAR, np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        lum, mask = (np.ascontiguousarray(cv2.resize(sheet, (width, height), interpolation=how)[part]) for sheet in _foliage(kind, variety))
        dark, bright = (np.array(self.lit(colour, float(seen[2]), tint)) for colour in self.look.leaves)
        palette = (dark + np.linspace(0, 1, 256)[:, None] * (bright - dark)).astype(np.uint8)[:, None]
        opaque = cv2.medianBlur((mask > 110).view(np.uint8), 3)
        cv2.copyTo(cv2.applyColorMap(lum, palette), opaque, self.image[y0:y1, x0:x1])
        cv2.copyTo(np.full_like(opaque, CODES["vegetation"]), opaque, self.codes[y0:y1, x0:x1])


def _turn(x: float, y: float, z: float) -> np.ndarray:
    return np.asarray(cv2.Rodrigues(np.array([x, y, z], float))[0])


def _scaled(colour: Colour, gain: float) -> Colour:
    return min(colour[0] * gain, 255.0), min(colour[1] * gain, 255.0), min(colour[2] * gain, 255.0)


class _Street:
    """A street along z: its plan, the things on it and the shadows that they throw. Sides are -1 (left) and 1 (right)."""

    def __init__(self, look: Look, random: Random, features: list[str], width: int) -> None:
        self.look, self.random, self.features = look, random, features
        self.lanes, self.barrier = random.choice((1, 1, 2)), ""
        self.cross = random.uniform(24, 42) if "crossing" in features or random.random() < 0.3 else 1e4  # far away: none
        self.gap = {side: 0 if random.random() < look.city else random.choice((8, 8, 30)) for side in (-1, 1)}  # between houses
        road = self.lanes * _LANE + random.choice((0, 2.3))
        self.lines = {"middle": {-1: 0.0, 1: 0.0}, "road": {-1: road, 1: road}, "kerb": {-1: road + 4.6 * ("train" in features), 1: road}}
        self.lines["walk"] = {side: kerb + random.uniform(2.4, 3.8) for side, kerb in self.lines["kerb"].items()}
        self.lines["front"] = {side: self.lines["walk"][side] + random.uniform(0.25, 0.6) * gap + 0.4 for side, gap in self.gap.items()}
        azimuth = math.radians(random.uniform(-150, 150))
        self.sun = np.array([math.sin(azimuth), 0.2, math.cos(azimuth)])
        x = (random.randrange(self.lanes) + 0.5) * _LANE + random.uniform(*look.side)
        self.view = _View(look, random, min(max(x, -road), self.lines["walk"][1] - 0.8), width)
        self.things: list[tuple[float, Callable[[], object]]] = []
        self.shadows: list[tuple[float, float, float, float, float]] = []  # x, z, width, length, height
        self.taken: list[tuple[float, float, float]] = []
        self.furnish()

    def furnish(self) -> None:
        """Place what this image must show, then all that lines a street."""
        random, road = self.random, self.lines["road"]
        for name in self.features:
            if name in ("bus", "truck", "train"):
                side = -1 if name == "train" else random.choice((-1, 1))
                x, z = (-road[-1] - 2.2, random.uniform(30, 46)) if name == "train" else (side * _LANE / 2, random.uniform(15, 26))
                self.vehicle(name, x, z, 0.0 if side > 0 else math.pi)
            for side in (-1, 1) if name in ("bicycle", "motorcycle") else ():
                x = side * (self.lanes * _LANE - random.uniform(0.5, 2))
                self.vehicle(name, x, random.uniform(7.5, 17), 0.0 if side > 0 else math.pi)
        signal, stop = random.choice(("halt", "go", "")), self.cross - 6.5 if self.cross < 99 else random.uniform(14, 30)
        fence = [name for name in self.features if name in ("fence", "wall")]
        first = random.choice((-1, 1))
        for side in (first, -first):
            self.barrier = fence.pop() if fence else random.choice(("fence", "wall", "bush", "", "")) if self.gap[side] else ""
            if signal:
                self.thing(signal, side * (self.lines["kerb"][side] + 0.5), stop, code="traffic light")
            for what, line, beyond, start, gap, chance, amount in _PLAN:
                z = random.uniform(*start)
                while z < 70:
                    if random.random() < chance * getattr(self.look, amount, 1.0) and abs(z - self.cross) > 8:
                        self.place(what, side, side * (self.lines[line][side] + random.uniform(*beyond)), z)
                    z += random.uniform(*gap)

    def place(self, what: str, side: int, x: float, z: float) -> None:
        """Place something of the plan at `x`, `z` on one side of the street."""
        random, look, heading = self.random, self.look, 0.0 if side > 0 else math.pi
        if what == "traffic":
            x = side * _LANE * (random.randrange(self.lanes) + 0.5)
            shares = {
                "car": 1.0,
                "bicycle": look.cycles / 2,
                "motorcycle": look.cycles / 2,
                "bus": 0.04,
                "truck": 0.06,
                "autorickshaw": 0.5 * (look.key == "I"),
            }
            kind = random.choices(list(shares), list(shares.values()))[0]
            if kind not in look.absent:
                self.vehicle(kind, x + random.uniform(-0.5, 0.5), z, heading)
        elif what == "parked" and abs(x) > self.lanes * _LANE:
            self.vehicle("car", x, z, heading)
        elif what == "left there":
            self.vehicle(random.choice(("motorcycle", "bicycle")), x, z, random.uniform(-3, 3), rider=False)
        elif what == "person":
            x = random.uniform(-1, 1) * abs(x) if random.random() < 0.15 else x
            tall, stride = random.uniform(0.83, 1.07), random.uniform(-1.2, 1.2)
            if self.free(x, z, 0.4):
                self.shadows.append((x, z, 0.5, 0.5, 1.6))
                self.thing(what, x, z, random.choice((0, 0.1, 3.0, 3.2, 1.6, -1.6)), size=(tall, tall, tall * stride))
        elif what == "tree" or (what == "garden" and self.gap[side]):
            self.tree(random.choice((*look.trees, *(["bush"] if what == "garden" else []))), x, z)
        elif what == "barrier" and self.barrier:
            self.add(x, z + 4.5, partial(self.draw_barrier, self.barrier, x, z), 1.0)
        elif what == "sign":
            self.thing(random.choice(_SIGNS), x, z, code="traffic sign")
        elif what in ("lamp post", "billboard"):
            self.thing(what, x, z, code="pole" if what == "lamp post" else what, size=(side, 1, 1))

    def add(self, x: float, z: float, draw: Callable[[], object], beyond: float = 0.0) -> None:
        """Note a thing; `beyond` metres are added to the distance by which things are sorted."""
        self.things.append((self.view.distance(x, z) + beyond, draw))

    def free(self, x: float, z: float, radius: float) -> bool:
        """Reserve a disc of the street, unless something stands there or the camera does."""
        if self.view.distance(x, z) < radius + 2 or any(math.hypot(x - a, z - b) < radius + r for a, b, r in self.taken):
            return False
        self.taken.append((x, z, radius))
        return True

    def thing(
        self, name: str, x: float, z: float, heading: float = 0.0, code: str = "", size: Colour = (1, 1, 1), beyond: float = 0.0
    ) -> None:
        """Place a vehicle or something thin, labelled as `code` or by its name, in random colours."""
        colours = _COLOURS | {part: self.random.choice(choices) for part, choices in _CHOICES.items()}
        if name in ("sedan", "hatch"):
            colours["paint"] = self.random.choice(self.look.cars)
        if math.cos(heading) > 0.5:  # seen from behind
            colours |= {"face": colours["hair"], "lamp": colours["tail"]}
        red, green, blue = self.look.sky[1]
        colours |= {"roof": _scaled(colours["paint"], 0.75), "glass": (26 + 0.12 * red, 28 + 0.12 * green, 30 + 0.12 * blue)}
        sun = np.array([0.0, 0.16, 0.0]) + 0.3 * self.look.sun * self.sun
        self.add(x, z, partial(self.view.model, name, (x, z, heading), colours, CODES[code or name], size, sun), beyond)

    def vehicle(self, kind: str, x: float, z: float, heading: float, rider: bool = True) -> None:
        """Place a vehicle and its shadow if there is room; "bicycle" and "motorcycle" with or without a `rider`."""
        name = self.random.choice(("sedan", "hatch")) if kind == "car" else kind
        length, width, height, _ = _VEHICLES[name][0] if name in _VEHICLES else (1.7, 0.5, 1.6, 0)
        if self.free(x, z, min(length / 2, 2.5 if kind == "car" else 99)):
            self.shadows.append((x, z, width, length, height))
            self.thing(name, x, z, heading, kind, beyond=9.0 if kind == "train" else 0.0)
            if rider and name not in _VEHICLES:
                self.thing("rider", x, z - 0.01, heading)

    def tree(self, kind: str, x: float, z: float) -> None:
        """Place a tree or a bush."""
        random, tall = self.random, self.random.uniform(1, 2) if kind == "bush" else self.random.uniform(4.5, 8.5)
        wide, high = {"bush": (1.7, 1.0), "fir": (0.55, 0.9)}.get(kind, (random.uniform(0.6, 0.85), 0.7))
        self.shadows.append((x, z, tall * 0.4, tall * 0.4, tall))
        if kind != "bush":
            self.thing("trunk", x, z + 0.01, code="vegetation", size=(tall, tall, 1))
        box = wide * tall, high * tall, tall * (1 - high / 2)
        self.add(x, z, partial(self.view.crown, x, z, box, kind, random.randrange(6), random.uniform(0.85, 1.1)))

    def draw_barrier(self, kind: str, x: float, z: float) -> None:
        """Draw 9 m of "fence", "wall" or hedge ("bush") along the street, from z on."""
        height = {"fence": 1.5, "wall": 1.9, "bush": 1.3}[kind]
        plane, lit = (
            partial(self.view.plane, (x, 0, z), (0, 0, 9), (0, height, 0)),
            partial(self.view.lit, depth=self.view.distance(x, z + 4)),
        )
        if kind == "fence":
            plane(None, CODES[kind])
            plane(lit((90, 92, 88)), None, np.concatenate([_cells(36, 1, 0.22), _cells(1, 2, 1, 0.12)]))
        elif kind == "wall":
            plane(lit((140, 124, 110)), CODES[kind])
            plane(lit((172, 152, 132)), None, _cells(20, 6, 0.93, 0.86))
            plane(lit((196, 184, 168)), None, _cells(1, 1, top=1.02, bottom=0.94))
        else:
            for i in range(9):
                self.view.crown(x, z + 8 - i, (2.4, height, height / 2), kind, i % 6, 1.0)

    def sky(self) -> None:
        """Fill the picture with sky down to below the horizon."""
        view, look, random = self.view, self.look, self.random
        rows, (top, low) = int(np.clip(view.horizon + 0.06 * view.width, 1, view.height)), np.array(look.sky, np.float32)
        fade = np.linspace(0, 1, rows // 3 + 1, dtype=np.float32)[:, None, None] ** 1.2
        sky = np.repeat(top + fade * (low - top), view.width // 3, 1)  # painted small, for it is smooth
        x, y = random.randrange(300), random.randrange(60)
        sheet = cv2.resize(noise(60, 256, 1024, 1.6)[y : y + 150, x : x + 500], sky.shape[1::-1])
        cover = np.clip((sheet - 0.7 + 0.9 * look.clouds) * 0.75, 0, 0.85 if look.clouds else 0)[..., None]
        sky += cover * ((low * 0.8 if view.night else np.float32(252)) - sky)
        view.image[:rows] = cv2.resize(sky.astype(np.uint8), (view.width, rows))

    def ground(self) -> None:
        """Paint soil, sidewalks, kerbs, carriageway, crossing, rails and markings flat, and then their light and grain."""
        random, look, lines, cross = self.random, self.look, self.lines, self.cross
        walk, road = _scaled(look.walk, random.uniform(0.92, 1.06)), _scaled(look.road, random.uniform(0.9, 1.1))
        soil = "sidewalk" if "terrain" in look.absent else "terrain"
        all_z, both = (-6, _FAR), (-lines["kerb"][-1], lines["kerb"][1])
        self.strip((-400, 400), (-6, 390), walk if soil == "sidewalk" else look.soil, soil)
        for side in (-1, 1):
            kerb, end = side * lines["kerb"][side], side * (lines["walk"][side] if self.gap[side] else lines["front"][side] + 12)
            self.strip((kerb, end), all_z, walk, "sidewalk")
            self.strip((kerb, kerb + side * 0.22), all_z, _scaled(walk, 1.12), "kerb")
        self.strip((-90, 90), (cross - 8, cross + 8), walk, "sidewalk")
        self.strip((-90, 90), (cross - 4.5, cross + 4.5), road, "road")
        self.strip(both, all_z, road, "road")
        if "train" in self.features:
            self.strip((both[0] + 0.3, both[0] + 4.3), all_z, (112, 104, 96), "rail track")
            self.strip((both[0] + 0.9, both[0] + 3.9), all_z, (176, 174, 170), "rail track", _cells(2, 1, 0.08))
        if random.random() < look.marks:
            self.markings(self.lanes * _LANE, double=look.key == "G")
        self.finish()

    def strip(self, x: Range, z: Range, colour: Colour, name: str, cells: np.ndarray | None = None) -> None:
        """Paint a rectangle of the ground, or cells of it, still unlit."""
        self.view.plane((x[0], 0, z[0]), (x[1] - x[0], 0, 0), (0, 0, z[1] - z[0]), colour, CODES[name], cells)

    def markings(self, edge: float, double: bool) -> None:
        """Paint the centre line (a yellow `double` one or dashes), lane dashes, edge lines and a zebra."""
        white, stop = (224, 224, 218), min(self.cross - 9, 110)
        for x in (0.15 - edge, edge - 0.15, *((-0.16, 0.16) if double else ())):
            self.strip((x - 0.07, x + 0.07), (0, stop), white if abs(x) > 1 else (226, 176, 50), "lane marking")
        for lane in range(1 - self.lanes, self.lanes):
            x, rows = lane * _LANE, max(int(stop / 8), 1)
            if lane or not double:
                self.strip((x - 0.09, x + 0.09), (1, 1 + 8 * rows), white, "lane marking", _cells(1, rows, 1, 0.45))
        if self.cross < 99 or self.random.random() < 0.2:
            z = self.cross - 8.6 if self.cross < 99 else self.random.uniform(11, 20)
            self.strip((0.4 - edge, edge - 0.4), (z, z + 2.6), white, "lane marking", _cells(int(edge * 2), 1, 0.5))

    def finish(self) -> None:
        """Give the flat ground its grain, shadows, light and haze, as gains of all pixels below the horizon at once."""
        view, look = self.view, self.look
        first = int(np.clip(view.horizon - 0.06 * view.width, 0, view.height - 1))
        below = np.maximum(np.arange(first, view.height, dtype=np.float32) - np.float32(view.horizon), 1)[:, None]
        away = float(view.position[1]) * view.focal / below
        clear = np.exp(-away / look.haze)
        gain = (look.light + look.beams * np.exp(-away / 14)) * clear * (1 - self.darkness()[first:].astype(np.float32) / 255)
        if look.texture:
            lens = np.array([[view.focal, 0, view.width / 2], [0, -view.focal, view.height / 2 - first], [0, 0, 1]])
            plane = lens @ np.stack([view.axes[0] / 32, view.axes[2] / 32, -view.position @ view.axes], 1)
            grain = cv2.warpPerspective(noise(1, 256, 256, 0.6), plane, gain.shape[::-1], borderMode=cv2.BORDER_WRAP)
            gain *= 1 + grain * (1 + (view.codes[first:] == CODES["terrain"])) * (0.11 * np.exp(-away / 18))
        veil = np.repeat(((1 - clear)[..., None] * np.array(look.sky[1], np.float32)).astype(np.uint8), view.width, 1)
        lit = cv2.multiply(view.image[first:], cv2.merge([cv2.convertScaleAbs(gain, alpha=128)] * 3), scale=1 / 128)
        cv2.copyTo(cv2.add(lit, veil), (view.codes[first:] != CODES["sky"]).view(np.uint8), view.image[first:])

    def darkness(self) -> np.ndarray:
        """Shadow 0..255 on the ground, (H, W): contact shadows always, cast shadows when the sun shines."""
        view, plans = self.view, np.array(self.shadows).reshape(-1, 1, 5)
        corners, dark = np.zeros((len(plans), 8, 3)), np.zeros((view.height, view.width), np.uint8)
        corners[..., ::2] = plans[..., :2] + plans[..., 2:4] / 2 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)] * 2)
        corners[:, 4:] -= 1.15 * plans[..., 4:] * self.sun * (1, 0, 1)
        seen = view.see(corners)
        for outline in view.pixels(seen[(seen[..., 2].min(1) > 0.6) & (seen[..., 2].min(1) < 60)]):
            cv2.fillConvexPoly(dark, cv2.convexHull(outline), 235 * self.look.sun, cv2.LINE_8, 4)
            cv2.fillConvexPoly(dark, outline[:4], 165, cv2.LINE_8, 4)
        return cv2.GaussianBlur(dark, (5, 5), 0)

    def houses(self) -> None:
        """Close the view far away, and paint the houses of both sides from far to near."""
        random, look = self.random, self.look
        for name, tall, z, colour in (("building", (9, 30), 180, random.choice(look.walls)), ("vegetation", (4, 10), 150, look.leaves[1])):
            tops = [(x + dx, y, z) for x, y in [(x, random.uniform(*tall)) for x in range(-232, 232, 16)] for dx in (0, 16)]
            self.view.fill(np.array([[(-232, 0, z), *tops, (232, 0, z)]]), self.view.lit(colour, 0.7 * z, 0.75), CODES[name])
        for side in (-1, 1):
            start, plots = -12.0, []
            while start < _FAR:
                length = random.uniform(9, 20) * (1 if start < 50 else 1.6)
                if start + length < self.cross - 9 or start > self.cross + 9:
                    plots.append((start, length))
                start += length + random.uniform(0.4, 1.6) * self.gap[side]
            for start, length in reversed(plots):
                x, height, wall = side * self.lines["front"][side], random.uniform(*look.floors) * 3.1 + 2, random.choice(look.walls)
                open_side = bool(self.gap[side]) or abs(start - self.cross) < 25
                if start > 0.5:
                    self.house((x, 0, start), (side * 11, 0, 0), height, wall, 0.88 * (1 - 0.35 * look.sun * self.sun[2]), open_side)
                self.house((x, 0, start), (0, 0, length), height, wall, 1 - 0.35 * look.sun * side * self.sun[0])

    def house(self, origin: Colour, across: Colour, height: float, wall: Colour, shade: float, windows: bool = True) -> None:
        """Paint one face of a house: rows of `windows` over a ground floor, often with a shop."""
        random, night, width = self.random, self.view.night, abs(across[0] + across[2])
        depth = max(self.view.distance(origin[0], max(origin[2], 3)), 5)
        lit, plane = partial(self.view.lit, depth=depth, shade=shade), partial(self.view.plane, origin, across, (0, height, 0))
        if not plane(lit(wall), CODES["building"]) or depth > 110 or not windows:
            return
        bays, floors = round(width / random.choice((2.5, 3, 3.5))), max(round(height / 3.1), 1)
        wide, high = random.choice((0.45, 0.55, 0.65)), random.choice((0.5, 0.6))
        if depth < 30:
            plane(lit(_scaled(wall, 1.2)), None, _cells(bays, floors, wide + 0.12, high + 0.1))
        panes, kinds = _cells(bays, floors, wide, high), np.array(random.choices(range(3), k=bays * floors))
        for kind, colour in enumerate((lit((40, 50, 62)), lit((62, 74, 90)), (236, 186, 106) if night else lit((100, 116, 134)))):
            plane(colour, None, panes[kinds == kind])
        plane(lit(_scaled(wall, 0.75)), None, _cells(1, 1, bottom=1 - 0.5 / height))
        if random.random() < 0.6:
            plane(lit(_scaled(random.choice(_CHOICES["accent"]), 1.6 if night else 1.0)), None, _cells(1, 1, top=3.2 / height))
            plane(lit((44, 46, 52)), None, _cells(bays, 1, 0.86, top=2.3 / height))

    def windscreen(self) -> None:
        """Drop the glow of hidden lamps; add the low sun, blinding where nothing hides it, and the bonnet of one's own car."""
        random, look, view = self.random, self.look, self.view
        inside = [glow for glow in view.glows if 0 <= glow[0] < view.width and 0 <= glow[1] < view.height]
        view.glows = [glow for glow in inside if view.image[int(glow[1]), int(glow[0])].max() > 200]
        if look.glare:
            x, y = view.width * random.uniform(0.1, 0.9), max(view.horizon, 20) * random.uniform(0.3, 0.9)
            rays = ((0.3, (130, 104, 76)), (0.15, (150, 126, 92)), (0.05, (255, 230, 180)))
            hidden = view.codes[min(int(y), view.height - 1), int(x)] != CODES["sky"]
            view.glows += [(x, y, radius * view.width * look.glare, colour) for radius, colour in rays[: 2 if hidden else 3]]
        if look.hood:
            shine, y = 18 + 0.25 * look.light * np.array(look.sky[1]), view.height * random.uniform(1.19, 1.23)
            for lift, gain in ((0, 1.0), (view.height // 30, 0.55)):
                oval = (view.width / 2, y + lift), (1.6 * view.width, 0.6 * view.height), 0.0
                cv2.ellipse(view.image, oval, (gain * shine).tolist(), -1, view.edge)
                cv2.ellipse(view.codes, oval, CODES["ego vehicle"], -1)
