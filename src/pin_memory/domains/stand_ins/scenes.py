"""Procedural street scenes that stand in for the real data sets.

A scene is a street in metres, x to the right, y up, z ahead. It is seen by a pinhole camera and painted from back to front into the
image and the map of codes at once. The six looks (`looks`) differ in camera, light, materials and density.
"""

import math
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np

from pin_memory.domains.stand_ins.looks import LOOKS, Colour, Look, Range
from pin_memory.domains.stand_ins.models import CODES, COLOURS, LAMPS, model, train_ids

_RARE = (("train", "bicycle"), ("bus", "motorcycle"), ("truck", "bicycle"), ("motorcycle",))
"""What an image holds besides the usual, in turn, so that few images hold all classes while the rare ones stay rare."""

_LANE, _NEAR, _FAR = 3.4, 0.4, 128  # metres: width of a lane, depth before which nothing is drawn, end of the ground's plan
_PLAN, _GRID = 1024, np.array((16, 8))  # the plan of the ground: pixels on each side, and per metre of x and of z
_ASPHALT = np.random.default_rng(1).integers(20, 60, (_PLAN, _PLAN), np.uint8)  # how much darker than its material the ground is

_MOTORS = ("car",) * 24 + ("bus", "truck")
_ALONG: tuple[tuple[tuple[str, ...], str, Range, Range, float, str], ...] = (
    # one of which models stands along which line of the street, beyond it by how much, gaps, chance, what of the look multiplies it
    (_MOTORS, "middle", (1.3, 2.1), (10, 24), 1.0, "traffic"),
    (_MOTORS, "road", (-2.1, -1.3), (10, 24), 1.0, "traffic"),
    (("bicycle", "motorcycle"), "road", (-0.8, 0.2), (6, 14), 0.7, "crowd"),
    (("car",), "kerb", (-1.1, -1.1), (5.4, 5.8), 0.4, ""),
    (("fence", "wall"), "walk", (0.2, 0.2), (5.6, 5.6), 0.5, ""),
    (("pole", "pole", "traffic light", "traffic sign"), "kerb", (0.4, 0.6), (6, 12), 0.8, ""),
    (("vegetation",), "kerb", (1.0, 1.4), (9, 18), 0.6, ""),
    (("person",), "kerb", (-1.5, 2.3), (2, 5), 0.5, "crowd"),
)


@dataclass(frozen=True)
class Scene:
    """One drawn picture."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    label: np.ndarray  # (H, W) uint8 train ids, 255 for what the look's data set ignores
    detail: np.ndarray  # (H, W) uint8: the train id, or the code (`CODES`) of a detail


def draw_scene(look: str, seed: int, index: int, width: int = 480) -> Scene:
    """Draw picture `index` of a set, `width` pixels wide (some of look "M" are narrower); the same arguments give the same bytes."""
    random, chosen = Random(f"{seed}/{look}/{index}"), LOOKS[look].vary(index)
    street = _Street(chosen, random, width)
    street.furnish(_RARE[index % len(_RARE)])
    street.view.backdrop(*street.plan())
    street.houses()
    for _, *thing in sorted(street.things, key=lambda thing: -thing[0]):
        street.view.model(*thing)
    return Scene(street.view.develop(random), train_ids(chosen)[street.view.codes], street.view.codes)


class _View:
    """Image and code map seen by a pinhole camera at `x` metres; what is drawn later covers what was drawn before in both."""

    def __init__(self, look: Look, random: Random, x: float, width: int) -> None:
        scale, aspect = random.choice(look.sizes)
        self.look, self.height, self.width = look, round(width * scale * aspect), round(width * scale)
        self.image: np.ndarray = np.zeros((self.height, self.width, 3), np.uint8)
        self.codes: np.ndarray = np.full((self.height, self.width), CODES["sky"], np.uint8)
        self.night, self.edge = look.light < 0.7, cv2.LINE_AA if look.grain else cv2.LINE_8
        self.colours = COLOURS | {"body": np.array(look.cars), "leaf": np.array(look.leaves[:1]), "sun": np.array(look.leaves[1:])}
        self.focal, eye = random.uniform(*look.focal) * max(self.width, 0.72 * self.height), random.uniform(*look.eye)
        yaw, pitch = math.radians(random.uniform(*look.yaw)), math.radians(random.uniform(*look.pitch))
        pitch += 0.045 * max(eye - 2.2, 0)  # who looks from above looks down
        self.position, self.haze = np.array([x, eye, 0.0]), np.array(look.sky[1], np.float32)
        self.axes = cv2.Rodrigues(np.array([0, yaw, 0]))[0] @ cv2.Rodrigues(np.array([pitch, 0, 0]))[0]
        self.horizon = self.height / 2 - self.focal * math.tan(pitch)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (..., 2), with 4 fractional bits, and depths (...) of world points (..., 3), moved before the camera if behind."""
        seen = (points - self.position) @ self.axes
        pixels = seen[..., :2] * (16 * self.focal, -16 * self.focal) / np.maximum(seen[..., 2:], _NEAR) + (8 * self.width, 8 * self.height)
        return np.rint(pixels).astype(np.int32), seen[..., 2]

    def lit(self, colours: np.ndarray, depth: float | np.ndarray, shade: float | np.ndarray = 1.0) -> np.ndarray:
        """Light colours (..., 3), by the car's own lamps at night, and fade them into the haze at `depth` metres."""
        clear = np.exp(-depth / self.look.haze)
        light = self.look.light + self.night * 0.6 * np.exp(-depth / 14)
        return np.minimum(colours * (light * shade), 255) * clear + self.haze * (1 - clear)

    def fill(self, polygons: np.ndarray, colour: np.ndarray, code: int | None = None) -> None:
        """Paint world polygons (k, n, 3) into the image and, with a code, into the code map."""
        outlines, depths = self.project(polygons)
        self.paint(outlines[depths.max(1) > _NEAR], colour, code)

    def paint(self, outlines: np.ndarray, colour: np.ndarray, code: int | None, thick: int = 0) -> None:
        """Paint outlines (k, n, 2) of pixels, filled or `thick` pixels wide."""
        for canvas, value, edge in ((self.image, colour.tolist(), self.edge), (self.codes, code, cv2.LINE_8)):
            if thick:
                cv2.polylines(canvas, outlines, False, value, thick, edge, 4)  # type: ignore[call-overload]
            elif value is not None:
                cv2.fillPoly(canvas, outlines, value, edge, 4)  # type: ignore[call-overload]

    def model(self, name: str, x: float, z: float, side: int, size: float, tint: int) -> None:
        """Draw a model at `x`, `z` that heads down the road (`side` 1) or up (-1); `tint` chooses its colours."""
        _, materials, codes, thickness, points, normals = model(name)
        points = points * (size * side, size, size * side) + (x, 0, z)
        pixels, depths = self.project(points)
        if depths.min() < 2 * _NEAR or pixels.max((0, 1)).min() < 0 or (pixels.min((0, 1)) > (16 * self.width, 16 * self.height)).any():
            return
        depth, shades = float(depths.mean()), 1 - abs(normals) @ (0.15, 0, 0.08)
        unlit = np.array([self.colours[material][tint % len(self.colours[material])] for material in materials])
        colours = self.lit(unlit, depth, shades[:, None])
        if self.night:
            colours = np.where([[material in LAMPS] for material in materials], unlit, colours)
        thick = np.where(thickness > 0, np.rint(thickness * size * self.focal / depth).clip(1), 0).astype(int)
        seen = (normals * (side, 1, side) * (self.position - points[:, 0])).sum(1) >= 0
        seen &= (np.ptp(pixels, axis=1).max(1) >= 24) | (thick > 1)  # a part of hardly a pixel is not worth its time
        for i in np.flatnonzero(seen).tolist():
            self.paint(pixels[i : i + 1], colours[i], codes[i], int(thick[i]))

    def backdrop(self, codes: np.ndarray, dark: np.ndarray) -> None:
        """Paint the sky, and the ground from plans of its codes and of how much darker than its material it is."""
        look, first = self.look, int(np.clip(math.ceil(self.horizon), 0, self.height - 1))
        share = (np.arange(self.height) / max(self.horizon, 1)).clip(0, 1)[:, None, None]
        self.image[:] = ((1 - share) * look.sky[0] + share * look.sky[1]).astype(np.uint8)
        lens = np.array([(self.focal, 0, self.width / 2), (0, -self.focal, self.height / 2 - first), (0, 0, 1)])
        (x, eye, _), (across, ahead) = self.position, 1 / _GRID
        plan = np.array([(across, 0, -_PLAN / 2 * across - x), (0, 0, -eye), (0, ahead, 0)])  # plan's pixels in metres from the eye
        turn, size = lens @ self.axes.T @ plan, (self.width, self.height - first)
        self.codes[first:] = cv2.warpPerspective(codes, turn, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        dark = cv2.warpPerspective(dark, turn, size, borderMode=cv2.BORDER_REPLICATE)
        colours = np.full((len(CODES), 3), 224, np.float32)
        for name, colour in (("road", look.road), ("sidewalk", look.sidewalk), ("terrain", look.soil), ("kerb", look.sidewalk)):
            colours[CODES[name]] = colour
        down = (np.arange(first, self.height) - self.height / 2) / self.focal * self.axes[1, 1] - self.axes[1, 2]
        depth = (eye / np.maximum(down, 1e-3)).astype(np.float32)[:, None, None]
        self.image[first:] = self.lit(colours.take(self.codes[first:], 0), depth, 1 - dark[..., None] / np.float32(255))

    def develop(self, random: Random) -> np.ndarray:
        """What the look's camera records of the painted scene: light that spreads, its own bonnet, its colours and its grain."""
        look, image = self.look, self.image
        if self.night or look.glare:
            bright = cv2.threshold(image, 230 if self.night else 255, 255, cv2.THRESH_TOZERO)[1]
            sun = round(self.width * random.uniform(0.1, 0.9)), round(max(self.horizon, 9) * random.uniform(0.3, 0.9))
            cv2.circle(bright, sun, round(0.12 * self.width * look.glare), (255, 225, 170), -1)
            glow = cv2.GaussianBlur(cv2.resize(bright, None, fx=0.25, fy=0.25), (0, 0), (0.004 + 0.012 * look.glare) * self.width)
            image = cv2.add(image, cv2.resize(glow, (self.width, self.height)))
        if look.hood:
            oval = (self.width / 2, self.height * 1.21), (1.6 * self.width, 0.6 * self.height), 0.0
            cv2.ellipse(image, oval, self.lit(np.array((50, 52, 52)), 0).tolist(), -1, self.edge)
            cv2.ellipse(self.codes, oval, CODES["ego vehicle"], -1)
        mix = look.saturation * np.eye(3) + (1 - look.saturation) * np.array([[0.299, 0.587, 0.114]])
        image = cv2.transform(image, np.array(look.gain)[:, None] * np.hstack([mix, np.full((3, 1), random.uniform(-9, 9) * look.light)]))
        noise = np.random.default_rng(random.randrange(2**32)).integers(0, 256, image.shape, np.uint8)
        return cv2.addWeighted(image, 1, noise, look.grain / 74, -look.grain * 128 / 74)


class _Street:
    """A street along z: its lines by side, which is -1 (left) or 1 (right), and the things on it."""

    def __init__(self, look: Look, random: Random, width: int) -> None:
        self.look, self.random, self.lanes = look, random, random.choice((1, 1, 2))
        self.lines: dict[int, dict[str, float]] = {}  # metres from the middle
        self.gaps = {side: random.choice((0, 0, 12, 30)) for side in (-1, 1)}  # between houses
        for side in (-1, 1):
            kerb = self.lanes * _LANE + random.uniform(0.3, 2.3)
            self.lines[side] = {"middle": 0, "road": self.lanes * _LANE, "kerb": kerb, "walk": kerb + random.uniform(2.4, 3.8)}
        x = (random.randrange(self.lanes) + 0.5) * _LANE + random.uniform(*look.side)
        self.view = _View(look, random, min(max(x, -self.lines[-1]["kerb"]), self.lines[1]["walk"] - 0.8), width)
        self.shadow = random.uniform(-1.5, 1.5)  # of 1 m, to the right
        self.taken = [(float(self.view.position[0]), 0.0, 2.2, 5.0, 0.0)]  # x, z, width, length, height; one's own car first
        self.things: list[tuple] = []  # distance, then what `_View.model` takes

    def furnish(self, rare: tuple[str, ...]) -> None:
        """Place what this image must show, then all that lines a street."""
        for name in rare:
            side = self.random.choice((-1, 1))
            self.place(name, side * _LANE / 2, 10 + model(name).room[1] / 2 + self.random.uniform(0, 8), side)
        for side, lines in self.lines.items():
            for names, line, beyond, gaps, chance, amount in _ALONG:
                z = 3 + self.random.uniform(0, gaps[1])
                while z < 52:
                    if self.random.random() < chance * getattr(self.look, amount, 1.0):
                        self.place(self.random.choice(names), side * (lines[line] + self.random.uniform(*beyond)), z, side)
                    z += self.random.uniform(*gaps)

    def place(self, name: str, x: float, z: float, side: int) -> None:
        """Place a model unless the look lacks it, the place is taken, or it is next to a long one (the middles decide what hides what)."""
        size = self.random.uniform(0.88, 1.12)
        width, length, height = (size * model(name).room).tolist()
        clash = any(abs(x - a) < (width + w) / 2 + max(length, d, 6) - 6 and abs(z - b) < (length + d) / 2 for a, b, w, d, _ in self.taken)
        if not clash and name not in self.look.absent:
            self.taken.append((x, z, width, length, height))
            self.things.append((math.hypot(x - self.view.position[0], z), name, x, z, side, size, self.random.randrange(1000)))

    def plan(self) -> tuple[np.ndarray, np.ndarray]:
        """Codes of the ground seen from above, (z, x), and how much darker than its material it is."""
        codes = np.full((_PLAN, _PLAN), CODES["sidewalk" if "terrain" in self.look.absent else "terrain"], np.uint8)
        dark = _ASPHALT.copy() if self.look.grain else np.full_like(_ASPHALT, 40)

        def paint(canvas: np.ndarray, value: int, left: float, right: float, start: float = 0, stop: float = _FAR) -> None:
            (low, first), (high, last) = (np.rint(_GRID * place).astype(int) for place in ((left + 32, start), (right + 32, stop)))
            canvas[max(first, 0) : last, low:high] = value

        for line, beyond, name in (("walk", 0.0, "sidewalk"), ("kerb", 0.22, "kerb"), ("kerb", 0.0, "road")):
            paint(codes, CODES[name], -self.lines[-1][line] - beyond, self.lines[1][line] + beyond)
        for lane in range(-self.lanes, self.lanes + 1) if self.random.random() < self.look.marks else ():
            dash = _FAR if abs(lane) == self.lanes else 4  # the outer lines are solid, the others are 4 m every 8 m
            for start in range(0, _FAR, 2 * dash):
                paint(codes, CODES["lane marking"], lane * _LANE - 0.08, lane * _LANE + 0.08, start, start + dash)
        for part, value in (("cast", 40 + round(150 * self.look.sun)), ("contact", 170)):
            for x, z, width, length, height in self.taken[1:]:
                cast = self.shadow * height if part == "cast" else 0.0
                paint(dark, value, x - width / 2 + min(cast, 0), x + width / 2 + max(cast, 0), z - length / 2, z + length / 2)
        return codes, dark

    def houses(self) -> None:
        """Close the view far away, and paint the houses of both sides from far to near."""
        random, look, view = self.random, self.look, self.view
        tops = [(x + dx, y, 180) for x, y in [(x, random.uniform(9, 30)) for x in range(-232, 232, 16)] for dx in (0, 16)]
        view.fill(np.array([[(-232, 0, 180), *tops, (232, 0, 180)]]), view.lit(np.array(look.walls[0]), 120, 0.75), CODES["building"])
        for side, lines in self.lines.items():
            x, end = side * (lines["walk"] + 0.4 + 0.4 * self.gaps[side]), 96.0
            while end > -3:
                start = end - random.uniform(9, 20)
                wall, tall = random.choice(look.walls), random.randint(*look.floors) * 3.1 + 2
                for along, shade in (((11 * side, 0, 0), 0.85), ((0, 0, end - start), 1 + 0.4 * side * look.sun * self.shadow)):
                    self.facade(np.array((x, 0, start)), np.array((along, (0, tall, 0))), wall, shade)
                end = start - random.uniform(0.4, 1.6) * self.gaps[side]

    def facade(self, origin: np.ndarray, span: np.ndarray, wall: Colour, shade: float) -> None:
        """Paint one face of a house: rows of windows, of which some are lit at night."""
        random, view, depth = self.random, self.view, max(float(np.linalg.norm(origin - self.view.position)), 5)
        bays, floors = round(abs(span[0]).sum() / random.choice((2.5, 3))), round(span[1, 1] / 3.1)
        grid = np.argwhere(np.ones((bays, floors)))[:, None]
        cell, share = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]), np.array((random.choice((0.45, 0.55, 0.65)), 0.55))
        plaster, pane, bright = view.lit(np.array((wall, (46, 56, 70), (700, 520, 300) if view.night else (96, 112, 130))), depth, shade)
        view.fill(origin + (grid[::floors] + cell * (1, floors)) / (bays, floors) @ span, plaster, CODES["building"])
        if depth < 60:
            panes = origin + (grid + (cell - 0.5) * share + 0.5) / (bays, floors) @ span
            view.fill(panes, pane)
            view.fill(panes[random.sample(range(len(panes)), len(panes) // 3)], bright)
