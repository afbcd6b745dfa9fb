"""What stands and moves in the stand-ins' streets: vehicles, two-wheelers, people, trees, poles and signs, façades."""

import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from random import Random

import cv2
import numpy as np

from pin_memory.domains.classes import CLASSES
from pin_memory.domains.stand_in_canvas import NEAR, Canvas, Colour, fixed, noise

DETAILS = ("lane marking", "kerb", "licence plate", "ego vehicle", "rail track", "billboard", "autorickshaw", "static")
"""Things that only some data sets label apart; in the code map they follow the 19 classes."""

CODES = {name: code for code, name in enumerate(CLASSES + DETAILS)}
"""Code of each class and detail."""

Place = tuple[float, float, float]
"""x, z (metres) and heading (radians; 0 drives away from the camera, pi towards it)."""

_SMALL = ("trim", "hub", "plate", "accent")  # what is left out far away
_OUTER = ("paint", "roof", "load", "tyre", "dark", "trim", "plate")  # what may reach beyond the body's own faces, or is labelled apart
_LIGHTS: dict[str, Colour] = {"lamp": (255, 236, 190), "tail": (255, 40, 24), "sign": (255, 190, 60)}


@dataclass
class Solid:
    """A convex-ish body: faces in local coordinates (x right, y up, z ahead), later ones painted over earlier ones."""

    centre: np.ndarray
    points: list[np.ndarray] = field(default_factory=list)
    faces: list[tuple[int, int, str, np.ndarray]] = field(default_factory=list)
    size: int = 0

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All corners (P, 3), the first corner of each face (F,) and the faces' normals (F, 3)."""
        return np.concatenate(self.points), np.array([face[0] for face in self.faces]), np.array([face[3] for face in self.faces])

    def face(self, corners: list[Colour], material: str) -> None:
        """Add a flat face, wound so that it faces away from the body's centre."""
        polygon = np.array(corners, float)
        normal = np.cross(polygon[1] - polygon[0], polygon[2] - polygon[1])
        normal /= np.linalg.norm(normal) + 1e-9
        if normal @ (polygon.mean(0) - self.centre) < 0:
            polygon, normal = polygon[::-1], -normal
        self.points.append(polygon)
        self.faces.append((self.size, self.size + len(polygon), material, normal))
        self.size += len(polygon)

    def prism(self, profile: list[tuple[float, float]], half: list[float], materials: list[str]) -> None:
        """Add the body spanned by a side profile of (z, y) points with a half width each; `materials` are its edges', the last its sides'."""
        for i, material in enumerate(materials[:-1]):
            j = (i + 1) % len(profile)
            (z0, y0), (z1, y1), a, b = profile[i], profile[j], half[i], half[j]
            self.face([(-a, y0, z0), (a, y0, z0), (b, y1, z1), (-b, y1, z1)], material)
        for sign in (-1, 1):
            self.face([(sign * w, y, z) for (z, y), w in zip(profile, half, strict=True)], materials[-1])

    def on_sides(self, x: float, z: tuple[float, float], y: tuple[float, float], material: str) -> None:
        """Add a rectangle to both sides."""
        for sign in (-x, x):
            self.face([(sign, y[0], z[0]), (sign, y[0], z[1]), (sign, y[1], z[1]), (sign, y[1], z[0])], material)

    def on_end(self, z: float, x: tuple[float, float], y: tuple[float, float], material: str) -> None:
        """Add a rectangle to the front or rear."""
        self.face([(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)], material)

    def wheels(self, x: float, axles: tuple[float, ...], radius: float) -> None:
        """Add wheels with hubs to both sides."""
        for scale, material in ((1.22, "dark"), (1.0, "tyre"), (0.55, "hub")):
            for z in axles:
                for sign in (-x, x):
                    ring = [(sign, max(radius + radius * scale * math.sin(a), 0.0), z + radius * scale * math.cos(a)) for a in np.linspace(0, 5.6, 9)]
                    self.face(ring, material)


# kind: (length, width, height, profile in half lengths and heights)
_BODIES = {
    "sedan": (4.6, 1.8, 1.42, [(-1, 0.17), (-0.99, 0.6), (-0.72, 0.67), (-0.44, 1), (0.08, 1), (0.42, 0.67), (0.95, 0.54), (1, 0.17)]),
    "hatch": (4.0, 1.75, 1.5, [(-1, 0.17), (-0.98, 0.6), (-0.78, 1), (0.1, 1), (0.5, 0.66), (0.95, 0.52), (1, 0.17)]),
    "suv": (4.6, 1.9, 1.75, [(-1, 0.2), (-0.99, 0.6), (-0.88, 1), (0.18, 1), (0.46, 0.66), (0.95, 0.58), (1, 0.2)]),
    "van": (4.9, 1.95, 2.05, [(-1, 0.14), (-1, 0.55), (-0.96, 1), (0.42, 1), (0.74, 0.58), (0.97, 0.46), (1, 0.14)]),
    "autorickshaw": (2.7, 1.35, 1.75, [(-1, 0.16), (-0.98, 0.55), (-0.9, 1), (0.3, 1), (0.74, 0.55), (0.95, 0.42), (1, 0.16)]),
}


@lru_cache(maxsize=None)
def solids(kind: str) -> tuple[Solid, ...]:
    """Build the bodies of a vehicle kind."""
    build = {"bus": _bus, "truck": _truck, "train": _train}.get(kind)
    return build() if build else (_car(kind),)


def _car(kind: str) -> Solid:
    length, width, height, shape = _BODIES[kind]
    profile = [(z * length / 2, y * height) for z, y in shape]
    w, end = width / 2, length / 2
    half = [w * (0.78 if y == 1 else 0.97 if y < 0.3 else 1.0) for _, y in shape]
    body = Solid(np.array([0, height * 0.45, 0]))
    roof = [i for i, (_, y) in enumerate(shape) if y == 1]
    panes = (roof[0] - 1, roof[-1])
    body.prism(profile, half, ["paint"] * (len(shape) - 1) + ["paint"])
    for i in panes:
        (z0, y0), (z1, y1), a, b = profile[i], profile[i + 1], half[i] * 0.88, half[i + 1] * 0.88
        za, ya, zb, yb = z0 + 0.08 * (z1 - z0), y0 + 0.08 * (y1 - y0), z0 + 0.9 * (z1 - z0), y0 + 0.9 * (y1 - y0)
        body.face([(-a, ya, za), (a, ya, za), (b, yb, zb), (-b, yb, zb)], "glass")
    (r0, belt), (r1, top), (f1, _), (f0, _) = profile[panes[0]], profile[roof[0]], profile[roof[-1]], profile[panes[1] + 1]
    low, high, middle = belt + 0.06 * height, top - 0.06 * height, (r1 + f1) / 2
    for z in ((r0 + 0.3, middle - 0.06, middle - 0.06, r1 + 0.12), (middle + 0.06, f0 - 0.22, f1 - 0.08, middle + 0.06)):
        for sign in (-1, 1):
            corners = zip(z, (low, low, high, high), (w, w, w * 0.8, w * 0.8), strict=True)
            body.face([(sign * x, y, at) for at, y, x in corners], "dark" if kind == "autorickshaw" else "glass")
    body.on_sides(w, (-end * 0.96, end * 0.96), (0.16 * height, 0.26 * height), "trim")
    body.wheels(w, (-end * 0.62, end * 0.64), 0.31 if height < 1.7 else 0.36)
    for z, y, lamp in ((-end, 0.56 * height, "tail"), (end * 0.985, 0.42 * height, "lamp")):
        body.on_end(z, (-w * 0.95, w * 0.95), (0.15 * height, 0.3 * height), "trim")
        for sign in (-1, 1):
            body.on_end(z, (sign * w * 0.62, sign * w * 0.93), (y - 0.09, y + 0.07), lamp)
        body.on_end(z, (-0.3, 0.3), (0.28 * height, 0.28 * height + 0.13), "plate")
    return body


def _box(length: float, width: float, bottom: float, top: float, middle: float, material: str, nose: float = 0.0) -> Solid:
    """A box of a big vehicle, its front leaning back by `nose` metres."""
    body = Solid(np.array([0, (bottom + top) / 2, middle]))
    rear, front = middle - length / 2, middle + length / 2
    profile = [(rear, bottom), (rear, top), (front - nose, top), (front, bottom + (top - bottom) * 0.4), (front, bottom)]
    body.prism(profile, [width / 2] * 5, [material, "roof", material, material, material])
    return body


def _bus() -> tuple[Solid, ...]:
    body = _box(11, 2.5, 0.35, 3.1, 0, "paint", 0.15)
    body.on_sides(1.25, (-5.5, 5.5), (0.35, 0.95), "accent")
    body.on_sides(1.25, (-5.3, 5.2), (1.45, 2.55), "dark")
    for i in range(7):
        body.on_sides(1.25, (-5.2 + 1.5 * i, -3.85 + 1.5 * i), (1.5, 2.5), "glass")
    body.on_sides(1.25, (4.1, 5.1), (0.5, 2.5), "glass")
    body.wheels(1.25, (-3.2, 3.1), 0.48)
    for z, lamp in ((-5.5, "tail"), (5.5, "lamp")):
        body.on_end(z, (-1.15, 1.15), (1.3 if z > 0 else 1.7, 2.5), "glass")
        body.on_end(z, (-0.85, 0.85), (2.65, 2.98), "sign" if z > 0 else "accent")
        body.on_end(z, (-1.22, 1.22), (0.36, 0.6), "trim")
        for sign in (-1, 1):
            body.on_end(z, (sign * 0.85, sign * 1.15), (0.72, 0.98), lamp)
    return (body,)


def _truck() -> tuple[Solid, ...]:
    load, cab = _box(5.6, 2.5, 0.95, 3.5, -1.1, "load"), _box(1.9, 2.35, 0.45, 2.75, 2.85, "paint", 0.25)
    load.on_sides(1.25, (-3.8, 1.6), (0.55, 0.95), "trim")
    load.on_sides(1.25, (-3.2, 1.0), (1.9, 2.5), "accent")
    load.wheels(1.25, (-2.9, -1.8), 0.5)
    load.on_end(-3.9, (-1.2, 1.2), (0.5, 0.95), "trim")
    load.on_end(-3.9, (-0.03, 0.03), (1.0, 3.45), "trim")
    cab.on_sides(1.18, (2.4, 3.5), (1.6, 2.4), "glass")
    cab.wheels(1.18, (2.9,), 0.5)
    cab.on_end(3.8, (-1.05, 1.05), (1.42, 2.3), "glass")
    cab.on_end(3.8, (-1.15, 1.15), (0.46, 0.8), "trim")
    for sign in (-1, 1):
        load.on_end(-3.9, (sign * 0.85, sign * 1.2), (0.62, 0.86), "tail")
        cab.on_end(3.8, (sign * 0.75, sign * 1.1), (0.84, 1.08), "lamp")
    return (load, cab)


def _train() -> tuple[Solid, ...]:
    cars = []
    for middle, nose in ((-9.2, 0.0), (0.0, 0.0), (9.2, 0.9)):
        body = _box(9.0, 2.7, 0.35, 3.6, middle, "paint", nose)
        body.on_sides(1.35, (middle - 4.5, middle + 4.5), (0.35, 0.8), "trim")
        body.on_sides(1.35, (middle - 4.5, middle + 4.5), (0.8, 1.2), "accent")
        for i in range(4):
            body.on_sides(1.35, (middle - 4.2 + 2.1 * i, middle - 2.6 + 2.1 * i), (1.75, 2.85), "glass")
        body.on_sides(1.35, (middle - 0.65, middle + 0.65), (0.85, 2.9), "accent")
        for z in (middle - 4.5, middle + 4.5):
            body.on_end(z, (-1.1, 1.1), (1.85, 3.1), "glass")
            body.on_end(z, (-1.3, 1.3), (0.4, 0.85), "trim")
            for sign in (-1, 1):
                body.on_end(z, (sign * 0.75, sign * 1.1), (1.05, 1.35), "lamp" if z > 0 else "tail")
        cars.append(body)
    return tuple(cars)


def vehicle(canvas: Canvas, kind: str, place: Place, paint: Colour, accent: Colour, sky: Colour, sun: Colour) -> None:
    """Draw a car, bus, truck, train or autorickshaw.

    Args:
        canvas: Where to.
        kind: "sedan", "hatch", "suv", "van", "autorickshaw", "bus", "truck" or "train".
        place: Where and which way.
        paint: Main colour; `accent`: colour of stripes and of a truck's load.
        accent: Second colour.
        sky: What glass reflects.
        sun: Direction to the sun (x, y, z), scaled by its strength.
    """
    code = CODES.get(kind, CODES["car"])
    lights = _LIGHTS if canvas.light[0] < 0.7 else {"lamp": (226, 226, 216), "tail": (170, 24, 20), "sign": (190, 150, 50)}
    colours = {
        "paint": paint, "accent": accent, "load": accent, "roof": tuple(0.5 * c + 60 for c in paint), "glass": tuple(26 + 0.17 * c for c in sky),
        "tyre": (24, 24, 26), "hub": (128, 128, 132), "dark": (16, 16, 18), "trim": (46, 46, 50), "plate": (236, 232, 200), **lights,
    }  # fmt: skip
    x, z, heading = place
    cos, sin = math.cos(heading), math.sin(heading)
    turn = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    bodies = sorted(solids(kind), key=lambda body: -float(np.hypot(*((body.centre @ turn)[[0, 2]] + (x, z) - canvas.position[[0, 2]]))))
    for body in bodies:
        _draw_solid(canvas, body, turn, np.array([x, 0, z]), colours, code, turn @ np.array(sun))


def _draw_solid(canvas: Canvas, body: Solid, turn: np.ndarray, at: np.ndarray, colours: dict[str, Colour], code: int, sun: np.ndarray) -> None:
    points, starts, normals = body.arrays
    seen = canvas.see(points @ turn + at)
    if seen[:, 2].min() < 2 * NEAR:
        return
    pixels = canvas.pixels(seen)
    (left, top), (right, bottom) = pixels.min(0), pixels.max(0)
    if right < 0 or left > canvas.width or top > canvas.height or bottom < 0:
        return
    corners, depth, plate = fixed(pixels), float(seen[:, 2].mean()), CODES["licence plate"]
    (ax, ay), (bx, by), (cx, cy) = pixels[starts].T, pixels[starts + 1].T, pixels[starts + 2].T
    visible = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) > 0
    shades = 0.84 + 0.16 * normals[:, 1] + 0.3 * (normals @ sun)
    glowing, coarse = canvas.light[0] < 0.7, depth > 45
    for i in np.flatnonzero(visible).tolist():
        start, stop, material, _ = body.faces[i]
        if coarse and material in _SMALL:
            continue
        if glowing and material in _LIGHTS:
            colour = colours[material]
            u, v = pixels[start:stop].mean(0)
            canvas.glows.append((u, v, canvas.focal / depth * (0.2 if material == "lamp" else 0.11), colour))
        else:
            colour = canvas.lit(colours[material], depth, shades[i])
        cv2.fillConvexPoly(canvas.image, corners[start:stop], colour, canvas.edge, 4)
        if material in _OUTER:
            cv2.fillConvexPoly(canvas.codes, corners[start:stop], plate if material == "plate" else code, cv2.LINE_8, 4)


# joints of a walking and of a riding person 1.75 m tall: x right, y up, z ahead; strides scale z of hands, knees and feet
_JOINTS = {
    "walk": ("hip 0 .9 0 neck 0 1.46 .02 head 0 1.62 .04 ls -.19 1.41 0 rs .19 1.41 0 lh -.12 .92 0 rh .12 .92 0 le -.25 1.14 -.1 re .25 1.14 .1 "
             "lw -.26 .88 -.16 rw .26 .88 .2 lk -.11 .5 .2 rk .11 .5 -.08 lf -.11 .06 .24 rf .11 .06 -.3"),
    "ride": ("hip 0 .98 -.25 neck 0 1.5 .0 head 0 1.67 .08 ls -.2 1.44 0 rs .2 1.44 0 lh -.13 .98 -.22 rh .13 .98 -.22 le -.27 1.2 .2 re .27 1.2 .2 "
             "lw -.27 1.08 .45 rw .27 1.08 .45 lk -.15 .76 .12 rk .15 .66 .14 lf -.14 .34 -.1 rf .14 .26 .0"),
}  # fmt: skip


@lru_cache(maxsize=None)
def _pose(name: str) -> tuple[dict[str, int], np.ndarray]:
    words = _JOINTS[name].split()
    return {joint: i for i, joint in enumerate(words[::4])}, np.array([[float(v) for v in words[i + 1 : i + 4]] for i in range(0, len(words), 4)])


def _strokes(canvas: Canvas, points: np.ndarray, place: Place) -> tuple[np.ndarray, float, float] | None:
    """Project local points of a thin thing: (fixed-point pixels, pixels per metre, depth), or None when it is too near."""
    x, z, heading = place
    cos, sin = math.cos(heading), math.sin(heading)
    seen = canvas.see(points @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]) + np.array([x, 0, z]))
    depth = float(seen[:, 2].mean())
    if seen[:, 2].min() < 2 * NEAR or abs(float(seen[:, 0].mean())) > depth * canvas.width / canvas.focal:
        return None
    return fixed(canvas.pixels(seen)), canvas.focal / depth, depth


def _line(canvas: Canvas, a: np.ndarray, b: np.ndarray, width: float, colour: Colour, code: int) -> None:
    start, end, thick = a.tolist(), b.tolist(), max(round(width), 1)
    cv2.line(canvas.image, start, end, colour, thick, canvas.edge, 4)
    cv2.line(canvas.codes, start, end, code, thick, cv2.LINE_8, 4)


def figure(canvas: Canvas, place: Place, random: Random, riding: bool = False, tall: float = 1.75, lift: float = 0.0) -> None:
    """Draw a person on foot, or a rider (helmet, sitting) whose vehicle is drawn apart."""
    index, joints = _pose("ride" if riding else "walk")
    scale = np.array([tall / 1.75] * 3) * (1, 1, 1 if riding else random.uniform(-1.2, 1.2))
    projected = _strokes(canvas, joints * scale + (0, lift, 0), place)
    if projected is None:
        return
    at, metre, depth = projected
    code = CODES["rider" if riding else "person"]
    top = random.choice([(170, 40, 40), (40, 60, 130), (230, 225, 215), (40, 40, 44), (60, 110, 80), (210, 160, 60), (120, 70, 110), (90, 130, 170)])
    legs = random.choice([(30, 32, 44), (50, 58, 84), (86, 76, 62), (24, 24, 26)])
    skin, hair = random.choice([(222, 176, 146), (176, 124, 92), (116, 78, 56)]), random.choice([(34, 26, 22), (92, 66, 40), (60, 56, 54)])
    shirt, trousers, face = (canvas.lit(c, depth) for c in (top, legs, skin))
    for side in "lr":
        _line(canvas, at[index[side + "h"]], at[index[side + "k"]], 0.17 * metre, trousers, code)
        _line(canvas, at[index[side + "k"]], at[index[side + "f"]], 0.13 * metre, trousers, code)
    sleeve = _scaled(shirt, 0.88)
    for side in "lr":
        _line(canvas, at[index[side + "s"]], at[index[side + "e"]], 0.11 * metre, sleeve, code)
        _line(canvas, at[index[side + "e"]], at[index[side + "w"]], 0.09 * metre, sleeve if riding else face, code)
    _line(canvas, at[index["hip"]], at[index["neck"]], 0.2 * metre, shirt, code)
    canvas.polygon(at[[index["ls"], index["rs"], index["rh"], index["lh"]]], shirt, code)
    head = at[index["head"]]
    for offset, radius, colour in ((0.0, 0.115, face), (0.045, 0.12, canvas.lit((196, 40, 36) if riding and random.random() < 0.5 else hair, depth))):
        centre = head - np.array([0, round(16 * offset * metre)])
        angle = (0, 360) if not offset else (180, 360)
        axes = (max(round(16 * radius * metre), 12), max(round(16 * radius * 1.15 * metre), 14))
        cv2.ellipse(canvas.image, centre.tolist(), axes, 0, *angle, colour, -1, canvas.edge, 4)
        cv2.ellipse(canvas.codes, centre.tolist(), axes, 0, *angle, code, -1, cv2.LINE_8, 4)


_BICYCLE = np.array([(0, 0.34, -0.53), (0, 0.34, 0.53), (0, 0.3, -0.05), (0, 0.86, -0.2), (0, 0.86, 0.38), (-0.26, 1.0, 0.42), (0.26, 1.0, 0.42), (0, 0.92, -0.24)])
_MOTORCYCLE = np.array([(0, 0.31, -0.62), (0, 0.31, 0.66), (0, 0.42, -0.1), (0, 0.78, -0.72), (0, 0.8, 0.3), (-0.33, 1.0, 0.4), (0.33, 1.0, 0.4), (0, 0.72, -0.1)])


def two_wheeler(canvas: Canvas, kind: str, place: Place, random: Random, rider: bool) -> None:
    """Draw a bicycle or motorcycle, and its rider, if any, sitting on it."""
    motor, frame = kind == "motorcycle", _MOTORCYCLE if kind == "motorcycle" else _BICYCLE
    angles = np.linspace(0, 2 * math.pi, 14)[:-1]
    rings = [frame[i] + frame[i, 1] * np.stack([0 * angles, np.sin(angles), np.cos(angles)], 1) for i in (0, 1)]
    projected = _strokes(canvas, np.concatenate([frame, *rings]), place)
    if projected is None:
        return
    at, metre, depth = projected
    code, tyre = CODES[kind], canvas.lit((28, 28, 30), depth)
    paint = canvas.lit(random.choice([(160, 30, 30), (30, 60, 140), (36, 36, 40), (200, 200, 196), (30, 110, 70)]), depth)
    for ring in (at[8:21], at[21:34]):
        x, y = np.clip(ring.mean(0) / 16, 0, (canvas.width - 1, canvas.height - 1)).astype(int)
        behind = canvas.image[y, x].tolist()
        canvas.polygon(ring, tyre if motor else tuple(0.65 * b + 0.35 * t for b, t in zip(behind, tyre, strict=True)), code)
        thick = max(round((0.11 if motor else 0.055) * metre), 1)
        cv2.polylines(canvas.image, [ring], True, tyre, thick, canvas.edge, 4)
        cv2.polylines(canvas.codes, [ring], True, code, thick, cv2.LINE_8, 4)
    bars = ((0, 2), (2, 4), (0, 3), (2, 3), (3, 4), (4, 1), (4, 5), (4, 6), (5, 6)) if not motor else ((4, 1), (4, 5), (4, 6), (0, 2))
    for a, b in bars:
        _line(canvas, at[a], at[b], (0.08 if motor else 0.045) * metre, paint if 5 not in (a, b) else tyre, code)
    if motor:
        _line(canvas, at[2], at[7], 0.34 * metre, tyre, code)
        _line(canvas, at[7], at[4], 0.27 * metre, paint, code)
        _line(canvas, at[7], at[3], 0.2 * metre, tyre, code)
        towards = math.cos(place[2]) < 0
        lamp, where = (_LIGHTS["lamp"], at[4]) if towards else (_LIGHTS["tail"], at[3])
        _line(canvas, where, where, 0.18 * metre, lamp, code)
        if canvas.light[0] < 0.7:
            canvas.glows.append((where[0] / 16, where[1] / 16, 0.14 * metre, lamp))
    else:
        _line(canvas, at[7], at[7], 0.2 * metre, tyre, code)
    if rider:
        figure(canvas, place, random, riding=True, lift=-0.1 if motor else 0.0)


@lru_cache(maxsize=None)
def foliage(kind: str, variety: int) -> tuple[np.ndarray, np.ndarray]:
    """Brightness and mask, (112, 112) uint8 each, of a tree crown or bush: "round", "fir", "palm", "bare" or "bush"."""
    y, x = np.mgrid[-1:1:112j, -1:1:112j].astype(np.float32)
    rough, fine = noise(10 + variety, 112, 112, 1.3), noise(30 + variety, 112, 112, 0.7)
    lum = np.clip(118 - 44 * y + 26 * rough - 22 * x + 26 * fine, 0, 255).astype(np.uint8)
    mask = np.zeros((112, 112), np.uint8)
    if kind == "round":
        mask[(x**2 + y**2 + 0.2 * rough + 0.07 * fine) < 0.72] = 255
    elif kind == "bush":
        mask[(x**2 + (0.5 * y - 0.5) ** 2 + 0.12 * rough + 0.05 * fine) < 0.72] = 255
    elif kind == "fir":
        mask[np.abs(x) + 0.05 * fine < (y + 1) * 0.3 * (0.8 + 0.35 * np.mod((y + 1) * 3, 1))] = 255
    else:
        _branches(mask, kind, Random(variety))
    return lum, mask


def _branches(mask: np.ndarray, kind: str, random: Random) -> None:
    """Palm fronds, or the twigs of a bare tree."""
    for i in range(13 if kind == "palm" else 26):
        angle = math.radians(200 + 140 * i / 12) if kind == "palm" else math.radians(random.uniform(185, 355))
        x, y = (56.0, 40.0) if kind == "palm" else (56.0 + random.uniform(-4, 4), 108.0 - random.uniform(0, 40))
        for step in range(10):
            ahead = x + 6.2 * math.cos(angle), y + 6.2 * math.sin(angle)
            thick = max(9 - step, 3) if kind == "palm" else max(5 - step // 2, 2)
            cv2.line(mask, (round(x), round(y)), (round(ahead[0]), round(ahead[1])), 255, thick)
            (x, y) = ahead
            angle += (0.17 if math.cos(angle) > 0 else -0.17) if kind == "palm" else random.uniform(-0.35, 0.35)


def tree(canvas: Canvas, x: float, z: float, height: float, kind: str, leaves: tuple[Colour, Colour], random: Random) -> None:
    """Draw a tree (trunk and crown) or a bush, all of it vegetation."""
    depth = max(canvas.distance(x, z), 1.0)
    dark, bright = (np.array(canvas.lit(c, depth, random.uniform(0.85, 1.1))) for c in leaves)
    palette = (dark + np.linspace(0, 1, 256)[:, None] * (bright - dark)).astype(np.uint8)[:, None]
    lum, mask = foliage(kind, random.randrange(6))
    code, wide = CODES["vegetation"], height * random.uniform(0.55, 0.8)
    if kind == "bush":
        canvas.sprite(np.array([x, height / 2, z]), (height * 1.7, height), lum, mask, palette, code)
        return
    crown = {"palm": 0.42, "fir": 0.88, "bare": 0.75}.get(kind, 0.7)
    stem = _strokes(canvas, np.array([(0, 0, 0), (0, height * (1 - 0.6 * crown), 0)]), (x, z, 0.0))
    if stem is not None:
        _line(canvas, stem[0][0], stem[0][1], (0.16 + 0.018 * height) * stem[1], canvas.lit((88, 70, 54), depth), code)
    canvas.sprite(np.array([x, height * (1 - crown / 2), z]), (wide * (1.1 if kind != "fir" else 0.7), height * crown), lum, mask, palette, code)


def post(canvas: Canvas, x: float, z: float, height: float, width: float = 0.14, arm: float = 0.0, lamp: bool = False) -> None:
    """Draw a pole, with an arm of a street lamp (metres, signed) if asked."""
    points = np.array([(0, 0, 0), (0, height, 0), (arm, height + 0.12 * abs(arm), 0)])
    projected = _strokes(canvas, points, (x, z, 0.0))
    if projected is None:
        return
    at, metre, depth = projected
    grey = canvas.lit((112, 114, 116), depth)
    _line(canvas, at[0], at[1], width * metre, grey, CODES["pole"])
    if arm:
        _line(canvas, at[1], at[2], 0.7 * width * metre, grey, CODES["pole"])
        _line(canvas, at[2], at[2] + np.array([round(8 * math.copysign(metre, arm)), 0]), 0.16 * metre, (255, 226, 170) if lamp else grey, CODES["pole"])
        if lamp:
            canvas.glows.append((at[2][0] / 16, at[2][1] / 16, 0.32 * metre, (255, 206, 130)))


def traffic_light(canvas: Canvas, x: float, z: float, y: float, state: int, size: float = 1.0) -> None:
    """Draw a signal head, `state` 0 red, 1 amber, 2 green, its foot at `y` metres."""
    offsets = [(-0.2, 0), (0.2, 0), (0.2, 1.05), (-0.2, 1.05), (0, 0.86), (0, 0.53), (0, 0.2)]
    projected = _strokes(canvas, np.array([(size * dx, y + size * dy, 0) for dx, dy in offsets]), (x, z, 0.0))
    if projected is None:
        return
    at, metre, depth = projected
    canvas.polygon(at[:4], canvas.lit((26, 30, 28), depth), CODES["traffic light"])
    for i, colour in enumerate(((255, 44, 30), (255, 180, 30), (40, 235, 120))):
        radius = max(round(16 * 0.13 * size * metre), 10)
        shown = colour if i == state else canvas.lit((52, 50, 48), depth)
        cv2.circle(canvas.image, at[4 + i].tolist(), radius, shown, -1, canvas.edge, 4)
        if i == state and canvas.light[0] < 0.7:
            canvas.glows.append((at[4 + i][0] / 16, at[4 + i][1] / 16, 0.2 * metre, colour))


_SIGNS: tuple[tuple[int, Colour, Colour], ...] = (
    (16, (200, 20, 26), (244, 244, 240)), (3, (200, 20, 26), (244, 244, 240)), (4, (24, 74, 176), (240, 240, 244)), (8, (196, 20, 24), (190, 30, 30)),
    (16, (24, 74, 176), (40, 90, 190)), (-4, (236, 190, 30), (240, 200, 40)), (5, (20, 110, 60), (30, 120, 70)),
)  # fmt: skip


def traffic_sign(canvas: Canvas, x: float, z: float, y: float, which: int, size: float = 0.42) -> None:
    """Draw one of the round, triangular, square, octagonal, diamond or guide signs, its middle at `y` metres."""
    sides, rim, inner = _SIGNS[which % len(_SIGNS)]
    turn = {3: math.pi / 2, 4: math.pi / 4, -4: 0.0, 8: math.pi / 8}.get(sides, 0.0)
    angles = turn + np.linspace(0, 2 * math.pi, abs(sides) + 1)[:-1]
    ring = np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)
    if sides == 5:
        ring = np.array([(-1.9, -1, 0), (1.9, -1, 0), (1.9, 1, 0), (-1.9, 1, 0)])
    projected = _strokes(canvas, np.concatenate([ring * size, ring * size * 0.7]) + (0, y, 0), (x, z, 0.0))
    if projected is None:
        return
    at, _, depth = projected
    canvas.polygon(at[: len(ring)], canvas.lit(rim, depth, 1.1), CODES["traffic sign"])
    canvas.polygon(at[len(ring) :], canvas.lit(inner, depth, 1.1), None)


def facade(canvas: Canvas, random: Random, wall: Colour, size: tuple[float, float], depth: float, shade: float, lamps: bool) -> np.ndarray:
    """Make the texture of a house front: rows of windows over a ground floor, often with a shop.

    Args:
        canvas: Whose light and haze it gets, at `depth` metres.
        random: Decides style and windows.
        wall: Colour of the wall.
        size: Width and height in metres.
        depth: Distance in metres; far fronts get a coarser texture.
        shade: Light from the sun, about 1.
        lamps: Whether some windows are lit.

    Returns:
        (h, w, 3) uint8.
    """
    bays, floors = max(round(size[0] / random.uniform(2.4, 3.6)), 1), max(round(size[1] / 3.1), 1)
    cell = min(max(round(canvas.focal * 2.6 / depth), 6), 26)
    left, right = round(cell * random.uniform(0.16, 0.3)), round(cell * 0.76)
    top, bottom = round(cell * 0.22), round(cell * random.uniform(0.7, 0.86))
    tile, pane = np.empty((cell, cell, 3), np.uint8), np.zeros((cell, cell), np.uint8)
    tile[:] = canvas.lit(wall, depth, shade)
    cv2.rectangle(tile, (left - 1, top - 1), (right, bottom), canvas.lit(_scaled(wall, 1.22), depth, shade), -1)
    pane[top:bottom, left:right] = 255
    sheet = np.tile(tile, (floors, bays, 1))
    dark, bright = (canvas.lit(c, depth, 0.85) for c in ((40, 50, 62), (86, 100, 116)))
    choices = [dark, bright, dark, _scaled(dark, 1.3), (250, 206, 128) if lamps else dark, (236, 180, 100) if lamps else _scaled(bright, 1.25)]
    panes = np.array(random.choices(choices, k=floors * bays), np.uint8).reshape(floors, bays, 3)
    cv2.copyTo(cv2.resize(panes, (bays * cell, floors * cell), interpolation=cv2.INTER_NEAREST), np.tile(pane, (floors, bays)), sheet)
    if random.random() < 0.6:
        street, sign = (floors - 1) * cell, canvas.lit(random.choice(_SHOPS), depth, 1.6 if lamps else shade)
        cv2.rectangle(sheet, (0, street + cell // 4), (bays * cell, floors * cell), canvas.lit((44, 46, 52), depth, shade), -1)
        cv2.rectangle(sheet, (0, street), (bays * cell, street + cell // 4), sign, -1)
        for bay in range(bays):
            cv2.rectangle(sheet, (bay * cell, street + cell // 4), (bay * cell + cell // 6, floors * cell), tile[0, 0].tolist(), -1)
    cv2.rectangle(sheet, (0, 0), (bays * cell, max(cell // 7, 1)), canvas.lit(_scaled(wall, 0.75), depth, shade), -1)
    return sheet


_SHOPS: tuple[Colour, ...] = ((190, 50, 44), (40, 90, 150), (60, 120, 80), (220, 180, 60), (226, 222, 212), (110, 70, 90), (70, 70, 76))


def _scaled(colour: Colour, gain: float) -> Colour:
    red, green, blue = (min(c * gain, 255.0) for c in colour)
    return red, green, blue
