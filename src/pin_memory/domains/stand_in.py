"""Procedural street scenes that stand in for the real data sets.

A scene is a street in metres: carriageway, kerbs, sidewalks, verges, houses, and things placed on them. It is seen by a pinhole
camera and painted from back to front into the image and the label map at once. The six looks (`stand_in_looks`) differ in camera,
light, materials and density as the real domains do, while classes keep their shape and their place in the street.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from random import Random

import cv2
import numpy as np

from pin_memory.domains.classes import CLASSES, IGNORE
from pin_memory.domains.stand_in_canvas import Canvas, fixed, noise
from pin_memory.domains.stand_in_looks import LOOKS, Look, develop
from pin_memory.domains.stand_in_objects import (
    CODES,
    DETAILS,
    facade,
    figure,
    post,
    traffic_light,
    traffic_sign,
    tree,
    two_wheeler,
    vehicle,
)

__all__ = ["CODES", "DETAILS", "LOOKS", "Scene", "draw_scene"]

_LANE = 3.4
_FAR = 130.0
_NEAREST_CLASS = {"lane marking": "road", "kerb": "sidewalk", "licence plate": "car"}
_FEATURES = (("train", "fence", "bicycle"), ("bus", "wall", "motorcycle"), ("truck", "fence", "bicycle"), ("crossing", "wall", "motorcycle"))
"""What an image must hold besides the usual, in turn, so that few images hold all classes while each rare one stays rare."""


@dataclass(frozen=True)
class Scene:
    """One drawn picture.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8 train ids, 255 for what the look's data set ignores.
        detail: (H, W) uint8: the train id, or the code of one of `DETAILS`.
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
    street = Street(LOOKS[look].vary(random), random, _FEATURES[index % len(_FEATURES)], width)
    street.paint()
    image = develop(street.canvas, street.look, random)
    return Scene(image, train_ids(LOOKS[look])[street.canvas.codes], street.canvas.codes)


def train_ids(look: Look) -> np.ndarray:
    """Table (256,) uint8 from code to the train id that the look's data set yields."""
    table = np.full(256, IGNORE, np.uint8)
    table[: len(CLASSES)] = range(len(CLASSES))
    for detail, name in _NEAREST_CLASS.items():
        if detail not in look.ignored:
            table[CODES[detail]] = CLASSES.index(name)
    return table


class Street:
    """The plan of a street, and the painting of it."""

    def __init__(self, look: Look, random: Random, features: tuple[str, ...], width: int) -> None:
        self.look, self.random, self.features = look, random, features
        self.things: list[tuple[float, Callable[[], None]]] = []
        self.shadows: list[tuple[float, float, float, float, float]] = []
        self.taken: list[tuple[float, float, float]] = []
        self.lanes = random.choice((1, 1, 2))
        self.parking = 2.3 if random.random() < look.parked + 0.15 else 0.0
        self.road = self.lanes * _LANE + self.parking
        self.rails = "train" in features
        self.kerb = {-1: self.road + (4.6 if self.rails else 0.0), 1: self.road}
        self.walk = {side: self.kerb[side] + random.uniform(2.2, 4.0) for side in (-1, 1)}
        self.kind = {side: random.choices(list(look.sides), list(look.sides.values()))[0] for side in (-1, 1)}
        verge = {"city": (0.0, 1.5), "houses": (3.0, 7.0), "park": (10.0, 18.0)}
        self.front = {side: self.walk[side] + random.uniform(*verge[self.kind[side]]) for side in (-1, 1)}
        self.cross = random.uniform(24, 42) if "crossing" in features or random.random() < 0.3 else 1e4
        self.to_sun = math.radians(random.uniform(-150, 150))
        self.canvas = self._camera(width)

    def _camera(self, width: int) -> Canvas:
        look, random = self.look, self.random
        scale, aspect = random.choice(look.sizes)
        size = round(width * scale * aspect), round(width * scale)
        eye = random.uniform(*look.eye)
        lane = _LANE / 2 + random.randrange(self.lanes) * _LANE
        angles = [math.radians(random.uniform(*span)) for span in (look.yaw, look.pitch, look.roll)]
        angles[1] += 0.045 * max(eye - 2.2, 0) * (eye > 2.2)
        return Canvas(
            size,
            random.uniform(*look.focal) * max(size[1], 0.72 * size[0]),
            (lane + random.uniform(*look.side), eye, 0.0),
            (angles[0], angles[1], angles[2]),
            bend=random.choice((0.0, 0.0, 1, -1)) * random.uniform(0.0006, 0.0022),
            haze=(look.sky[1], look.haze),
            light=(look.ambient, look.headlight),
            smooth=look.smooth,
        )

    def paint(self) -> None:
        """Paint sky, ground, houses and then everything else from far to near."""
        self._plan_traffic()
        self._plan_sides()
        self._plan_people()
        self._paint_sky()
        self._paint_ground()
        self._finish_ground()
        self._paint_horizon()
        for side in (-1, 1):
            self._paint_houses(side)
        for _, draw in sorted(self.things, key=lambda thing: -thing[0]):
            draw()
        if self.look.glare:
            self._paint_glare()
        if self.look.hood:
            self._paint_hood()

    # ---- planning ----------------------------------------------------------------------------------------------------------

    def _add(self, x: float, z: float, draw: Callable[[], None], beyond: float = 0.0) -> None:
        self.things.append((self.canvas.distance(x, z) + beyond, draw))

    def _free(self, x: float, z: float, radius: float) -> bool:
        """Reserve a disc of the street, unless something stands there or the camera does."""
        if self.canvas.distance(x, z) < radius + 2.0 or any((x - a) ** 2 + (z - b) ** 2 < (radius + r) ** 2 for a, b, r in self.taken):
            return False
        self.taken.append((x, z, radius))
        return True

    def _vehicle(self, kind: str, x: float, z: float, heading: float) -> None:
        length, width, height = {"bus": (11, 2.5, 3.1), "truck": (7.7, 2.5, 3.5), "train": (27.6, 2.7, 3.6)}.get(kind, (4.4, 1.8, 1.5))
        if not self._free(x, z, 1.6 if abs(x) > self.road - 2 and length < 5 else length / 2):
            return
        random, look = self.random, self.look
        paint, accent = random.choice(look.cars), random.choice(((220, 60, 40), (40, 90, 170), (236, 236, 232), (90, 130, 60), (230, 180, 40)))
        if kind == "autorickshaw":
            paint = random.choice(((222, 190, 40), (40, 120, 60)))
        elif length > 5:
            paint = random.choice(((206, 40, 34), (230, 226, 218), (236, 190, 50), (30, 80, 150), (60, 140, 110)))
        sun = (look.sun * math.sin(self.to_sun), 0.2 * look.sun, look.sun * math.cos(self.to_sun))
        across = abs(math.sin(heading)) > 0.5
        self.shadows.append((x, z, length if across else width, width if across else length, height))
        draw = partial(vehicle, self.canvas, kind, (x, z, heading), paint, accent, look.sky[1], sun)
        self._add(x, z, draw, beyond=9.0 if kind == "train" else 0.0)

    def _cycle(self, kind: str, x: float, z: float, heading: float, rider: bool = True) -> None:
        if self._free(x, z, 0.9):
            self.shadows.append((x, z, 0.6, 1.7, 1.5))
            self._add(x, z, partial(two_wheeler, self.canvas, kind, (x, z, heading), self.random, rider))

    def _plan_traffic(self) -> None:
        random, look = self.random, self.look
        own = float(self.canvas.position[0])
        if self.rails and "train" not in look.absent:
            self._vehicle("train", -self.road - 2.2, random.uniform(32, 50), math.pi)
        for kind in {"bus", "truck"} & set(self.features) - look.absent:
            ahead = random.random() < 0.5
            self._vehicle(kind, _LANE / 2 * (1 if ahead else -1), random.uniform(15, 26), 0.0 if ahead else math.pi)
        for kind in {"bicycle", "motorcycle"} & set(self.features):
            near = 1 if own > -2 else -1
            for side in (near, -near):
                self._cycle(kind, side * (self.road - self.parking - random.uniform(0.5, 2.0)), random.uniform(7.5, 17), 0.0 if side > 0 else math.pi)
        for lane in [s * _LANE * (n + 0.5) for n in range(self.lanes) for s in (-1, 1)]:
            z = random.uniform(7, 22)
            while z < 75:
                if random.random() < look.traffic and abs(z - self.cross) > 8:
                    kind = random.choices(("car", "cycle", "bus", "truck", "autorickshaw"), (1, look.cycles, 0.03, 0.05, 0.3 * (look.key == "I")))[0]
                    heading, x = 0.0 if lane > 0 else math.pi, lane + random.uniform(-0.4, 0.4)
                    if kind == "cycle":
                        self._cycle(random.choice(("motorcycle", "bicycle")), x + random.uniform(-1, 1), z, heading)
                    elif kind not in look.absent:
                        self._vehicle(random.choice(("sedan", "hatch", "suv", "van")) if kind == "car" else kind, x, z, heading)
                z += random.uniform(7, 16) / (0.5 + look.traffic)
        if self.cross < 1e3 and random.random() < 0.6:
            self._vehicle(random.choice(("sedan", "hatch", "suv")), random.uniform(-7, 7), self.cross - 1.6, random.choice((-1, 1)) * math.pi / 2)
        for side in (-1, 1) if self.parking else ():
            for z in np.arange(random.uniform(2, 8), 80, 5.6).tolist():
                if random.random() < look.parked and abs(z - self.cross) > 9:
                    self._vehicle(random.choice(("sedan", "hatch", "suv", "van")), side * (self.road - 1.1), z, 0.0 if side > 0 else math.pi)

    def _plan_sides(self) -> None:
        """Place street furniture, barriers and trees along both sides."""
        random, look, canvas = self.random, self.look, self.canvas
        lamp_gap, left_first = random.uniform(18, 30), random.choice((-1, 1))
        for side in (-1, 1):
            edge = side * (self.kerb[side] + 0.5)
            for z in np.arange(random.uniform(6, 20), 65, lamp_gap).tolist():
                if abs(z - self.cross) > 6:
                    self._add(edge, z, partial(post, canvas, edge, z, random.uniform(6, 8), 0.16, -side * 1.8, look.lamps))
            for z in np.arange(random.uniform(8, 14), 70, random.uniform(14, 26)).tolist():
                if abs(z - self.cross) > 5 and random.random() < 0.75:
                    self._sign_post(edge, z)
            if self.kind[side] != "park" and random.random() < 0.7:
                self._trees(edge + side * 0.5, (9, 65), random.uniform(8, 15), (4.5, 8.5))
            if self.front[side] - self.walk[side] > 2.5:
                self._trees(side * (self.front[side] - 0.8), (6, 65), random.uniform(4, 9), (3, 9))
                self._barrier(side, random.choice(("fence", "wall", "hedge")))
        for name in {"fence", "wall"} & set(self.features):
            self._barrier(left_first, name)
        self._lights()

    def _sign_post(self, x: float, z: float) -> None:
        random, canvas = self.random, self.canvas
        which, height = random.randrange(7), random.uniform(2.3, 2.9)
        self._add(x, z, partial(post, canvas, x, z, height, 0.09))
        self._add(x, z, partial(traffic_sign, canvas, x, z, height, which, random.uniform(0.36, 0.52)), beyond=-0.05)

    def _lights(self) -> None:
        """Signal heads at the crossing, or at a zebra somewhere along the street."""
        random, canvas = self.random, self.canvas
        z = self.cross - 6.5 if self.cross < 1e3 else random.uniform(14, 30)
        if self.cross > 1e3 and random.random() < 0.45:
            return
        state = random.choice((0, 2, 2, 1))
        for side in (-1, 1):
            x, arm = side * (self.kerb[side] + 0.4), random.random() < 0.4
            self._add(x, z, partial(post, canvas, x, z, 5.6 if arm else 3.3, 0.16, -side * (3.4 if arm else 0.0)))
            self._add(x, z, partial(traffic_light, canvas, x, z, 2.3, state), beyond=-0.05)
            if arm:
                self._add(x, z, partial(traffic_light, canvas, x - side * 3.6, z, 4.9, state), beyond=-0.06)

    def _trees(self, x: float, z: tuple[float, float], gap: float, height: tuple[float, float]) -> None:
        random, look = self.random, self.look
        for at in np.arange(z[0] + random.uniform(0, gap), z[1], gap).tolist():
            if abs(at - self.cross) > 9:
                kind = random.choice((*look.trees, "bush")) if abs(x) > self.walk[1 if x > 0 else -1] else random.choice(look.trees)
                tall = random.uniform(1.0, 2.0) if kind == "bush" else random.uniform(*height)
                self.shadows.append((x, at, tall * 0.4, tall * 0.4, tall))
                self._add(x, at, partial(tree, self.canvas, x, at, tall, kind, look.leaves, random))

    def _barrier(self, side: int, kind: str) -> None:
        """A fence, wall or hedge behind the sidewalk, in panels so that each is sorted by its own distance."""
        random, x = self.random, side * (self.walk[side] + 0.15)
        height, tint = {"fence": random.uniform(1.1, 1.8), "wall": random.uniform(1.4, 2.6), "hedge": random.uniform(0.9, 1.6)}[kind], random.uniform(0.8, 1.1)
        for z in np.arange(random.uniform(3, 7), random.uniform(34, 70), 9.0).tolist():
            if abs(z + 4 - self.cross) > 8:
                self._add(x, z + 4, partial(self._paint_barrier, kind, x, z, height, tint), beyond=1.0)

    def _plan_people(self) -> None:
        random, look = self.random, self.look
        for _ in range(round(look.crowd * random.uniform(6, 16)) + 2):
            side = random.choice((-1, 1))
            x, z = side * random.uniform(self.kerb[side] + 0.5, self.walk[side]), 5 + 50 * random.random() ** 1.5
            if random.random() < 0.12 * look.crowd or (abs(z - self.cross + 7) < 3 and random.random() < 0.5):
                x = random.uniform(-self.road, self.road)
            if self._free(x, z, 0.4):
                self.shadows.append((x, z, 0.5, 0.5, 1.7))
                self._add(x, z, partial(figure, self.canvas, (x, z, random.choice((0, 0.1, 3.0, 3.2, 1.6, -1.6))), random, False, random.uniform(1.45, 1.88)))
        for _ in range(round(look.cycles * random.uniform(1, 4))):
            side = random.choice((-1, 1))
            kind = random.choice(("bicycle", "motorcycle"))
            self._cycle(kind, side * (self.kerb[side] + random.uniform(0.4, 1.2)), random.uniform(7, 40), random.uniform(-3, 3), rider=False)
        if look.key in "IM" or random.random() < 0.3:
            side = random.choice((-1, 1))
            self._add(side * self.walk[side], 16, partial(self._paint_board, side, random.uniform(12, 30)))

    # ---- painting ----------------------------------------------------------------------------------------------------------

    def _paint_sky(self) -> None:
        canvas, look, random = self.canvas, self.look, self.random
        canvas.codes[:] = CODES["sky"]
        rows = int(np.clip(canvas.horizon + 0.06 * canvas.width, 1, canvas.height))
        top, low = (np.array(colour, np.float32) for colour in look.sky)
        fade = np.linspace(0, 1, rows // 3 + 1, dtype=np.float32)[:, None, None] ** 1.2
        sky = np.repeat(top + fade * (low - top), canvas.width // 3, 1)  # painted small: it is smooth
        if look.clouds:
            sheet = noise(60 + random.randrange(3), 256, 1024, 1.6)
            x, y = random.randrange(300), random.randrange(60)
            cloud = cv2.resize(sheet[y : y + 150, x : x + 500], (sky.shape[1], sky.shape[0]))
            cover = np.clip((cloud - 0.7 + 0.9 * look.clouds) * 0.75, 0, 0.85)[..., None]
            sky += cover * ((np.array((255, 252, 248), np.float32) if look.ambient > 0.7 else low * 0.8) - sky)
        canvas.image[:rows] = cv2.resize(sky.astype(np.uint8), (canvas.width, rows))

    def _paint_glare(self) -> None:
        """The low sun: a blinding disc where nothing hides it, and a veil of stray light in any case."""
        canvas, look, random = self.canvas, self.look, self.random
        x, y = canvas.width * random.uniform(0.1, 0.9), max(canvas.horizon, 20) * random.uniform(0.3, 0.9)
        rays = [(0.3, (130, 104, 76)), (0.15, (150, 126, 92))]
        if canvas.codes[min(int(y), canvas.height - 1), int(x)] == CODES["sky"]:
            rays.append((0.05, (255, 230, 180)))
        canvas.glows += [(x, y, radius * canvas.width * look.glare, colour) for radius, colour in rays]

    def _paint_ground(self) -> None:
        canvas, look, random = self.canvas, self.look, self.random
        far, near = _FAR, -6.0
        soil, walk, road = (tuple(c * tone for c in colour) for colour, tone in ((look.soil, 1), (look.walk, random.uniform(0.92, 1.06)), (look.road, random.uniform(0.9, 1.1))))
        base, code = (walk, "sidewalk") if "terrain" in look.absent else (soil, "terrain")
        canvas.ground((-400, 400), (near, 3 * far), base, CODES[code])
        for side in (-1, 1):
            kerb = side * self.kerb[side]
            if self.kind[side] == "city":
                canvas.ground((kerb, side * (self.front[side] + 12)), (near, far), walk, CODES["sidewalk"])
            canvas.ground((kerb, side * self.walk[side]), (near, far), walk, CODES["sidewalk"])
            canvas.ground((kerb - side * 0.02, kerb + side * 0.22), (near, far), tuple(min(1.12 * c, 255) for c in walk), CODES["kerb"])
        canvas.ground((-self.kerb[-1], self.kerb[1]), (near, far), road, CODES["road"])
        if self.cross < 1e3:
            canvas.ground((-90, 90), (self.cross - 8, self.cross + 8), walk, CODES["sidewalk"])
            canvas.ground((-90, 90), (self.cross - 4.5, self.cross + 4.5), road, CODES["road"])
            canvas.ground((-self.kerb[-1], self.kerb[1]), (self.cross - 9, self.cross + 9), road, CODES["road"])
        if self.rails:
            self._paint_rails()
        self._paint_marks()

    def _paint_rails(self) -> None:
        canvas, left = self.canvas, -self.kerb[-1]
        canvas.ground((left + 0.3, -self.road - 0.3), (-6, _FAR), (112, 104, 96), CODES["rail track"])
        for x in (-self.road - 1.5, -self.road - 2.95):
            canvas.ground((x - 0.06, x + 0.06), (-6, _FAR), (176, 174, 170), CODES["rail track"])

    def _paint_marks(self) -> None:
        """Lane markings: centre line, dashes, edge lines, and a zebra before the crossing."""
        canvas, look, random = self.canvas, self.look, self.random
        if random.random() > look.marks:
            return
        white, yellow, code = (224, 224, 218), (226, 176, 50), CODES["lane marking"]
        edge = self.road - self.parking
        if look.key == "G":
            for x in (-0.16, 0.16):
                canvas.ground((x - 0.06, x + 0.06), (0, 110), yellow, code)
        dashes = [lane * _LANE for lane in range(1 - self.lanes, self.lanes) if lane or look.key != "G"]
        for x in dashes:
            for z in np.arange(random.uniform(0, 3), 70, 8.0).tolist():
                if abs(z - self.cross) > 12:
                    canvas.ground((x - 0.08, x + 0.08), (z, z + 3.6), white, code)
        for x in (-edge + 0.15, edge - 0.15):
            canvas.ground((x - 0.06, x + 0.06), (0, min(self.cross - 9, 110)), white, code)
        if self.cross < 1e3 or random.random() < 0.2:
            z = self.cross - 8.6 if self.cross < 1e3 else random.uniform(11, 20)
            for x in np.arange(-edge + 0.4, edge - 0.4, 1.0).tolist():
                canvas.ground((x, x + 0.5), (z, z + 2.6), white, code)

    def _finish_ground(self) -> None:
        """Give the flat ground its grain, shadows, light and haze, all as pixel-wise gains of the part below the horizon."""
        canvas, look, random = self.canvas, self.look, self.random
        first = int(np.clip(canvas.horizon - 0.06 * canvas.width, 0, canvas.height - 1))
        codes = canvas.codes[first:]
        to_pixels = canvas.lens @ np.stack([canvas.axes[:, 0], canvas.axes[:, 2], -canvas.axes @ canvas.position], 1)
        to_pixels[1] -= first * to_pixels[2]
        size = (canvas.width, canvas.height - first)
        rows = np.maximum(np.arange(first, canvas.height, dtype=np.float32) - np.float32(canvas.horizon), 1)
        away = (float(canvas.position[1]) * canvas.focal / rows)[:, None]
        clear = np.exp(-away / look.haze)
        gain = (look.ambient + look.headlight * np.exp(-away / 14)) * clear * (1 - self._shadow_map(first))
        if look.texture:
            tiles = cv2.warpPerspective(_ground_tiles(), to_pixels @ np.diag([1 / 32, 1 / 32, 1]), size, borderMode=cv2.BORDER_WRAP)
            grain = cv2.extractChannel(tiles, 0)
            for channel, name in ((1, "sidewalk"), (2, "terrain")):
                cv2.copyTo(cv2.extractChannel(tiles, channel), cv2.inRange(codes, CODES[name], CODES[name]), grain)
            gain *= 1 + (grain.astype(np.float32) - 128) * (look.texture / 128 * np.exp(-away / 18))
        gains = cv2.convertScaleAbs(gain, alpha=128)
        veil = ((1 - clear)[..., None] * np.array(look.sky[1], np.float32)).astype(np.uint8)
        lit = cv2.multiply(canvas.image[first:], cv2.merge([gains, gains, gains]), scale=1 / 128)
        cv2.copyTo(cv2.add(lit, np.broadcast_to(veil, lit.shape).copy()), cv2.compare(codes, CODES["sky"], cv2.CMP_NE), canvas.image[first:])

    def _shadow_map(self, first: int) -> np.ndarray:
        """Darkness 0..1 of the ground: contact shadows always, cast shadows when the sun shines."""
        canvas, look = self.canvas, self.look
        dark = np.zeros((canvas.height, canvas.width), np.uint8)
        cast = 1.15 * np.array([-math.sin(self.to_sun), 0, -math.cos(self.to_sun)])
        plans = np.array(self.shadows)
        half = plans[:, 2:4] / 2
        corners = np.zeros((len(plans), 2, 4, 3))
        corners[..., 0] = (plans[:, :1] + half[:, :1] * (-1, 1, 1, -1))[:, None]
        corners[..., 2] = (plans[:, 1:2] + half[:, 1:] * (-1, -1, 1, 1))[:, None]
        corners[:, 1] += plans[:, 4, None, None] * cast
        seen = canvas.see(corners.reshape(-1, 3)).reshape(-1, 8, 3)
        shown = (seen[..., 2].min(1) > 0.6) & (seen[..., 2].max(1) < 60)
        outlines = fixed(canvas.pixels(seen[shown].reshape(-1, 3))).reshape(-1, 8, 2)
        for outline in outlines:
            if look.sun:
                cv2.fillConvexPoly(dark, cv2.convexHull(outline), 235 * look.sun, cv2.LINE_8, 4)
            cv2.fillConvexPoly(dark, outline[:4], 165, cv2.LINE_8, 4)
        for side in (-1, 1):
            if look.sun and side * math.sin(self.to_sun) > 0.3 and self.kind[side] != "park":
                reach = side * (self.front[side] - 9 * abs(math.sin(self.to_sun)) * look.sun * 2)
                outline = canvas.outline(np.array([(side * 40, 0, -6), (reach, 0, -6), (reach, 0, 60), (reach + side * 4, 0, 60), (reach + side * 4, 0, 120), (side * 40, 0, 120)]))
                if outline is not None:
                    cv2.fillPoly(dark, [outline], 210 * look.sun, cv2.LINE_8, 4)
        return cv2.GaussianBlur(dark, (5, 5), 0)[first:].astype(np.float32) / 255

    def _paint_horizon(self) -> None:
        """Close the view far away with houses and a line of trees."""
        canvas, look, random = self.canvas, self.look, self.random
        for distance, name, tall, step in ((_FAR * 1.3, "building", (9, 30), 16), (_FAR * 1.1, "vegetation", (4, 10), 8)):
            if name == "building" and "city" not in self.kind.values():
                continue
            x = np.repeat(np.arange(-230, 231, step), 2)[1:-1]
            y = np.repeat([random.uniform(*tall) for _ in range(len(x) // 2)], 2)
            colour = random.choice(look.walls) if name == "building" else tuple((2 * a + b) / 3 for a, b in zip(*look.leaves, strict=True))
            points = np.stack([x, y, np.full(len(x), distance)], 1)
            points = np.concatenate([points, [(230, 0, distance), (-230, 0, distance)]]) - (canvas.bend * distance**2, 0, 0)
            canvas.polygon(canvas.outline(points), canvas.lit(colour, distance * 0.8, 0.8), CODES[name])

    def _paint_houses(self, side: int) -> None:
        random, look, canvas = self.random, self.look, self.canvas
        plots, z = [], -12.0
        while z < _FAR:
            length = random.uniform(9, 20) * (1 if z < 50 else 1.6)
            gap = 0.0 if self.kind[side] == "city" else random.uniform(3, 14) * (1 if self.kind[side] == "houses" else 3)
            if z + length < self.cross - 9 or z > self.cross + 9:
                plots.append((z, z + length, random.uniform(*look.floors) * 3.1 + 2, random.choice(look.walls), random.uniform(0, 1.2)))
            z += length + gap
        bright = 1 + 0.35 * look.sun * side * -math.sin(self.to_sun), 1 - 0.35 * look.sun * math.cos(self.to_sun)
        for (start, end, height, wall, inset), nearer in reversed(list(zip(plots, [None, *plots], strict=False))):
            x, deep = side * (self.front[side] + inset), side * (self.front[side] + inset + 11)
            depth = max(canvas.distance(x, start), 5)
            make = partial(facade, canvas, random, wall)
            hidden = nearer is not None and nearer[1] > start - 0.1 and nearer[2] >= height and nearer[4] <= inset
            if start > 0.5 and not hidden:
                gable = partial(make, (11, height), depth, 0.88 * bright[1], look.lamps)
                canvas.panel((min(x, deep), 0, start), (max(x, deep), 0, start), height, gable, CODES["building"])
            ends = ((x, 0, start), (x, 0, end)) if side > 0 else ((x, 0, end), (x, 0, start))
            depth = max(canvas.distance(x, max(start, 0) + 3), 5)
            canvas.panel(*ends, height, partial(make, (end - start, height), depth, bright[0], look.lamps), CODES["building"])

    def _paint_barrier(self, kind: str, x: float, z: float, height: float, tint: float) -> None:
        ends = ((x, 0, z), (x, 0, z + 9)) if x > 0 else ((x, 0, z + 9), (x, 0, z))
        depth = max(self.canvas.distance(x, z + 4), 2)
        self.canvas.panel(*ends, height, partial(self._barrier_sheet, kind, depth, tint), CODES["vegetation" if kind == "hedge" else kind])

    def _barrier_sheet(self, kind: str, depth: float, tint: float) -> np.ndarray:
        canvas, look = self.canvas, self.look
        if kind == "fence":
            sheet = np.zeros((32, 216, 4), np.uint8)
            colour = (*canvas.lit((96 * tint, 98 * tint, 94 * tint), depth), 255)
            sheet[:, 0::8] = sheet[:, 1::8] = sheet[3:6] = sheet[26:29] = colour
            sheet[:, :4] = colour
            return sheet
        mean = (168 * tint, 150 * tint, 132 * tint) if kind == "wall" else tuple((a + b) / 2 for a, b in zip(*look.leaves, strict=True))
        weight = (1.0 if kind == "wall" else 2.0) * max(look.texture, 0.3 * (kind == "hedge"))
        gains = np.maximum(1 + weight * (np.arange(256)[:, None, None] / 128 - 1), 0)
        palette = np.clip(gains * canvas.lit(mean, depth, 0.9), 0, 255).astype(np.uint8)
        sheet = cv2.applyColorMap(_tile("bricks" if kind == "wall" else "grass")[:48, :216].copy(), palette)
        sheet[:5] = canvas.lit(mean, depth, 1.15)
        return sheet

    def _paint_board(self, side: int, z: float) -> None:
        """A billboard on a post, which no data set counts among the classes."""
        canvas, random = self.canvas, self.random
        x = side * (self.walk[side] + 0.5)
        post(canvas, x, z, 4.0, 0.25)
        sheet = np.empty((24, 40, 3), np.uint8)
        sheet[:] = canvas.lit(random.choice(((210, 60, 50), (50, 120, 190), (236, 226, 200))), z)
        cv2.circle(sheet, (28, 12), 7, canvas.lit((240, 210, 90), z), -1)
        cv2.rectangle(sheet, (3, 6), (18, 9), canvas.lit((240, 240, 240), z), -1)
        canvas.panel((x - 2, 3.4, z), (x + 2, 3.4, z), 2.4, lambda: sheet, CODES["billboard"])

    def _paint_hood(self) -> None:
        """The own car's bonnet along the lower edge."""
        canvas, random = self.canvas, self.random
        height, width = canvas.height, canvas.width
        top = height * random.uniform(0.9, 0.94)
        x = np.linspace(-0.02, 1.02, 24)
        curve = np.stack([x * width, top + (x - 0.5) ** 2 * 0.22 * height], 1)
        outline = np.rint(np.concatenate([curve, [(1.1 * width, 1.1 * height), (-0.1 * width, 1.1 * height)]]) * 16).astype(np.int32)
        shine = tuple(18 + 0.25 * self.look.ambient * c for c in self.look.sky[1])
        canvas.polygon(outline, shine, CODES["ego vehicle"])
        canvas.polygon(outline + np.array([0, round(16 * 0.018 * height)]), tuple(0.55 * c for c in shine), CODES["ego vehicle"])


@lru_cache(maxsize=1)
def _ground_tiles() -> np.ndarray:
    return np.stack([_tile("asphalt"), _tile("slabs"), _tile("grass")], 2)


@cache
def _tile(kind: str) -> np.ndarray:
    """A periodic gain of 8 m x 8 m of ground, (256, 256) uint8 around 128: "asphalt", "slabs", "grass" or "bricks"."""
    rough, fine = noise(1, 256, 256, 1.0), noise(2, 256, 256, 0.35)
    weights = {"asphalt": (6, 9), "grass": (15, 20), "slabs": (5, 5), "bricks": (6, 6)}[kind]
    tile = 128 + weights[0] * rough + weights[1] * fine
    step = {"slabs": 32, "bricks": 8}.get(kind)
    if step:
        tile[::step] *= 0.8
        tile[:, ::step] *= 0.86
    return np.clip(tile, 0, 255).astype(np.uint8)
