"""The six looks of the stand-ins: what sets one domain apart from another, and the camera that takes the picture."""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from random import Random
from typing import Any

import cv2
import numpy as np

from pin_memory.domains.classes import CLASSES
from pin_memory.domains.stand_in_canvas import Canvas, Colour, noise

Range = tuple[float, float]

_SKY = CLASSES.index("sky")

_CARS: tuple[Colour, ...] = ((205, 207, 210), (150, 153, 158), (58, 60, 66), (28, 30, 34), (140, 32, 30), (36, 62, 120), (232, 232, 228))


@dataclass(frozen=True)
class Look:
    """What a domain's pictures have in common: camera, light, materials, how much of everything, and the camera's faults.

    Angles are in degrees, lengths in metres, colours RGB 0..255. `variants` are changes that take turns.
    """

    key: str
    domain: str
    title: str
    sizes: tuple[Range, ...]
    """(width relative to the asked width, height / width) of which one is picked per image."""
    focal: Range = (0.85, 1.0)
    eye: Range = (1.3, 1.6)
    side: Range = (-0.3, 0.3)
    yaw: Range = (-4, 4)
    pitch: Range = (1, 5)
    roll: Range = (-0.5, 0.5)
    sky: tuple[Colour, Colour] = ((80, 130, 205), (200, 216, 232))
    clouds: float = 0.3
    haze: float = 400
    ambient: float = 1.0
    headlight: float = 0.0
    sun: float = 0.0
    road: Colour = (98, 98, 102)
    walk: Colour = (158, 154, 150)
    soil: Colour = (98, 122, 62)
    walls: tuple[Colour, ...] = ((190, 180, 165),)
    cars: tuple[Colour, ...] = _CARS
    leaves: tuple[Colour, Colour] = ((24, 42, 18), (120, 152, 72))
    trees: tuple[str, ...] = ("round",)
    floors: tuple[int, int] = (3, 6)
    sides: dict[str, float] = field(default_factory=lambda: {"city": 0.5, "houses": 0.25, "park": 0.25})
    traffic: float = 0.5
    crowd: float = 0.5
    cycles: float = 0.3
    parked: float = 0.5
    marks: float = 1.0
    texture: float = 1.0
    smooth: bool = True
    saturation: float = 1.0
    contrast: float = 1.0
    gain: Colour = (1.0, 1.0, 1.0)
    blur: float = 0.0
    motion: int = 0
    sharpen: float = 0.0
    grain: float = 2.0
    vignette: float = 0.0
    glare: float = 0.0
    hood: bool = False
    lamps: bool = False
    absent: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()
    variants: tuple[dict[str, Any], ...] = ({},)

    def vary(self, index: int) -> "Look":
        """The look of picture number `index`: variants take turns, out of step with what `stand_in` shows in every fourth picture."""
        return replace(self, **self.variants[(index + index // 4) % len(self.variants)])


_GAME = Look(
    "G", "gtav", "G  GTAV: saturated game render, hard sunlight", ((1.0, 0.55),), eye=(1.2, 2.2), yaw=(-9, 9), pitch=(0, 5),
    sky=((38, 104, 208), (186, 214, 238)), clouds=0.35, haze=700, sun=0.62, road=(104, 101, 99), walk=(188, 180, 168),
    soil=(112, 132, 44), walls=((226, 198, 156), (204, 122, 88), (222, 220, 210), (132, 158, 190), (240, 224, 176), (176, 84, 62)),
    cars=((220, 30, 24), (24, 70, 190), (240, 196, 30), (20, 20, 24), (236, 236, 236), (24, 130, 70), (240, 110, 20)),
    leaves=((14, 46, 8), (122, 178, 44)), trees=("palm", "round", "palm"), floors=(2, 11), traffic=0.5, crowd=0.5, cycles=0.25,
    parked=0.45, saturation=1.35, contrast=1.2, gain=(1.05, 1.0, 0.95), sharpen=0.5, grain=0.8, ignored=frozenset({"licence plate"}),
    variants=(
        {},
        {"sky": ((60, 96, 190), (250, 206, 150)), "gain": (1.13, 1.0, 0.84)},
        {},
    ),
)  # fmt: skip
_FLAT = Look(
    "S", "synthia", "S  SYNTHIA: flat shading, odd view points", ((1.0, 0.594),), focal=(0.6, 0.85), eye=(1.4, 7.5), side=(-5, 5),
    yaw=(-26, 26), pitch=(1, 16), roll=(-1, 1), sky=((92, 128, 214), (158, 182, 236)), clouds=0.0, haze=2000, sun=0.2, road=(88, 92, 112),
    walk=(176, 166, 176), soil=(150, 150, 160),
    walls=((186, 116, 92), (214, 208, 214), (120, 138, 160), (206, 176, 122), (150, 100, 110)),
    cars=((190, 40, 50), (60, 80, 190), (220, 220, 230), (50, 150, 120), (230, 190, 60), (40, 40, 50)),
    leaves=((30, 104, 60), (64, 150, 84)), floors=(3, 9), sides={"city": 0.8, "houses": 0.2}, traffic=0.6, crowd=1.3, cycles=0.5,
    parked=0.4, texture=0.0, smooth=False, saturation=1.05, contrast=0.86, gain=(1.0, 0.99, 1.1), grain=0.0,
    absent=frozenset({"terrain", "truck", "train"}), ignored=frozenset({"lane marking"}),
)  # fmt: skip
_DUSTY = Look(
    "I", "idd", "I  IDD: dusty, crowded, unstructured", ((1.0, 0.5625),), eye=(1.3, 1.9), side=(-1, 1), yaw=(-7, 7), pitch=(1, 5),
    sky=((206, 203, 194), (232, 220, 196)), clouds=0.1, haze=125, sun=0.22, road=(122, 116, 108), walk=(182, 172, 156),
    soil=(190, 142, 88), walls=((206, 186, 140), (150, 190, 186), (214, 140, 110), (226, 214, 190), (190, 170, 200), (170, 150, 120)),
    cars=((240, 240, 236), (236, 236, 232), (170, 170, 172), (150, 40, 36), (60, 66, 80)), leaves=((54, 60, 30), (138, 136, 82)),
    trees=("round", "round", "palm"), floors=(1, 4), sides={"city": 0.3, "houses": 0.5, "park": 0.2}, traffic=0.75, crowd=1.2,
    cycles=1.3, parked=0.35, marks=0.25, saturation=0.95, contrast=0.9, gain=(1.07, 1.0, 0.84), blur=0.7, grain=3,
    ignored=frozenset({"licence plate", "kerb"}),
)  # fmt: skip
_GREY = Look(
    "C", "cityscapes", "C  Cityscapes: overcast, desaturated, own hood in view", ((1.0, 0.5),), focal=(0.92, 1.05), eye=(1.2, 1.3),
    yaw=(-5, 5), pitch=(1, 3), sky=((212, 218, 218), (232, 236, 234)), clouds=0.15, haze=300, ambient=0.96, road=(92, 93, 93),
    walk=(132, 128, 128), soil=(92, 108, 66),
    walls=((176, 160, 136), (198, 190, 172), (150, 146, 142), (184, 140, 118), (206, 202, 190), (140, 122, 104)),
    leaves=((22, 34, 22), (104, 124, 76)), floors=(4, 6), sides={"city": 0.6, "houses": 0.15, "park": 0.25}, traffic=0.45, crowd=0.8,
    cycles=0.7, parked=0.55, saturation=0.55, contrast=0.9, gain=(0.93, 1.0, 0.93), blur=0.3, grain=1.5, vignette=0.12, hood=True,
)  # fmt: skip
_DASH = Look(
    "B", "bdd100k", "B  BDD100K: day, dusk and night behind a windscreen", ((1.0, 0.5625),), focal=(0.95, 1.25), eye=(1.2, 1.5),
    yaw=(-4, 4), pitch=(-1, 4), roll=(-1.5, 1.5), walls=((176, 150, 124), (160, 160, 164), (196, 188, 176), (140, 100, 84)),
    leaves=((22, 36, 20), (104, 128, 66)), floors=(2, 12), traffic=0.7, crowd=0.35, cycles=0.3, parked=0.6, contrast=0.92, saturation=0.9,
    blur=0.6, grain=4, vignette=0.45, hood=True,
    variants=(
        {"sky": ((104, 146, 204), (222, 230, 236)), "haze": 320, "sun": 0.3},
        {"sky": ((120, 158, 206), (232, 236, 238)), "glare": 0.5, "haze": 240, "contrast": 0.8, "sun": 0.4},
        {"sky": ((66, 62, 108), (250, 150, 84)), "ambient": 0.46, "haze": 260, "glare": 0.42, "gain": (1.12, 0.94, 0.96), "lamps": True,
         "clouds": 0.5},
        {"sky": ((5, 7, 16), (38, 30, 30)), "ambient": 0.19, "headlight": 0.62, "haze": 150, "gain": (1.12, 1.0, 0.84), "grain": 9,
         "motion": 3, "lamps": True, "clouds": 0.0, "contrast": 1.05},
        {"sky": ((7, 10, 24), (52, 44, 46)), "ambient": 0.25, "headlight": 0.55, "haze": 200, "gain": (0.92, 1.0, 1.12), "grain": 8,
         "lamps": True, "clouds": 0.0},
    ),
)  # fmt: skip
_MIXED = Look(
    "M", "mapillary", "M  Mapillary: mixed cameras, sizes and seasons",
    ((0.9, 0.75), (1.0, 0.5625), (0.8, 0.75), (0.95, 0.667), (0.62, 1.3)), focal=(0.62, 1.1), eye=(1.3, 2.4), side=(-3, 4.5),
    yaw=(-18, 18), pitch=(-2, 6), roll=(-3.5, 3.5), sun=0.35, trees=("round", "fir", "round"),
    walls=((206, 190, 160), (168, 92, 72), (220, 220, 214), (150, 160, 150), (196, 160, 110)), floors=(1, 7),
    sides={"city": 0.35, "houses": 0.4, "park": 0.25}, sharpen=1.0, contrast=1.08, saturation=1.12, grain=3, vignette=0.2,
    variants=(
        {"clouds": 0.7},
        {"leaves": ((96, 42, 12), (232, 160, 48)), "soil": (160, 128, 62), "sky": ((150, 176, 206), (236, 226, 206)),
         "gain": (1.06, 1.0, 0.92)},
        {"leaves": ((64, 58, 54), (140, 134, 128)), "trees": ("bare", "bare", "fir"), "soil": (214, 220, 228), "walk": (186, 190, 198),
         "road": (116, 118, 124), "sky": ((186, 198, 214), (226, 230, 236)), "gain": (0.95, 1.0, 1.08), "haze": 150, "sun": 0.0,
         "saturation": 0.8},
        {"sky": ((40, 92, 176), (170, 204, 236)), "clouds": 0.6, "vignette": 0.6, "saturation": 1.4, "sun": 0.5},
    ),
)  # fmt: skip

LOOKS: dict[str, Look] = {look.key: look for look in (_GAME, _FLAT, _DUSTY, _GREY, _DASH, _MIXED)}
"""The six looks by letter, in the order of the real data sets' usual abbreviation: G, S, I, C, B, M."""


def develop(canvas: Canvas, look: Look, random: Random) -> np.ndarray:
    """Turn the painted scene into what the look's camera would have recorded, (H, W, 3) uint8."""
    image: np.ndarray = canvas.image
    size = canvas.height, canvas.width
    if look.texture:  # dirt on everything that does not move
        mottled = cv2.multiply(image, _window(_mottle_sheet(), size, random), scale=1 / 128)
        cv2.copyTo(mottled, (canvas.codes < _SKY).view(np.uint8), image)
    if look.motion:
        image = cv2.blur(image, (look.motion, 1))
    if look.blur:
        image = cv2.GaussianBlur(image, (3, 3), look.blur)
    if look.sharpen:
        image = cv2.addWeighted(image, 1 + look.sharpen, cv2.GaussianBlur(image, (3, 3), 1.0), -look.sharpen, 0)
    if canvas.glows:
        image = cv2.add(image, _bloom(canvas))
    image = cv2.transform(image, _colours(look, random.uniform(0.95, 1.05), random.uniform(-9, 9)))
    if look.vignette:
        image = cv2.multiply(image, _vignette(*size, look.vignette), scale=1 / 255)
    if look.grain:
        strength = look.grain / 32
        image = cv2.addWeighted(image, 1, _window(_grain_sheet(), size, random), strength, -128 * strength)
    return image


def _colours(look: Look, contrast: float, brightness: float) -> np.ndarray:
    """Saturation, contrast and channel gains as an affine map (3, 4) of RGB."""
    mix = look.saturation * np.eye(3) + (1 - look.saturation) * np.array([[0.299, 0.587, 0.114]])
    contrast *= look.contrast
    return np.array(look.gain)[:, None] * np.hstack([contrast * mix, np.full((3, 1), 115 * (1 - contrast) + brightness * look.ambient)])


def _window(sheet: np.ndarray, size: tuple[int, int], random: Random) -> np.ndarray:
    """A random window of a fixed sheet of noise, since drawing fresh noise would cost more than the whole scene."""
    height, width = size
    if height >= sheet.shape[0] or width >= sheet.shape[1]:
        return cv2.resize(sheet, (width, height))
    y, x = random.randrange(sheet.shape[0] - height), random.randrange(sheet.shape[1] - width)
    return sheet[y : y + height, x : x + width]


@lru_cache(maxsize=1)
def _grain_sheet() -> np.ndarray:
    """Sensor noise around 128, standard deviation 32 per channel."""
    channels = [noise(seed, 800, 900, 0.0) * 0.6 + noise(9, 800, 900, 0.3) * 0.8 for seed in range(3)]
    return np.clip(128 + 32 * np.stack(channels, 2), 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _mottle_sheet() -> np.ndarray:
    """Dirt and unevenness of all surfaces as a gain around 128."""
    gain = np.clip(128 + 3 * noise(4, 800, 900, 0.5) + 4.5 * noise(5, 800, 900, 1.2), 0, 255).astype(np.uint8)
    return cv2.cvtColor(gain, cv2.COLOR_GRAY2RGB)


@lru_cache(maxsize=32)
def _vignette(height: int, width: int, strength: float) -> np.ndarray:
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    gain = 255 * (1 - strength * np.clip((x**2 + y**2) / 2, 0, 1) ** 1.3)
    return np.repeat(gain.astype(np.uint8)[..., None], 3, 2)


def _bloom(canvas: Canvas) -> np.ndarray:
    """Light scattered by lens and windscreen around lamps and sun: painted small, blurred, and enlarged."""
    total: np.ndarray = np.zeros_like(canvas.image)
    for factor, large in ((4, False), (16, True)):
        small: np.ndarray = np.zeros((canvas.height // factor + 1, canvas.width // factor + 1, 3), np.float32)
        glows = [glow for glow in canvas.glows if (glow[2] > 12) == large]
        for x, y, radius, colour in glows:
            spot, unit = np.zeros_like(small) if large else small, 16 / factor
            cv2.circle(spot, (round(x * unit), round(y * unit)), round(max(radius * unit, 13)), colour, -1, cv2.LINE_8, 4)
            if large:
                small += cv2.GaussianBlur(spot, (0, 0), max(radius / 3 / factor, 0.8))
        if glows:
            small = small if large else 0.6 * small + 1.2 * cv2.GaussianBlur(small, (0, 0), 2.0)
            total = cv2.add(total, cv2.resize(np.clip(small, 0, 255).astype(np.uint8), (canvas.width, canvas.height)))
    return total
