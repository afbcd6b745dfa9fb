"""Procedural street scenes that stand in for the real data sets.

A scene is a street in metres: carriageway, kerbs, sidewalks, verges, houses, and things placed on them. It is seen by a pinhole
camera and painted from back to front into the image and the label map at once. The six looks (`stand_in_looks`) differ in camera,
light, materials and density as the real domains do, while classes keep their shape and their place in the street.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

import numpy as np

from pin_memory.domains.classes import CLASSES, IGNORE
from pin_memory.domains.stand_in_canvas import CODES, DETAILS, Canvas, Colour
from pin_memory.domains.stand_in_figures import figure, two_wheeler
from pin_memory.domains.stand_in_looks import LOOKS, Look, develop
from pin_memory.domains.stand_in_scenery import barrier, billboard, post, traffic_light, traffic_sign, tree
from pin_memory.domains.stand_in_street import (
    LANE,
    Street,
    finish_ground,
    lay_street,
    paint_glare,
    paint_ground,
    paint_hood,
    paint_horizon,
    paint_houses,
    paint_sky,
    place_camera,
)
from pin_memory.domains.stand_in_vehicles import vehicle

__all__ = ["CODES", "DETAILS", "LOOKS", "Scene", "draw_scene", "train_ids"]

_FEATURES = (
    ("train", "fence", "bicycle"),
    ("bus", "wall", "motorcycle"),
    ("truck", "fence", "bicycle"),
    ("crossing", "wall", "motorcycle"),
)
"""What an image holds besides the usual, in turn, so that few images hold all classes while the rare ones stay rare."""

_NEAREST_CLASS = {"lane marking": "road", "kerb": "sidewalk", "licence plate": "car"}
_CARS = ("sedan", "hatch", "suv", "van")
_SIZES = {"bus": (11.0, 2.5, 3.1), "truck": (7.7, 2.5, 3.5), "train": (27.6, 2.7, 3.6)}  # length, width, height
_STRIPES: tuple[Colour, ...] = ((220, 60, 40), (40, 90, 170), (236, 236, 232), (90, 130, 60), (230, 180, 40))
_RICKSHAWS: tuple[Colour, ...] = ((222, 190, 40), (40, 120, 60))
_FLEETS: tuple[Colour, ...] = ((206, 40, 34), (230, 226, 218), (236, 190, 50), (30, 80, 150), (60, 140, 110))


@dataclass(frozen=True)
class Scene:
    """One drawn picture.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8 train ids, 255 for what the look's data set ignores.
        detail: (H, W) uint8: the train id, or the code (`CODES`) of one of the `DETAILS`.
    """

    image: np.ndarray
    label: np.ndarray
    detail: np.ndarray


def draw_scene(look: str, seed: int, index: int, width: int = 480) -> Scene:
    """Draw one picture; the same arguments give the same bytes, whatever was drawn before.

    Args:
        look: A key of `LOOKS`.
        seed: Seed of the set.
        index: Number of the picture in its set; it also decides which rare things are shown.
        width: Width in pixels (some cameras of look "M" are narrower).
    """
    random = Random(f"{seed}/{look}/{index}")
    canvas, chosen = _paint(LOOKS[look].vary(index), random, _FEATURES[index % len(_FEATURES)], width)
    return Scene(develop(canvas, chosen, random), train_ids(LOOKS[look])[canvas.codes], canvas.codes)


def train_ids(look: Look) -> np.ndarray:
    """Table (256,) uint8 from code to the train id that the look's data set yields."""
    table = np.full(256, IGNORE, np.uint8)
    table[: len(CLASSES)] = range(len(CLASSES))
    for detail, name in _NEAREST_CLASS.items():
        if detail not in look.ignored:
            table[CODES[detail]] = CLASSES.index(name)
    return table


def _paint(look: Look, random: Random, features: tuple[str, ...], width: int) -> tuple[Canvas, Look]:
    """Plan a street and paint it: sky, ground, houses, and then everything else from far to near."""
    rails = "train" in features and "train" not in look.absent
    street = lay_street(look, random, rails, "crossing" in features)
    canvas = place_camera(look, random, street, width)
    plan = _Plan(look, random, street, canvas)
    plan.traffic(set(features) - look.absent)
    plan.furniture(set(features))
    plan.people()
    paint_sky(canvas, look, random)
    paint_ground(canvas, look, street, random)
    finish_ground(canvas, look, street, plan.shadows)
    paint_horizon(canvas, look, street, random)
    for side in (-1, 1):
        paint_houses(canvas, look, street, side, random)
    for _, draw in sorted(plan.things, key=lambda thing: -thing[0]):
        draw()
    if look.glare:
        paint_glare(canvas, look, random)
    if look.hood:
        paint_hood(canvas, look, random)
    return canvas, look


class _Plan:
    """What stands where: things with their distance and how to draw them, and the shadows that they throw."""

    def __init__(self, look: Look, random: Random, street: Street, canvas: Canvas) -> None:
        self.look, self.random, self.street, self.canvas = look, random, street, canvas
        self.things: list[tuple[float, Callable[[], None]]] = []
        self.shadows: list[tuple[float, float, float, float, float]] = []
        self.taken: list[tuple[float, float, float]] = []

    def traffic(self, features: set[str]) -> None:
        """Place the train, bus or truck and the cyclists that this image must show, then moving, crossing and parked vehicles."""
        random, street = self.random, self.street
        if street.rails:
            self._vehicle("train", -street.road - 2.2, random.uniform(32, 50), math.pi)
        for kind in sorted({"bus", "truck"} & features):
            side = random.choice((-1, 1))
            self._vehicle(kind, side * LANE / 2, random.uniform(15, 26), 0.0 if side > 0 else math.pi)
        for kind in sorted({"bicycle", "motorcycle"} & features):
            for side in (-1, 1):
                x = side * (street.road - street.parking - random.uniform(0.5, 2.0))
                self._cycle(kind, x, random.uniform(7.5, 17), 0.0 if side > 0 else math.pi)
        for lane in range(street.lanes):
            for side in (-1, 1):
                self._lane(side * LANE * (lane + 0.5))
        if street.crossing and random.random() < 0.6:
            self._vehicle(random.choice(_CARS), random.uniform(-7, 7), street.cross - 1.6, random.choice((-1, 1)) * math.pi / 2)
        for side in (-1, 1) if street.parking else ():
            for z in np.arange(random.uniform(2, 8), 75, 5.6).tolist():
                if random.random() < self.look.parked and abs(z - street.cross) > 9:
                    self._vehicle(random.choice(_CARS), side * (street.road - 1.1), z, 0.0 if side > 0 else math.pi)

    def _lane(self, x: float) -> None:
        """Fill a lane with vehicles at random gaps."""
        random, look, heading = self.random, self.look, 0.0 if x > 0 else math.pi
        shares = {"car": 1.0, "cycle": look.cycles, "bus": 0.03, "truck": 0.05, "autorickshaw": 0.5 if look.key == "I" else 0.0}
        z = random.uniform(7, 22)
        while z < 75:
            kind = random.choices(list(shares), list(shares.values()))[0]
            if random.random() < look.traffic and abs(z - self.street.cross) > 8 and kind not in look.absent:
                if kind == "cycle":
                    self._cycle(random.choice(("motorcycle", "bicycle")), x + random.uniform(-1.2, 1.2), z, heading)
                else:
                    self._vehicle(random.choice(_CARS) if kind == "car" else kind, x + random.uniform(-0.4, 0.4), z, heading)
            z += random.uniform(7, 16) / (0.5 + look.traffic)

    def furniture(self, features: set[str]) -> None:
        """Place lamps, signs, signals, trees, barriers and, now and then, a billboard along both sides."""
        random, look, street = self.random, self.look, self.street
        gap, first = random.uniform(18, 30), random.choice((-1, 1))
        barriers = dict(zip((first, -first), sorted({"fence", "wall"} & features), strict=False))
        for side in (-1, 1):
            edge = side * (street.kerb[side] + 0.5)
            for z in np.arange(random.uniform(6, 20), 65, gap).tolist():
                if abs(z - street.cross) > 6:
                    self._add(edge, z, partial(post, self.canvas, edge, z, random.uniform(6, 8), 0.16, -side * 1.8, look.lamps))
            for z in np.arange(random.uniform(8, 14), 65, random.uniform(14, 26)).tolist():
                if abs(z - street.cross) > 5 and random.random() < 0.75:
                    self._sign(edge, z)
            if street.kind[side] != "park" and random.random() < 0.7:
                self._trees(edge + side * 0.5, look.trees, (9, 65), random.uniform(8, 15), (4.5, 8.5))
            if street.front[side] - street.walk[side] > 2.5:
                self._trees(side * (street.front[side] - 0.8), (*look.trees, "bush"), (6, 65), random.uniform(4, 9), (3, 9))
                barriers.setdefault(side, random.choice(("fence", "wall", "hedge", "", "", "")))
            if barriers.get(side):
                self._barrier(side, barriers[side])
        self._signals()
        if random.random() < (0.8 if look.key in "IM" else 0.3):
            x, z = first * (street.walk[first] + 0.5), random.uniform(12, 30)
            self._add(x, z, partial(billboard, self.canvas, x, z, random))

    def people(self) -> None:
        """Place pedestrians, mostly on the sidewalks, and two-wheelers left there."""
        random, look, street = self.random, self.look, self.street
        for _ in range(round(look.crowd * random.uniform(6, 16)) + 2):
            side = random.choice((-1, 1))
            x, z = side * random.uniform(street.kerb[side] + 0.5, street.walk[side]), 5 + 50 * random.random() ** 1.5
            if random.random() < 0.12 * look.crowd or (abs(z - street.cross + 7) < 3 and random.random() < 0.5):
                x = random.uniform(-street.road, street.road)
            place = x, z, random.choice((0, 0.1, 3.0, 3.2, 1.6, -1.6))
            if self._free(x, z, 0.4):
                self.shadows.append((x, z, 0.5, 0.5, 1.7))
                self._add(x, z, partial(figure, self.canvas, place, random, tall=random.uniform(1.45, 1.88)))
        for _ in range(round(look.cycles * random.uniform(1, 4))):
            side, kind = random.choice((-1, 1)), random.choice(("bicycle", "motorcycle"))
            x = side * (street.kerb[side] + random.uniform(0.4, 1.2))
            self._cycle(kind, x, random.uniform(7, 40), random.uniform(-3, 3), rider=False)

    def _add(self, x: float, z: float, draw: Callable[[], None], beyond: float = 0.0) -> None:
        """Note a thing; `beyond` metres are added to the distance by which things are sorted."""
        self.things.append((self.canvas.distance(x, z) + beyond, draw))

    def _free(self, x: float, z: float, radius: float) -> bool:
        """Reserve a disc of the street, unless something stands there or the camera does."""
        if self.canvas.distance(x, z) < radius + 2.0 or any((x - a) ** 2 + (z - b) ** 2 < (radius + r) ** 2 for a, b, r in self.taken):
            return False
        self.taken.append((x, z, radius))
        return True

    def _vehicle(self, kind: str, x: float, z: float, heading: float) -> None:
        random, look = self.random, self.look
        length, width, height = _SIZES.get(kind, (4.4, 1.8, 1.5))
        parked = abs(x) > self.street.road - 2 and kind in _CARS
        if not self._free(x, z, 1.6 if parked else length / 2):
            return
        paint = random.choice(_RICKSHAWS if kind == "autorickshaw" else _FLEETS if kind in _SIZES else look.cars)
        across = abs(math.sin(heading)) > 0.5
        self.shadows.append((x, z, length if across else width, width if across else length, height))
        sun = self.street.sunward(look.sun)
        draw = partial(vehicle, self.canvas, kind, (x, z, heading), paint, random.choice(_STRIPES), look.sky[1], sun)
        self._add(x, z, draw, beyond=9.0 if kind == "train" else 0.0)

    def _cycle(self, kind: str, x: float, z: float, heading: float, rider: bool = True) -> None:
        if self._free(x, z, 0.9):
            self.shadows.append((x, z, 0.6, 1.7, 1.5))
            self._add(x, z, partial(two_wheeler, self.canvas, kind, (x, z, heading), self.random, rider))

    def _sign(self, x: float, z: float) -> None:
        random, canvas = self.random, self.canvas
        height = random.uniform(2.3, 2.9)
        self._add(x, z, partial(post, canvas, x, z, height, 0.09))
        self._add(x, z, partial(traffic_sign, canvas, x, z, height, random.randrange(7), random.uniform(0.36, 0.52)), beyond=-0.05)

    def _signals(self) -> None:
        """Traffic lights on both sides, at the crossing or at one's own stop line."""
        random, canvas, street = self.random, self.canvas, self.street
        if not street.crossing and random.random() < 0.45:
            return
        z, state = street.cross - 6.5 if street.crossing else random.uniform(14, 30), random.choice((0, 2, 2, 1))
        for side in (-1, 1):
            x, arm = side * (street.kerb[side] + 0.4), random.random() < 0.4
            self._add(x, z, partial(post, canvas, x, z, 5.6 if arm else 3.3, 0.16, -side * (3.4 if arm else 0.0)))
            self._add(x, z, partial(traffic_light, canvas, x, z, 2.3, state), beyond=-0.05)
            if arm:
                self._add(x, z, partial(traffic_light, canvas, x - side * 3.6, z, 4.9, state), beyond=-0.06)

    def _trees(self, x: float, kinds: tuple[str, ...], z: tuple[float, float], gap: float, height: tuple[float, float]) -> None:
        random = self.random
        for at in np.arange(z[0] + random.uniform(0, gap), z[1], gap).tolist():
            kind = random.choice(kinds)
            tall = random.uniform(1.0, 2.0) if kind == "bush" else random.uniform(*height)
            if abs(at - self.street.cross) > 9:
                self.shadows.append((x, at, tall * 0.4, tall * 0.4, tall))
                self._add(x, at, partial(tree, self.canvas, x, at, tall, kind, self.look.leaves, random))

    def _barrier(self, side: int, kind: str) -> None:
        """A fence, wall or hedge behind the sidewalk, in stretches so that each is sorted by its own distance."""
        random, x = self.random, side * (self.street.walk[side] + 0.15)
        height = random.uniform(*{"fence": (1.1, 1.8), "wall": (1.4, 2.6), "hedge": (0.9, 1.6)}[kind])
        tint = random.uniform(0.8, 1.1)
        for z in np.arange(random.uniform(3, 7), random.uniform(34, 70), 9.0).tolist():
            if abs(z + 4.5 - self.street.cross) > 11:
                draw = partial(barrier, self.canvas, self.look, kind, x, (z, z + 9), height, tint)
                self._add(x, z + 4.5, draw, beyond=1.0)
