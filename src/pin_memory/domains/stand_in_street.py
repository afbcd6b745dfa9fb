"""The stand-ins' streets themselves: cross section, sky, ground with markings, light and shadow, and rows of houses."""

import math
from dataclasses import dataclass
from functools import cache, partial
from random import Random

import cv2
import numpy as np

from pin_memory.domains.stand_in_canvas import CODES, Canvas, blend, fixed, noise, scaled
from pin_memory.domains.stand_in_looks import Look
from pin_memory.domains.stand_in_scenery import house, texture

LANE = 3.4
"""Width of a lane in metres."""

_NEAR, _FAR = -6.0, 130.0
_NO_CROSSING = 1e4


@dataclass(frozen=True)
class Street:
    """The plan of a street along z; everything in metres from its middle line. Sides are -1 (left) and 1 (right).

    Attributes:
        lanes: Lanes per direction.
        parking: Width of the strip of parked cars on either side, or 0.
        road: Half the width of the carriageway, parking included.
        rails: Whether rails run along the left side.
        kerb: Where each side's sidewalk begins.
        walk: Where it ends.
        front: Where the houses begin.
        kind: "city" (closed rows of houses), "houses" (gaps and front gardens) or "park" (few houses behind green).
        cross: z of a crossing, far away when there is none.
        azimuth: Direction of the sun in radians from z towards x.
    """

    lanes: int
    parking: float
    road: float
    rails: bool
    kerb: dict[int, float]
    walk: dict[int, float]
    front: dict[int, float]
    kind: dict[int, str]
    cross: float
    azimuth: float

    @property
    def crossing(self) -> bool:
        """Whether there is a crossing."""
        return self.cross < _NO_CROSSING

    def sunward(self, strength: float) -> tuple[float, float, float]:
        """Direction to the sun, scaled."""
        return strength * math.sin(self.azimuth), 0.2 * strength, strength * math.cos(self.azimuth)


def lay_street(look: Look, random: Random, rails: bool, crossing: bool) -> Street:
    """Plan a street of the kind that the look prefers."""
    lanes = random.choice((1, 1, 2))
    parking = 2.3 if random.random() < look.parked + 0.15 else 0.0
    road = lanes * LANE + parking
    kerb = {-1: road + (4.6 if rails else 0.0), 1: road}
    kind = {side: random.choices(list(look.sides), list(look.sides.values()))[0] for side in (-1, 1)}
    walk = {side: kerb[side] + random.uniform(2.2, 4.0 if kind[side] == "city" else 2.8) for side in (-1, 1)}
    depth = {"city": (0.0, 1.5), "houses": (3.0, 8.0), "park": (10.0, 18.0)}
    front = {side: walk[side] + random.uniform(*depth[kind[side]]) for side in (-1, 1)}
    cross = random.uniform(24, 42) if crossing or random.random() < 0.3 else _NO_CROSSING
    return Street(lanes, parking, road, rails, kerb, walk, front, kind, cross, math.radians(random.uniform(-150, 150)))


def place_camera(look: Look, random: Random, street: Street, width: int) -> Canvas:
    """Put the look's camera into or beside one of the right lanes; high cameras look down."""
    scale, aspect = random.choice(look.sizes)
    size = round(width * scale * aspect), round(width * scale)
    eye = random.uniform(*look.eye)
    yaw, pitch, roll = (math.radians(random.uniform(*span)) for span in (look.yaw, look.pitch, look.roll))
    x = LANE / 2 + random.randrange(street.lanes) * LANE + random.uniform(*look.side)
    return Canvas(
        size,
        random.uniform(*look.focal) * max(size[1], 0.72 * size[0]),
        (min(max(x, -street.road), street.walk[1] - 0.8), eye, 0.0),
        (yaw, pitch + 0.045 * max(eye - 2.2, 0), roll),
        bend=random.choice((0, 0, 1, -1)) * random.uniform(0.0006, 0.0022),
        haze=(look.sky[1], look.haze),
        light=(look.ambient, look.headlight),
        smooth=look.smooth,
    )


def paint_sky(canvas: Canvas, look: Look, random: Random) -> None:
    """Fill the picture with sky down to below the horizon."""
    canvas.codes[:] = CODES["sky"]
    rows = int(np.clip(canvas.horizon + 0.06 * canvas.width, 1, canvas.height))
    top, low = (np.array(colour, np.float32) for colour in look.sky)
    fade = np.linspace(0, 1, rows // 3 + 1, dtype=np.float32)[:, None, None] ** 1.2
    sky = np.repeat(top + fade * (low - top), canvas.width // 3, 1)  # painted small, for it is smooth
    if look.clouds:
        x, y = random.randrange(300), random.randrange(60)
        sheet = noise(60 + random.randrange(3), 256, 1024, 1.6)[y : y + 150, x : x + 500]
        cover = np.clip((cv2.resize(sheet, (sky.shape[1], sky.shape[0])) - 0.7 + 0.9 * look.clouds) * 0.75, 0, 0.85)[..., None]
        sky += cover * (low * 0.8 - sky if canvas.night else np.array((255, 252, 248), np.float32) - sky)
    canvas.image[:rows] = cv2.resize(sky.astype(np.uint8), (canvas.width, rows))


def paint_ground(canvas: Canvas, look: Look, street: Street, random: Random) -> None:
    """Paint soil, sidewalks, kerbs, carriageway, crossing, rails and markings in flat colours."""
    walk, road = scaled(look.walk, random.uniform(0.92, 1.06)), scaled(look.road, random.uniform(0.9, 1.1))
    if "terrain" in look.absent:
        canvas.ground((-400, 400), (_NEAR, 3 * _FAR), walk, CODES["sidewalk"])
    else:
        canvas.ground((-400, 400), (_NEAR, 3 * _FAR), look.soil, CODES["terrain"])
    for side in (-1, 1):
        kerb, end = side * street.kerb[side], street.front[side] + 12 if street.kind[side] == "city" else street.walk[side]
        canvas.ground((kerb, side * end), (_NEAR, _FAR), walk, CODES["sidewalk"])
        canvas.ground((kerb - side * 0.02, kerb + side * 0.22), (_NEAR, _FAR), scaled(walk, 1.12), CODES["kerb"])
    canvas.ground((-street.kerb[-1], street.kerb[1]), (_NEAR, _FAR), road, CODES["road"])
    if street.crossing:
        canvas.ground((-90, 90), (street.cross - 8, street.cross + 8), walk, CODES["sidewalk"])
        canvas.ground((-90, 90), (street.cross - 4.5, street.cross + 4.5), road, CODES["road"])
        canvas.ground((-street.kerb[-1], street.kerb[1]), (street.cross - 9, street.cross + 9), road, CODES["road"])
    if street.rails:
        canvas.ground((0.3 - street.kerb[-1], -street.road - 0.3), (_NEAR, _FAR), (112, 104, 96), CODES["rail track"])
        for x in (-street.road - 1.5, -street.road - 2.95):
            canvas.ground((x - 0.06, x + 0.06), (_NEAR, _FAR), (176, 174, 170), CODES["rail track"])
    if random.random() < look.marks:
        _paint_marks(canvas, street, random, double=look.key == "G")


def _paint_marks(canvas: Canvas, street: Street, random: Random, double: bool) -> None:
    """Centre line (a yellow `double` one or dashes), lane dashes, edge lines, and a zebra at the crossing or anywhere."""
    paint = partial(canvas.ground, colour=(224, 224, 218), code=CODES["lane marking"])
    edge, end = street.road - street.parking, min(street.cross - 9, 110)
    for x in (-0.16, 0.16) if double else ():
        canvas.ground((x - 0.06, x + 0.06), (0, end), (226, 176, 50), CODES["lane marking"])
    for lane in range(1 - street.lanes, street.lanes):
        for z in np.arange(random.uniform(0, 3), 70, 8.0).tolist() if lane or not double else ():
            if abs(z - street.cross) > 12:
                paint((lane * LANE - 0.08, lane * LANE + 0.08), (z, z + 3.6))
    for x in (-edge + 0.15, edge - 0.15):
        paint((x - 0.06, x + 0.06), (0, end))
    if street.crossing or random.random() < 0.2:
        z = street.cross - 8.6 if street.crossing else random.uniform(11, 20)
        for x in np.arange(-edge + 0.4, edge - 0.4, 1.0).tolist():
            paint((x, x + 0.5), (z, z + 2.6))


def finish_ground(canvas: Canvas, look: Look, street: Street, shadows: list[tuple[float, float, float, float, float]]) -> None:
    """Give the flat ground its grain, shadows, light and haze, as gains of all pixels below the horizon at once."""
    first = int(np.clip(canvas.horizon - 0.06 * canvas.width, 0, canvas.height - 1))
    codes, size = canvas.codes[first:], (canvas.width, canvas.height - first)
    below = np.maximum(np.arange(first, canvas.height, dtype=np.float32) - np.float32(canvas.horizon), 1)[:, None]
    away = float(canvas.position[1]) * canvas.focal / below
    clear = np.exp(-away / look.haze)
    gain = (look.ambient + look.headlight * np.exp(-away / 14)) * clear * (1 - _darkness(canvas, look, street, shadows)[first:])
    if look.texture:
        to_pixels = canvas.lens @ np.stack([canvas.axes[:, 0], canvas.axes[:, 2], -canvas.axes @ canvas.position], 1)
        to_pixels[1] -= first * to_pixels[2]
        tiles = cv2.warpPerspective(_tiles(), to_pixels @ np.diag([1 / 32, 1 / 32, 1]), size, borderMode=cv2.BORDER_WRAP)
        grain = np.asarray(cv2.extractChannel(tiles, 0))
        for channel, name in ((1, "sidewalk"), (2, "terrain")):
            cv2.copyTo(cv2.extractChannel(tiles, channel), (codes == CODES[name]).view(np.uint8), grain)
        gain *= 1 + (grain.astype(np.float32) - 128) * (look.texture / 128 * np.exp(-away / 18))
    gains = cv2.convertScaleAbs(gain, alpha=128)
    lit = cv2.multiply(canvas.image[first:], cv2.merge([gains, gains, gains]), scale=1 / 128)
    veil = ((1 - clear)[..., None] * np.array(look.sky[1], np.float32)).astype(np.uint8)
    lit = cv2.add(lit, np.repeat(veil, canvas.width, 1))
    cv2.copyTo(lit, (codes != CODES["sky"]).view(np.uint8), canvas.image[first:])


@cache
def _tiles() -> np.ndarray:
    return np.stack([texture("asphalt"), texture("slabs"), texture("grass")], 2)


def _darkness(canvas: Canvas, look: Look, street: Street, shadows: list[tuple[float, float, float, float, float]]) -> np.ndarray:
    """Shadow 0..1 on the ground, (H, W): contact shadows always, cast shadows when the sun shines.

    `shadows` holds x, z, width, length and height of what throws them.
    """
    dark = np.zeros((canvas.height, canvas.width), np.uint8)
    plans = np.array(shadows, float).reshape(-1, 5)
    half = plans[:, 2:4] / 2
    corners = np.zeros((len(plans), 2, 4, 3))
    corners[..., 0] = (plans[:, :1] + half[:, :1] * (-1, 1, 1, -1))[:, None]
    corners[..., 2] = (plans[:, 1:2] + half[:, 1:] * (-1, -1, 1, 1))[:, None]
    corners[:, 1] -= plans[:, 4, None, None] * (1.15 * math.sin(street.azimuth), 0, 1.15 * math.cos(street.azimuth))
    seen = canvas.see(corners.reshape(-1, 3)).reshape(-1, 8, 3)
    shown = (seen[..., 2].min(1) > 0.6) & (seen[..., 2].max(1) < 60)
    for outline in fixed(canvas.pixels(seen[shown].reshape(-1, 3))).reshape(-1, 8, 2):
        if look.sun:
            cv2.fillConvexPoly(dark, cv2.convexHull(outline), 235 * look.sun, cv2.LINE_8, 4)
        cv2.fillConvexPoly(dark, outline[:4], 165, cv2.LINE_8, 4)
    for side in (-1, 1):
        if look.sun and side * math.sin(street.azimuth) > 0.3 and street.kind[side] != "park":
            reach = side * (street.front[side] - 18 * abs(math.sin(street.azimuth)) * look.sun)
            steps = [(side * 40, _NEAR), (reach, _NEAR), (reach, 60), (reach + side * 4, 60), (reach + side * 4, 120), (side * 40, 120)]
            houses = canvas.outline(np.array([(x, 0, z) for x, z in steps]))
            if houses is not None:
                cv2.fillPoly(dark, [houses], 210 * look.sun, cv2.LINE_8, 4)
    return cv2.GaussianBlur(dark, (5, 5), 0).astype(np.float32) / 255


def paint_horizon(canvas: Canvas, look: Look, street: Street, random: Random) -> None:
    """Close the view far away with houses and a line of trees."""
    for distance, name, tall, step in ((_FAR * 1.4, "building", (9, 30), 16), (_FAR * 1.2, "vegetation", (4, 10), 8)):
        if name == "building" and "city" not in street.kind.values():
            continue
        x = np.repeat(np.arange(-232, 233, step), 2)[1:-1]
        y = np.repeat([random.uniform(*tall) for _ in range(len(x) // 2)], 2)
        points = np.stack([x, y, np.full(len(x), distance)], 1)
        points = np.concatenate([points, [(232, 0, distance), (-232, 0, distance)]]) - (canvas.bend * distance**2, 0, 0)
        colour = random.choice(look.walls) if name == "building" else blend(*look.leaves, 0.35)
        canvas.polygon(canvas.outline(points), canvas.lit(colour, distance * 0.8, 0.8), CODES[name])


def paint_houses(canvas: Canvas, look: Look, street: Street, side: int, random: Random) -> None:
    """Paint one side's houses from far to near."""
    plots: list[tuple[float, float, float, float]] = []  # begin, end, height, set back from the row
    z, kind = -12.0, street.kind[side]
    while z < _FAR:
        length = random.uniform(9, 20) * (1 if z < 50 else 1.6)
        if z + length < street.cross - 9 or z > street.cross + 9:
            plots.append((z, z + length, random.uniform(*look.floors) * 3.1 + 2, random.uniform(0, 1.2)))
        z += length + (0.0 if kind == "city" else random.uniform(3, 14) * (1 if kind == "houses" else 3))
    towards_road, towards_us = 1 - 0.35 * side * street.sunward(look.sun)[0], 1 - 0.35 * street.sunward(look.sun)[2]
    for i, (begin, end, height, back) in reversed(list(enumerate(plots))):
        wall, x = random.choice(look.walls), side * (street.front[side] + back)
        hidden = i > 0 and plots[i - 1][1] > begin - 0.1 and plots[i - 1][2] >= height and plots[i - 1][3] <= back
        make = partial(house, canvas, look, random, wall)
        if begin > 0.5 and not hidden:
            left, right = sorted((x, x + side * 11))
            gable = partial(make, (11, height), max(canvas.distance(x, begin), 5), 0.88 * towards_us)
            canvas.panel((left, 0, begin), (right, 0, begin), height, gable, CODES["building"])
        near, far = (x, 0, begin), (x, 0, end)
        front = partial(make, (end - begin, height), max(canvas.distance(x, max(begin, 0) + 3), 5), towards_road)
        canvas.panel(*((near, far) if side > 0 else (far, near)), height, front, CODES["building"])


def paint_glare(canvas: Canvas, look: Look, random: Random) -> None:
    """The low sun: a blinding disc where nothing hides it, and a veil of stray light in any case."""
    x, y = canvas.width * random.uniform(0.1, 0.9), max(canvas.horizon, 20) * random.uniform(0.3, 0.9)
    rays = [(0.3, (130, 104, 76)), (0.15, (150, 126, 92))]
    if canvas.codes[min(int(y), canvas.height - 1), int(x)] == CODES["sky"]:
        rays.append((0.05, (255, 230, 180)))
    canvas.glows += [(x, y, radius * canvas.width * look.glare, colour) for radius, colour in rays]


def paint_hood(canvas: Canvas, look: Look, random: Random) -> None:
    """The bonnet of the car that carries the camera, along the lower edge."""
    top, x = canvas.height * random.uniform(0.9, 0.94), np.linspace(-0.02, 1.02, 24)
    curve = np.stack([x * canvas.width, top + (x - 0.5) ** 2 * 0.22 * canvas.height], 1)
    outline = fixed(np.concatenate([curve, [(1.1 * canvas.width, 1.1 * canvas.height), (-0.1 * canvas.width, 1.1 * canvas.height)]]))
    shine = blend((24, 24, 24), scaled(look.sky[1], look.ambient), 0.25)
    canvas.polygon(outline, shine, CODES["ego vehicle"])
    canvas.polygon(outline + np.array([0, round(0.3 * canvas.height)]), scaled(shine, 0.55), CODES["ego vehicle"])
