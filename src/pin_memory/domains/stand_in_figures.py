"""The stand-ins' people and two-wheelers: sticks of the right thickness between joints."""

import math
from functools import cache
from random import Random

import cv2
import numpy as np

from pin_memory.domains.stand_in_canvas import CODES, Canvas, Colour, Place, blend, scaled

_SHIRTS: tuple[Colour, ...] = (
    (170, 40, 40), (40, 60, 130), (230, 225, 215), (40, 40, 44), (60, 110, 80), (210, 160, 60), (120, 70, 110), (90, 130, 170)
)  # fmt: skip
_TROUSERS: tuple[Colour, ...] = ((30, 32, 44), (50, 58, 84), (86, 76, 62), (24, 24, 26))
_SKIN: tuple[Colour, ...] = ((222, 176, 146), (176, 124, 92), (116, 78, 56))
_HAIR: tuple[Colour, ...] = ((34, 26, 22), (92, 66, 40), (60, 56, 54))
_HELMETS: tuple[Colour, ...] = ((196, 40, 36), (40, 40, 44), (220, 220, 214))
_PAINTS: tuple[Colour, ...] = ((160, 30, 30), (30, 60, 140), (36, 36, 40), (200, 200, 196), (30, 110, 70))

# Joints of a walking and of a riding person 1.75 m tall: right, up, ahead. l/r + s shoulder, e elbow, w wrist, h hip, k knee, f foot.
_JOINTS = {
    "walk": (
        "hip 0 .9 0 neck 0 1.46 .02 head 0 1.62 .04 ls -.19 1.41 0 rs .19 1.41 0 lh -.12 .92 0 rh .12 .92 0 le -.25 1.14 -.1 "
        "re .25 1.14 .1 lw -.26 .88 -.16 rw .26 .88 .2 lk -.11 .5 .2 rk .11 .5 -.08 lf -.11 .06 .24 rf .11 .06 -.3"
    ),
    "ride": (
        "hip 0 .98 -.25 neck 0 1.5 .0 head 0 1.67 .08 ls -.2 1.44 0 rs .2 1.44 0 lh -.13 .98 -.22 rh .13 .98 -.22 le -.27 1.2 .2 "
        "re .27 1.2 .2 lw -.27 1.08 .45 rw .27 1.08 .45 lk -.15 .76 .12 rk .15 .66 .14 lf -.14 .34 -.1 rf .14 .26 .0"
    ),
}

# Points of a two-wheeler: rear and front axle, pedals, seat post or tail, steering head, handles, seat.
_FRAMES = {
    "bicycle": "0 .34 -.53  0 .34 .53  0 .3 -.05  0 .86 -.2  0 .86 .38  -.26 1 .42  .26 1 .42  0 .92 -.24",
    "motorcycle": "0 .31 -.62  0 .31 .66  0 .42 -.1  0 .78 -.72  0 .8 .3  -.33 1 .4  .33 1 .4  0 .72 -.1",
}
_BARS = {
    "bicycle": ((0, 2), (2, 4), (0, 3), (2, 3), (3, 4), (4, 1), (4, 5), (4, 6), (5, 6)),
    "motorcycle": ((4, 1), (4, 5), (4, 6), (0, 2)),
}


@cache
def _pose(name: str) -> tuple[dict[str, int], np.ndarray]:
    words = _JOINTS[name].split()
    places = [[float(word) for word in words[i + 1 : i + 4]] for i in range(0, len(words), 4)]
    return {joint: i for i, joint in enumerate(words[::4])}, np.array(places)


def figure(canvas: Canvas, place: Place, random: Random, riding: bool = False, tall: float = 1.75, lift: float = 0.0) -> None:
    """Draw a person on foot, or a rider, whose vehicle is drawn apart.

    Args:
        canvas: Where to.
        place: Where, and which way the person goes.
        random: Decides clothes and stride.
        riding: Whether to draw a sitting rider.
        tall: Height in metres.
        lift: Height of the seat above a bicycle's, in metres.
    """
    index, joints = _pose("ride" if riding else "walk")
    stride = 1.0 if riding else random.uniform(-1.2, 1.2)
    projected = canvas.strokes(joints * (tall / 1.75) * (1, 1, stride) + (0, lift, 0), place)
    if projected is None:
        return
    at, metre, depth = projected
    code = CODES["rider" if riding else "person"]
    shirt, trousers, skin = (canvas.lit(random.choice(colours), depth) for colours in (_SHIRTS, _TROUSERS, _SKIN))
    sleeve = scaled(shirt, 0.88)
    limbs = (("h", "k", 0.17, trousers), ("k", "f", 0.13, trousers), ("s", "e", 0.11, sleeve), ("e", "w", 0.09, sleeve if riding else skin))
    for upper, lower, width, colour in limbs:
        for side in "lr":
            canvas.line(at[index[side + upper]], at[index[side + lower]], width * metre, colour, code)
    canvas.line(at[index["hip"]], at[index["neck"]], 0.2 * metre, shirt, code)
    canvas.polygon(at[[index["ls"], index["rs"], index["rh"], index["lh"]]], shirt, code)
    hair = canvas.lit(random.choice(_HELMETS if riding and random.random() < 0.6 else _HAIR), depth)
    _head(canvas, at[index["head"]], metre, skin if math.cos(place[2]) < 0.5 else hair, hair, code)


def _head(canvas: Canvas, at: np.ndarray, metre: float, face: Colour, hair: Colour, code: int) -> None:
    """A face and, a little higher, the half disc of the hair or helmet."""
    for lift, colour, first in ((0.0, face, 0), (0.045, hair, 180)):
        centre = int(at[0]), round(float(at[1]) - 16 * lift * metre)
        axes = max(round(1.85 * metre), 12), max(round(2.1 * metre), 14)
        cv2.ellipse(canvas.image, centre, axes, 0, first, 360, colour, -1, canvas.edge, 4)
        cv2.ellipse(canvas.codes, centre, axes, 0, first, 360, code, -1, cv2.LINE_8, 4)


@cache
def _cycle(kind: str) -> np.ndarray:
    """The frame's 8 points and two rings of 12 points around its axles, (32, 3)."""
    frame = np.array(_FRAMES[kind].split(), float).reshape(-1, 3)
    angles = np.arange(12) * math.pi / 6
    rings = [axle + axle[1] * np.stack([0 * angles, np.sin(angles), np.cos(angles)], 1) for axle in frame[:2]]
    return np.concatenate([frame, *rings])


def two_wheeler(canvas: Canvas, kind: str, place: Place, random: Random, rider: bool) -> None:
    """Draw a "bicycle" or "motorcycle" and, if asked, its rider sitting on it."""
    projected = canvas.strokes(_cycle(kind), place)
    if projected is None:
        return
    at, metre, depth = projected
    motor, code, tyre = kind == "motorcycle", CODES[kind], canvas.lit((28, 28, 30), depth)
    paint = canvas.lit(random.choice(_PAINTS), depth)
    for ring in (at[8:20], at[20:]):
        x, y = np.clip(ring.mean(0) / 16, 0, (canvas.width - 1, canvas.height - 1)).astype(int)
        red, green, blue = canvas.image[y, x].tolist()  # what is seen between the spokes
        canvas.polygon(ring, tyre if motor else blend((red, green, blue), tyre, 0.35), code)
        thick = max(round((0.11 if motor else 0.055) * metre), 1)
        cv2.polylines(canvas.image, [ring], True, tyre, thick, canvas.edge, 4)
        cv2.polylines(canvas.codes, [ring], True, code, thick, cv2.LINE_8, 4)
    for a, b in _BARS[kind]:
        canvas.line(at[a], at[b], (0.08 if motor else 0.045) * metre, paint if b < 5 else tyre, code)
    if motor:
        for a, b, width, colour in ((2, 7, 0.34, tyre), (7, 4, 0.27, paint), (7, 3, 0.2, tyre)):
            canvas.line(at[a], at[b], width * metre, colour, code)
        _lamp(canvas, at, metre, math.cos(place[2]) < 0, code)
    else:
        canvas.line(at[7], at[7], 0.2 * metre, tyre, code)
    if rider:
        figure(canvas, place, random, riding=True, lift=-0.1 if motor else 0.0)


def _lamp(canvas: Canvas, at: np.ndarray, metre: float, towards: bool, code: int) -> None:
    """Head or tail lamp of a motorcycle."""
    colour: Colour = (255, 236, 190) if towards else (255, 40, 24)
    where = at[4 if towards else 3]
    canvas.line(where, where, 0.16 * metre, colour, code)
    if canvas.night:
        canvas.glows.append((where[0] / 16, where[1] / 16, 0.14 * metre, colour))
