"""The stand-ins' vehicles: solid bodies built once from a few measures, and drawn face by face."""

import math
from dataclasses import dataclass, field
from functools import cache, cached_property

import cv2
import numpy as np

from pin_memory.domains.stand_in_canvas import CODES, NEAR, Canvas, Colour, Place, blend, fixed, scaled, turn

_SMALL = ("trim", "hub", "plate", "accent")  # what is left out far away
_OUTER = ("paint", "roof", "load", "tyre", "dark", "trim", "plate")  # what may reach beyond the body's own faces, or is labelled apart
_GLOWING: dict[str, Colour] = {"lamp": (255, 236, 190), "tail": (255, 40, 24), "sign": (255, 190, 60)}
_BY_DAY: dict[str, Colour] = {"lamp": (226, 226, 216), "tail": (170, 24, 20), "sign": (190, 150, 50)}


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
        """Add the body of a side profile of (z, y) points with half widths; `materials` are its edges', the last one its sides'."""
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
        angles = [math.pi * i / 6 for i in range(12)]
        for scale, material in ((1.2, "dark"), (1.0, "tyre"), (0.55, "hub")):
            for z in axles:
                ring = [(max(radius + radius * scale * math.sin(a), 0.0), z + radius * scale * math.cos(a)) for a in angles]
                for side in (-x, x):
                    self.face([(side, y, along) for y, along in ring], material)


# kind: (length, width, height, profile in half lengths and heights)
_BODIES = {
    "sedan": (4.6, 1.8, 1.42, [(-1, 0.17), (-0.99, 0.6), (-0.72, 0.67), (-0.44, 1), (0.08, 1), (0.42, 0.67), (0.95, 0.54), (1, 0.17)]),
    "hatch": (4.0, 1.75, 1.5, [(-1, 0.17), (-0.98, 0.6), (-0.78, 1), (0.1, 1), (0.5, 0.66), (0.95, 0.52), (1, 0.17)]),
    "suv": (4.6, 1.9, 1.75, [(-1, 0.2), (-0.99, 0.6), (-0.88, 1), (0.18, 1), (0.46, 0.66), (0.95, 0.58), (1, 0.2)]),
    "van": (4.9, 1.95, 2.05, [(-1, 0.14), (-1, 0.55), (-0.96, 1), (0.42, 1), (0.74, 0.58), (0.97, 0.46), (1, 0.14)]),
    "autorickshaw": (2.7, 1.35, 1.75, [(-1, 0.16), (-0.98, 0.55), (-0.9, 1), (0.3, 1), (0.74, 0.55), (0.95, 0.42), (1, 0.16)]),
}


@cache
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
    for pane in ((r0 + 0.3, middle - 0.06, middle - 0.06, r1 + 0.12), (middle + 0.06, f0 - 0.22, f1 - 0.08, middle + 0.06)):
        for sign in (-w, w):
            corners = zip(pane, (low, low, high, high), (1.0, 1.0, 0.8, 0.8), strict=True)
            body.face([(sign * share, y, z) for z, y, share in corners], "dark" if kind == "autorickshaw" else "glass")
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
        kind: "sedan", "hatch", "suv", "van" (all cars), "autorickshaw", "bus", "truck" or "train".
        place: Where and which way.
        paint: Main colour.
        accent: Colour of stripes and doors, and of a truck's load.
        sky: What glass reflects.
        sun: Direction to the sun (x, y, z), scaled by its strength 0..1.
    """
    x, z, heading = place
    colours = {"paint": paint, "accent": accent, "load": accent, "roof": blend(scaled(paint, 0.5), (120, 120, 120), 0.5)}
    colours |= {"glass": blend((26, 30, 34), sky, 0.14), "tyre": (24, 24, 26), "hub": (128, 128, 132), "dark": (16, 16, 18)}
    colours |= {"trim": (46, 46, 50), "plate": (236, 232, 200)} | (_GLOWING if canvas.night else _BY_DAY)
    axes = turn(heading)
    far_first = sorted(solids(kind), key=lambda body: -canvas.distance(*(body.centre @ axes)[[0, 2]] + (x, z)))
    for body in far_first:
        _draw(canvas, body, axes, np.array([x, 0, z]), colours, CODES.get(kind, CODES["car"]), axes @ np.array(sun))


def _draw(canvas: Canvas, body: Solid, axes: np.ndarray, at: np.ndarray, colours: dict[str, Colour], code: int, sun: np.ndarray) -> None:
    """Draw the faces of a body that look at the camera; `sun` is in the body's own coordinates."""
    points, starts, normals = body.arrays
    seen = canvas.see(points @ axes + at)
    if seen[:, 2].min() < 2 * NEAR:
        return
    pixels = canvas.pixels(seen)
    (left, top), (right, bottom) = pixels.min(0), pixels.max(0)
    if right < 0 or left > canvas.width or bottom < 0 or top > canvas.height:
        return
    corners, depth = fixed(pixels), float(seen[:, 2].mean())
    (ax, ay), (bx, by), (cx, cy) = pixels[starts].T, pixels[starts + 1].T, pixels[starts + 2].T
    facing = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) > 0
    shades = 0.84 + 0.16 * normals[:, 1] + 0.3 * (normals @ sun)
    for i in np.flatnonzero(facing).tolist():
        start, stop, material, _ = body.faces[i]
        if depth > 45 and material in _SMALL:
            continue
        colour = canvas.lit(colours[material], depth, shades[i])
        if canvas.night and material in _GLOWING:
            colour = colours[material]
            u, v = pixels[start:stop].mean(0)
            canvas.glows.append((u, v, canvas.focal / depth * (0.2 if material == "lamp" else 0.11), colour))
        cv2.fillConvexPoly(canvas.image, corners[start:stop], colour, canvas.edge, 4)
        if material in _OUTER:
            cv2.fillConvexPoly(canvas.codes, corners[start:stop], CODES["licence plate"] if material == "plate" else code, cv2.LINE_8, 4)
