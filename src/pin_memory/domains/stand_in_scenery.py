"""What lines the stand-ins' streets: trees, poles, signs, signals, barriers, billboards and house fronts."""

import math
from functools import cache, partial
from random import Random

import cv2
import numpy as np

from pin_memory.domains.stand_in_canvas import CODES, Canvas, Colour, blend, noise, scaled
from pin_memory.domains.stand_in_looks import Look

_SIGNALS: tuple[Colour, ...] = ((255, 44, 30), (255, 180, 30), (40, 235, 120))
_SHOPS: tuple[Colour, ...] = ((190, 50, 44), (40, 90, 150), (60, 120, 80), (220, 180, 60), (226, 222, 212), (110, 70, 90), (70, 70, 76))
# (corners, turn in radians, rim, field) of prohibition, warning, square, stop, obligation, priority and, without corners, guide signs
_SIGNS: tuple[tuple[int, float, Colour, Colour], ...] = (
    (16, 0.0, (200, 20, 26), (244, 244, 240)),
    (3, math.pi / 2, (200, 20, 26), (244, 244, 240)),
    (4, math.pi / 4, (24, 74, 176), (240, 240, 244)),
    (8, math.pi / 8, (196, 20, 24), (190, 30, 30)),
    (16, 0.0, (24, 74, 176), (40, 90, 190)),
    (4, 0.0, (236, 190, 30), (240, 200, 40)),
    (0, 0.0, (20, 110, 60), (30, 120, 70)),
)


@cache
def texture(kind: str) -> np.ndarray:
    """A periodic gain of 8 m x 8 m, (256, 256) uint8 around 128: "asphalt", "slabs", "grass" or "bricks"."""
    rough, fine = noise(1, 256, 256, 1.0), noise(2, 256, 256, 0.35)
    weights = {"asphalt": (6, 9), "grass": (15, 20), "slabs": (5, 5), "bricks": (6, 6)}[kind]
    gain = 128 + weights[0] * rough + weights[1] * fine
    if step := {"slabs": 32, "bricks": 8}.get(kind):
        gain[::step] *= 0.8
        gain[:, ::step] *= 0.86
    return np.clip(gain, 0, 255).astype(np.uint8)


@cache
def foliage(kind: str, variety: int) -> tuple[np.ndarray, np.ndarray]:
    """Brightness and mask, (112, 112) uint8 each, of a tree crown or bush: "round", "fir", "palm", "bare" or "bush"."""
    y, x = np.mgrid[-1:1:112j, -1:1:112j].astype(np.float32)
    rough, fine = noise(10 + variety, 112, 112, 1.3), noise(30 + variety, 112, 112, 0.7)
    lum = np.clip(118 - 44 * y + 26 * rough - 22 * x + 26 * fine, 0, 255).astype(np.uint8)
    if kind in ("palm", "bare"):
        return lum, _branches(kind, Random(variety))
    shapes = {
        "round": x**2 + y**2 + 0.2 * rough + 0.07 * fine < 0.72,
        "bush": x**2 + (0.5 * y - 0.5) ** 2 + 0.12 * rough + 0.05 * fine < 0.72,
        "fir": np.abs(x) + 0.05 * fine < (y + 1) * 0.3 * (0.8 + 0.35 * np.mod((y + 1) * 3, 1)),
    }
    return lum, np.where(shapes[kind], np.uint8(255), np.uint8(0))


def _branches(kind: str, random: Random) -> np.ndarray:
    """Mask of palm fronds, or of the twigs of a bare tree."""
    mask, palm = np.zeros((112, 112), np.uint8), kind == "palm"
    for i in range(13 if palm else 26):
        angle = math.radians(200 + 140 * i / 12) if palm else math.radians(random.uniform(185, 355))
        x, y = (56.0, 40.0) if palm else (56.0 + random.uniform(-4, 4), 108.0 - random.uniform(0, 40))
        for step in range(10):
            ahead = x + 6.2 * math.cos(angle), y + 6.2 * math.sin(angle)
            thick = max(9 - step, 3) if palm else max(5 - step // 2, 2)
            cv2.line(mask, (round(x), round(y)), (round(ahead[0]), round(ahead[1])), 255, thick)
            x, y = ahead
            angle += math.copysign(0.17, math.cos(angle)) if palm else random.uniform(-0.35, 0.35)
    return mask


def tree(canvas: Canvas, x: float, z: float, height: float, kind: str, leaves: tuple[Colour, Colour], random: Random) -> None:
    """Draw a tree (trunk and crown) or a bush, all of it vegetation; `leaves` are its darkest and brightest colour."""
    depth = max(canvas.distance(x, z), 1.0)
    dark, bright = (np.array(canvas.lit(colour, depth, random.uniform(0.85, 1.1))) for colour in leaves)
    palette = (dark + np.linspace(0, 1, 256)[:, None] * (bright - dark)).astype(np.uint8)[:, None]
    shape, code, wide = foliage(kind, random.randrange(6)), CODES["vegetation"], height * random.uniform(0.55, 0.8)
    if kind == "bush":
        canvas.sprite((x, height / 2, z), (height * 1.7, height), shape, palette, code)
        return
    crown = {"palm": 0.42, "fir": 0.88, "bare": 0.75}.get(kind, 0.7)
    stem = canvas.strokes(np.array([(0, 0, 0), (0, height * (1 - 0.6 * crown), 0)]), (x, z, 0.0))
    if stem is not None:
        canvas.line(stem[0][0], stem[0][1], (0.16 + 0.018 * height) * stem[1], canvas.lit((88, 70, 54), depth), code)
    canvas.sprite((x, height * (1 - crown / 2), z), (wide * (0.7 if kind == "fir" else 1.1), height * crown), shape, palette, code)


def post(canvas: Canvas, x: float, z: float, height: float, width: float = 0.14, arm: float = 0.0, lamp: bool = False) -> None:
    """Draw a pole and, if `arm` is not 0, its arm to the right (metres) with a head, which glows if it is a lit `lamp`."""
    points = np.array([(0, 0, 0), (0, height, 0), (arm, height + 0.12 * abs(arm), 0)])
    projected = canvas.strokes(points, (x, z, 0.0))
    if projected is None:
        return
    at, metre, depth = projected
    grey, code = canvas.lit((112, 114, 116), depth), CODES["pole"]
    canvas.line(at[0], at[1], width * metre, grey, code)
    if arm:
        canvas.line(at[1], at[2], 0.7 * width * metre, grey, code)
        head = np.array([round(math.copysign(8 * metre, arm)), 0])
        canvas.line(at[2], at[2] + head, 0.16 * metre, (255, 226, 170) if lamp else grey, code)
        if lamp:
            canvas.glows.append((at[2][0] / 16, at[2][1] / 16, 0.32 * metre, (255, 206, 130)))


def traffic_light(canvas: Canvas, x: float, z: float, y: float, state: int) -> None:
    """Draw a signal head whose foot is `y` metres high; `state` 0 is red, 1 amber, 2 green."""
    offsets = [(-0.2, 0), (0.2, 0), (0.2, 1.05), (-0.2, 1.05), (0, 0.86), (0, 0.53), (0, 0.2)]
    projected = canvas.strokes(np.array([(dx, y + dy, 0) for dx, dy in offsets]), (x, z, 0.0))
    if projected is None:
        return
    at, metre, depth = projected
    canvas.polygon(at[:4], canvas.lit((26, 30, 28), depth), CODES["traffic light"])
    for i, colour in enumerate(_SIGNALS):
        shown = colour if i == state else canvas.lit((52, 50, 48), depth)
        cv2.circle(canvas.image, at[4 + i].tolist(), max(round(2.1 * metre), 10), shown, -1, canvas.edge, 4)
        if i == state and canvas.night:
            canvas.glows.append((at[4 + i][0] / 16, at[4 + i][1] / 16, 0.2 * metre, colour))


def traffic_sign(canvas: Canvas, x: float, z: float, y: float, which: int, size: float = 0.42) -> None:
    """Draw sign number `which`, its middle at `y` metres, `size` metres from there to its corners."""
    corners, first, rim, inner = _SIGNS[which % len(_SIGNS)]
    angles = first + np.arange(corners) * 2 * math.pi / max(corners, 1)
    ring = (
        np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1) if corners else np.array([(-2, -1, 0), (2, -1, 0), (2, 1, 0), (-2, 1, 0)])
    )
    projected = canvas.strokes(np.concatenate([ring, ring * 0.7]) * size + np.array([0, y, 0]), (x, z, 0.0))
    if projected is None:
        return
    at, _, depth = projected
    canvas.polygon(at[: len(ring)], canvas.lit(rim, depth, 1.1), CODES["traffic sign"])
    canvas.polygon(at[len(ring) :], canvas.lit(inner, depth, 1.1), None)


def billboard(canvas: Canvas, x: float, z: float, random: Random) -> None:
    """Draw an advertisement on a post, which no data set counts among the classes."""
    post(canvas, x, z, 4.0, 0.25)
    sheet = np.empty((24, 40, 3), np.uint8)
    sheet[:] = canvas.lit(random.choice(_SHOPS), z)
    cv2.circle(sheet, (28, 12), 7, canvas.lit((240, 210, 90), z), -1)
    cv2.rectangle(sheet, (3, 6), (18, 9), canvas.lit((240, 240, 240), z), -1)
    canvas.panel((x - 2, 3.4, z), (x + 2, 3.4, z), 2.4, lambda: sheet, CODES["billboard"])


def barrier(canvas: Canvas, look: Look, kind: str, x: float, z: tuple[float, float], height: float, tint: float) -> None:
    """Draw a stretch of "fence", "wall" or "hedge" along the street."""
    near, far = (x, 0.0, z[0]), (x, 0.0, z[1])
    depth = max(canvas.distance(x, (z[0] + z[1]) / 2), 2.0)
    if kind == "fence":
        make = partial(_bars, canvas.lit(scaled((96, 98, 94), tint), depth))
    elif kind == "wall":
        make = partial(_surface, canvas.lit(scaled((168, 150, 132), tint), depth, 0.9), look.texture, "bricks")
    else:
        make = partial(_surface, canvas.lit(blend(*look.leaves, 0.5), depth, 0.9), 2 * max(look.texture, 0.3), "grass")
    canvas.panel(*((near, far) if x > 0 else (far, near)), height, make, CODES["vegetation" if kind == "hedge" else kind])


def _bars(colour: Colour) -> np.ndarray:
    sheet = np.zeros((32, 216, 4), np.uint8)
    sheet[:, 0::8] = sheet[:, 1::8] = sheet[3:6] = sheet[26:29] = (*colour, 255)
    sheet[:, :4] = (*colour, 255)
    return sheet


def _surface(colour: Colour, weight: float, kind: str) -> np.ndarray:
    """A texture in shades of a colour, with a brighter rim on top."""
    gains = np.maximum(1 + weight * (np.arange(256)[:, None, None] / 128 - 1), 0)
    palette = np.clip(gains * colour, 0, 255).astype(np.uint8)
    sheet = np.asarray(cv2.applyColorMap(texture(kind)[:48, :216].copy(), palette))
    sheet[:5] = scaled(colour, 1.25)
    return sheet


def house(canvas: Canvas, look: Look, random: Random, wall: Colour, size: tuple[float, float], depth: float, shade: float) -> np.ndarray:
    """Make the texture of a house front: rows of windows over a ground floor, often with a shop.

    Args:
        canvas: Whose light and haze it gets.
        look: Whether its windows are lit.
        random: Decides style and windows.
        wall: Colour of the wall.
        size: Width and height in metres.
        depth: Distance in metres; far fronts get a coarser texture.
        shade: Light from the sun, about 1.

    Returns:
        (h, w, 3) uint8.
    """
    bays, floors = max(round(size[0] / random.uniform(2.4, 3.6)), 1), max(round(size[1] / 3.1), 1)
    cell = min(max(round(canvas.focal * 2.6 / depth), 6), 26)
    left, right, top, bottom = cell * random.uniform(0.16, 0.3), cell * 0.76, cell * 0.22, cell * random.uniform(0.7, 0.86)
    tile, pane = np.empty((cell, cell, 3), np.uint8), np.zeros((cell, cell), np.uint8)
    tile[:] = canvas.lit(wall, depth, shade)
    cv2.rectangle(tile, (round(left) - 1, round(top) - 1), (round(right), round(bottom)), canvas.lit(scaled(wall, 1.22), depth, shade), -1)
    pane[round(top) : round(bottom), round(left) : round(right)] = 255
    sheet = np.tile(tile, (floors, bays, 1))
    dark, bright = (canvas.lit(colour, depth, 0.85) for colour in ((40, 50, 62), (86, 100, 116)))
    lit = ((250, 206, 128), (236, 180, 100)) if look.lamps else (dark, scaled(bright, 1.25))
    panes = np.array(random.choices((dark, bright, dark, scaled(dark, 1.3), *lit), k=floors * bays), np.uint8).reshape(floors, bays, 3)
    cv2.copyTo(cv2.resize(panes, (bays * cell, floors * cell), interpolation=cv2.INTER_NEAREST), np.tile(pane, (floors, bays)), sheet)
    if random.random() < 0.6:
        _shop(sheet, cell, canvas.lit(random.choice(_SHOPS), depth, 1.6 if look.lamps else shade), canvas.lit((44, 46, 52), depth, shade))
    sheet[: max(cell // 7, 1)] = canvas.lit(scaled(wall, 0.75), depth, shade)
    return sheet


def _shop(sheet: np.ndarray, cell: int, sign: Colour, glass: Colour) -> None:
    """Turn the lowest floor into a shop: a sign over wide panes between pillars."""
    wall = sheet[-1, 0].copy()
    sheet[-cell:] = sign
    sheet[-cell + cell // 4 :] = glass
    for bay in range(0, sheet.shape[1], cell):
        sheet[-cell + cell // 4 :, bay : bay + cell // 6] = wall
