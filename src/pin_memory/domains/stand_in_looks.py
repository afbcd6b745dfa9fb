"""The six looks of the stand-ins: what sets one domain apart from another, and what its camera makes of a painted scene."""

from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Any

import cv2
import numpy as np

Colour = tuple[float, float, float]
Range = tuple[float, float]
Glow = tuple[float, float, float, Colour]  # x, y, radius in pixels, colour


@dataclass(frozen=True)
class Look:
    """What a domain's pictures have in common. Angles are in degrees, lengths in metres, colours RGB 0..255, amounts about 0..1."""

    key: str
    domain: str
    title: str
    sizes: tuple[Range, ...]  # (width relative to the asked width, height / width), one of them per image
    absent: frozenset[str] = frozenset()  # classes and details that do not occur
    ignored: frozenset[str] = frozenset()  # details without a class
    variants: tuple[dict[str, Any], ...] = ({},)  # changes that take turns from image to image
    focal: Range = (0.85, 1.0)  # relative to the width
    eye: Range = (1.3, 1.6)
    side: Range = (-0.3, 0.3)
    yaw: Range = (-5, 5)
    pitch: Range = (1, 4)
    roll: Range = (-0.5, 0.5)
    hood: bool = False
    light: float = 1.0  # below 0.7 it is dark enough for lamps
    beams: float = 0.0
    sun: float = 0.0
    glare: float = 0.0
    haze: float = 400
    clouds: float = 0.3
    sky: tuple[Colour, Colour] = ((80, 130, 205), (200, 216, 232))
    leaves: tuple[Colour, Colour] = ((24, 42, 18), (120, 152, 72))
    road: Colour = (98, 98, 102)
    walk: Colour = (158, 154, 150)
    soil: Colour = (98, 122, 62)
    walls: tuple[Colour, ...] = ((206, 190, 160), (168, 92, 72), (220, 220, 214), (150, 160, 150), (196, 160, 110))
    cars: tuple[Colour, ...] = ((205, 207, 210), (150, 153, 158), (58, 60, 66), (28, 30, 34), (140, 32, 30), (36, 62, 120), (232, 232, 228))
    trees: tuple[str, ...] = ("round",)
    floors: tuple[int, int] = (3, 6)
    city: float = 0.5
    traffic: float = 0.5
    crowd: float = 0.5
    cycles: float = 0.3
    marks: float = 1.0
    texture: float = 1.0
    saturation: float = 1.0
    contrast: float = 1.0
    gain: Colour = (1.0, 1.0, 1.0)
    blur: float = 0.0  # negative: sharpened
    grain: float = 2.0
    vignette: float = 0.0

    def vary(self, index: int) -> "Look":
        """The look of picture number `index`: variants take turns, out of step with what `stand_in` shows in every fourth picture."""
        return replace(self, **self.variants[(index + index // 4) % len(self.variants)])


_ALL = (
    Look("G", "gtav", "G  GTAV: saturated game render, hard sunlight", ((1.0, 0.55),), eye=(1.2, 2.2), yaw=(-9, 9), sun=0.62, haze=700,
        sky=((38, 104, 208), (186, 214, 238)), leaves=((14, 46, 8), (122, 178, 44)), road=(104, 101, 99), walk=(188, 180, 168),
        soil=(112, 132, 44), walls=((226, 198, 156), (204, 122, 88), (222, 220, 210), (132, 158, 190), (240, 224, 176), (176, 84, 62)),
        cars=((220, 30, 24), (24, 70, 190), (240, 196, 30), (20, 20, 24), (236, 236, 236), (24, 130, 70), (240, 110, 20)), floors=(2, 11),
        saturation=1.35, contrast=1.2, gain=(1.05, 1.0, 0.95), blur=-0.5, grain=0.8, ignored=frozenset({"licence plate"}),
        variants=({}, {"sky": ((60, 96, 190), (250, 206, 150)), "gain": (1.13, 1.0, 0.84)}, {})),
    Look("S", "synthia", "S  SYNTHIA: flat shading, odd view points", ((1.0, 0.594),), focal=(0.6, 0.85), eye=(1.4, 7.5), side=(-5, 5),
        yaw=(-26, 26), pitch=(1, 16), roll=(-1, 1), clouds=0.0, haze=2000, sun=0.2, sky=((92, 128, 214), (158, 182, 236)),
        leaves=((30, 104, 60), (64, 150, 84)), road=(88, 92, 112), walk=(176, 166, 176), soil=(150, 150, 160),
        walls=((186, 116, 92), (214, 208, 214), (120, 138, 160), (206, 176, 122), (150, 100, 110)),
        cars=((190, 40, 50), (60, 80, 190), (220, 220, 230), (50, 150, 120), (230, 190, 60), (40, 40, 50)), floors=(3, 9), city=0.8,
        traffic=0.6, crowd=1.3, cycles=0.5, texture=0.0, contrast=0.86, gain=(1.0, 0.99, 1.1), grain=0.0,
        absent=frozenset({"terrain", "truck", "train"}), ignored=frozenset({"lane marking"})),
    Look("I", "idd", "I  IDD: dusty, crowded, unstructured", ((1.0, 0.5625),), eye=(1.3, 1.9), side=(-1, 1), yaw=(-7, 7), sun=0.22,
        haze=125, clouds=0.1, sky=((206, 203, 194), (232, 220, 196)), leaves=((54, 60, 30), (138, 136, 82)), road=(122, 116, 108),
        walk=(182, 172, 156), soil=(190, 142, 88), cars=((240, 240, 236), (236, 236, 232), (170, 170, 172), (150, 40, 36), (60, 66, 80)),
        walls=((206, 186, 140), (150, 190, 186), (214, 140, 110), (226, 214, 190), (190, 170, 200), (170, 150, 120)), floors=(1, 4),
        city=0.3, traffic=0.75, crowd=1.2, cycles=1.3, marks=0.25, saturation=0.95, contrast=0.9, gain=(1.07, 1.0, 0.84),
        blur=0.5, grain=3, ignored=frozenset({"licence plate", "kerb"})),
    Look("C", "cityscapes", "C  Cityscapes: overcast, desaturated, own hood in view", ((1.0, 0.5),), focal=(0.92, 1.05), eye=(1.2, 1.3),
        pitch=(1, 3), hood=True, light=0.96, haze=300, clouds=0.15, sky=((212, 218, 218), (232, 236, 234)),
        leaves=((22, 34, 22), (104, 124, 76)), road=(92, 93, 93), walk=(132, 128, 128), soil=(92, 108, 66),
        walls=((176, 160, 136), (198, 190, 172), (150, 146, 142), (184, 140, 118), (206, 202, 190), (140, 122, 104)), floors=(4, 6),
        city=0.6, crowd=0.8, cycles=0.7, saturation=0.55, contrast=0.9, gain=(0.93, 1.0, 0.93), blur=0.25, vignette=0.12),
    Look("B", "bdd100k", "B  BDD100K: day, dusk and night behind a windscreen", ((1.0, 0.5625),), focal=(0.95, 1.25), pitch=(-1, 4),
        roll=(-1.5, 1.5), hood=True, leaves=((22, 36, 20), (104, 128, 66)), floors=(2, 12), traffic=0.7, crowd=0.35,
        walls=((176, 150, 124), (160, 160, 164), (196, 188, 176), (140, 100, 84)), contrast=0.92, saturation=0.9, blur=0.5, grain=4,
        vignette=0.45, variants=(
            {"sky": ((104, 146, 204), (222, 230, 236)), "haze": 320, "sun": 0.3},
            {"sky": ((120, 158, 206), (232, 236, 238)), "haze": 240, "sun": 0.4, "glare": 0.5, "contrast": 0.8},
            {"sky": ((66, 62, 108), (250, 150, 84)), "haze": 260, "light": 0.46, "glare": 0.42, "gain": (1.12, 0.94, 0.96), "clouds": 0.5},
            {"sky": ((5, 7, 16), (38, 30, 30)), "haze": 150, "light": 0.19, "beams": 0.62, "gain": (1.12, 1, 0.84), "grain": 9},
            {"sky": ((7, 10, 24), (52, 44, 46)), "haze": 200, "light": 0.25, "beams": 0.55, "gain": (0.92, 1, 1.12), "grain": 8},
        )),
    Look("M", "mapillary", "M  Mapillary: mixed cameras, sizes and seasons",
        ((0.9, 0.75), (1.0, 0.5625), (0.8, 0.75), (0.95, 0.667), (0.62, 1.3)),
        focal=(0.62, 1.1), eye=(1.3, 2.4), side=(-3, 4.5), yaw=(-18, 18), pitch=(-2, 6), roll=(-3.5, 3.5), sun=0.35, city=0.35,
        trees=("round", "fir", "round"), floors=(1, 7), saturation=1.12, contrast=1.08, blur=-0.8, grain=3, vignette=0.2, variants=(
            {"clouds": 0.7},
            {"leaves": ((96, 42, 12), (232, 160, 48)), "soil": (160, 128, 62),
             "sky": ((150, 176, 206), (236, 226, 206)), "gain": (1.06, 1, 0.92)},
            {"leaves": ((64, 58, 54), (140, 134, 128)), "trees": ("bare", "bare", "fir"), "soil": (214, 220, 228), "walk": (186, 190, 198),
             "road": (116, 118, 124), "sky": ((186, 198, 214), (226, 230, 236)), "gain": (0.95, 1.0, 1.08), "haze": 150, "saturation": 0.8,
             "sun": 0.0},
            {"sky": ((40, 92, 176), (170, 204, 236)), "clouds": 0.6, "vignette": 0.6, "saturation": 1.4, "sun": 0.5},
        )),
)  # fmt: skip

LOOKS: dict[str, Look] = {look.key: look for look in _ALL}
"""The six looks by letter, in the order of the real data sets' usual abbreviation: G, S, I, C, B, M."""


@cache
def noise(seed: int, height: int, width: int, power: float) -> np.ndarray:
    """Periodic noise with a 1/f**power spectrum, (height, width) float32, mean 0, standard deviation 1 (0: white, 1.5: clouds)."""
    spectrum = np.fft.rfft2(np.random.default_rng(seed).standard_normal((height, width)))
    radius = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width)
    radius[0, 0] = np.inf if power else 1.0
    field = np.fft.irfft2(spectrum / radius**power, (height, width))
    return ((field - field.mean()) / field.std()).astype(np.float32)


def develop(image: np.ndarray, glows: list[Glow], look: Look, random: Random) -> np.ndarray:
    """Turn a painted scene, (H, W, 3) uint8 RGB, and its shining lamps into what the look's camera would have recorded."""
    height, width = image.shape[:2]
    if look.blur:
        image = cv2.addWeighted(image, 1 - look.blur, cv2.GaussianBlur(image, (3, 3), 1.0), look.blur, 0)
    for factor in (4, 16):  # light scattered around lamps, and around the sun, painted small, blurred and enlarged
        spots = np.zeros((height // factor + 1, width // factor + 1, 3), np.uint8)
        for x, y, radius, colour in (glow for glow in glows if (glow[2] > 12) == (factor == 16)):
            cv2.circle(spots, (round(x * 16 / factor), round(y * 16 / factor)), max(round(radius * 16 / factor), 13), colour, -1, 8, 4)
        if spots.any():
            spots = cv2.addWeighted(cv2.GaussianBlur(spots, (0, 0), 2.0), 1.2, spots, 0.6 if factor == 4 else 0.1, 0)
            image = cv2.add(image, cv2.resize(spots, (width, height)))
    contrast = look.contrast * random.uniform(0.95, 1.05)
    mix = contrast * (look.saturation * np.eye(3) + (1 - look.saturation) * np.array([[0.299, 0.587, 0.114]]))
    brightness = np.full((3, 1), 115 * (1 - contrast) + random.uniform(-9, 9) * look.light)
    image = cv2.transform(image, np.array(look.gain)[:, None] * np.hstack([mix, brightness]))
    if look.vignette:
        image = cv2.multiply(image, _vignette(height, width, look.vignette), scale=1 / 255)
    y, x = random.randrange(200), random.randrange(200)
    grain = cv2.resize(_grain(), (width + 200, height + 200))[y:, x:] if max(height, width) > 800 else _grain()[y:, x:]
    return cv2.addWeighted(image, 1, grain[:height, :width], look.grain / 32, -4 * look.grain)


@cache
def _grain() -> np.ndarray:
    """Sensor noise around 128, made once, since drawing it afresh would cost more than the whole scene."""
    return np.clip(128 + 32 * np.stack([noise(seed, 1000, 1000, 0.15) for seed in range(3)], 2), 0, 255).astype(np.uint8)


@cache
def _vignette(height: int, width: int, strength: float) -> np.ndarray:
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    gain = 255 * (1 - strength * np.clip((x**2 + y**2) / 2, 0, 1) ** 1.3)
    return np.repeat(gain.astype(np.uint8)[..., None], 3, 2)
