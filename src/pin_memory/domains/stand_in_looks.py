"""The six looks of the stand-ins: what sets one domain apart from another."""

from dataclasses import dataclass, replace
from typing import Any

Colour = tuple[float, float, float]
Range = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """What a domain's pictures have in common. Angles are in degrees, lengths in metres, colours RGB 0..255, amounts about 0..1."""

    domain: str  # folder
    title: str
    sizes: tuple[Range, ...]  # (width relative to the asked width, height / width), one of them per image
    absent: frozenset[str] = frozenset()  # classes that do not occur
    ignored: frozenset[str] = frozenset()  # details without a class
    variants: tuple[dict[str, Any], ...] = ({},)  # changes that take turns from image to image
    focal: Range = (0.85, 1.0)  # relative to the width
    eye: Range = (1.3, 1.6)
    side: Range = (-0.3, 0.3)  # of the camera from the middle of its lane
    yaw: Range = (-5, 5)
    pitch: Range = (1, 4)
    roll: Range = (-0.5, 0.5)
    hood: bool = False  # of one's own car in view
    light: float = 1.0  # below 0.7 it is dark enough for lamps
    sun: float = 0.0  # depth of cast shadows
    glare: float = 0.0
    haze: float = 400
    clouds: float = 0.3
    sky: tuple[Colour, Colour] = ((80, 130, 205), (200, 216, 232))  # above, at the horizon
    leaves: tuple[Colour, Colour] = ((30, 50, 22), (112, 144, 66))  # dark, bright
    road: Colour = (98, 98, 102)
    walk: Colour = (158, 154, 150)
    soil: Colour = (98, 122, 62)
    walls: tuple[Colour, ...] = ((206, 190, 160), (168, 92, 72), (220, 220, 214), (150, 160, 150), (196, 160, 110))
    cars: tuple[Colour, ...] = ((205, 207, 210), (150, 153, 158), (58, 60, 66), (28, 30, 34), (140, 32, 30), (36, 62, 120))
    floors: tuple[int, int] = (3, 6)
    city: float = 0.5  # share of street sides that are built up without gaps
    traffic: float = 0.5
    crowd: float = 0.5
    cycles: float = 0.3
    marks: float = 1.0  # share of streets with markings
    texture: float = 1.0
    saturation: float = 1.0
    contrast: float = 1.0
    gain: Colour = (1.0, 1.0, 1.0)
    blur: float = 0.0  # negative: sharpened
    grain: float = 2.0

    def vary(self, index: int) -> "Look":
        """The look of picture number `index`: variants take turns, out of step with what every fourth picture shows."""
        return replace(self, **self.variants[(index + index // 4) % len(self.variants)])


LOOKS: dict[str, Look] = {
    "G": Look("gtav", "G  GTAV: saturated game render, hard sunlight", ((1.0, 0.55),), eye=(1.2, 2.2), yaw=(-9, 9), sun=0.62, haze=700,
        sky=((38, 104, 208), (186, 214, 238)), leaves=((20, 58, 10), (116, 170, 40)), road=(104, 101, 99), walk=(188, 180, 168),
        soil=(112, 132, 44), walls=((226, 198, 156), (204, 122, 88), (222, 220, 210), (132, 158, 190), (240, 224, 176), (176, 84, 62)),
        cars=((220, 30, 24), (24, 70, 190), (240, 196, 30), (20, 20, 24), (236, 236, 236), (24, 130, 70), (240, 110, 20)), floors=(2, 11),
        saturation=1.35, contrast=1.2, gain=(1.05, 1.0, 0.95), blur=-0.5, grain=0.8, ignored=frozenset({"licence plate"}),
        variants=({}, {"sky": ((60, 96, 190), (250, 206, 150)), "gain": (1.13, 1.0, 0.84)}, {})),
    "S": Look("synthia", "S  SYNTHIA: flat shading, odd view points", ((1.0, 0.594),), focal=(0.6, 0.85), eye=(1.4, 7.5), side=(-5, 5),
        yaw=(-26, 26), pitch=(1, 16), roll=(-1, 1), clouds=0.0, haze=2000, sun=0.2, sky=((92, 128, 214), (158, 182, 236)),
        leaves=((30, 104, 60), (64, 150, 84)), road=(88, 92, 112), walk=(176, 166, 176), soil=(150, 150, 160),
        walls=((186, 116, 92), (214, 208, 214), (120, 138, 160), (206, 176, 122), (150, 100, 110)),
        cars=((190, 40, 50), (60, 80, 190), (220, 220, 230), (50, 150, 120), (230, 190, 60), (40, 40, 50)), floors=(3, 9), city=0.8,
        traffic=0.6, crowd=1.3, cycles=0.5, texture=0.0, contrast=0.86, gain=(1.0, 0.99, 1.1), grain=0.0,
        absent=frozenset({"terrain", "truck", "train"}), ignored=frozenset({"lane marking"})),
    "I": Look("idd", "I  IDD: dusty, crowded, unstructured", ((1.0, 0.5625),), eye=(1.3, 1.9), side=(-1, 1), yaw=(-7, 7), sun=0.22,
        haze=125, clouds=0.1, sky=((206, 203, 194), (232, 220, 196)), leaves=((54, 60, 30), (138, 136, 82)), road=(122, 116, 108),
        walk=(182, 172, 156), soil=(190, 142, 88), cars=((240, 240, 236), (236, 236, 232), (170, 170, 172), (150, 40, 36), (60, 66, 80)),
        walls=((206, 186, 140), (150, 190, 186), (214, 140, 110), (226, 214, 190), (190, 170, 200), (170, 150, 120)), floors=(1, 4),
        city=0.3, traffic=0.75, crowd=1.2, cycles=1.3, marks=0.25, saturation=0.95, contrast=0.9, gain=(1.07, 1.0, 0.84),
        blur=0.5, grain=3, ignored=frozenset({"licence plate", "kerb"})),
    "C": Look("cityscapes", "C  Cityscapes: overcast, desaturated, own hood in view", ((1.0, 0.5),), focal=(0.92, 1.05), eye=(1.2, 1.3),
        pitch=(1, 3), hood=True, light=0.96, haze=300, clouds=0.15, sky=((212, 218, 218), (232, 236, 234)),
        road=(92, 93, 93), walk=(132, 128, 128), walls=((176, 160, 136), (198, 190, 172), (150, 146, 142), (184, 140, 118)), floors=(4, 6),
        city=0.6, crowd=0.8, cycles=0.7, saturation=0.55, contrast=0.9, gain=(0.93, 1.0, 0.93), blur=0.25),
    "B": Look("bdd100k", "B  BDD100K: day, dusk and night behind a windscreen", ((1.0, 0.5625),), focal=(0.95, 1.25), pitch=(-1, 4),
        roll=(-1.5, 1.5), hood=True, floors=(2, 12), traffic=0.7, crowd=0.35, contrast=0.92, saturation=0.9, blur=0.5, grain=4, variants=(
            {"sky": ((104, 146, 204), (222, 230, 236)), "haze": 320, "sun": 0.3},
            {"sky": ((120, 158, 206), (232, 236, 238)), "haze": 240, "sun": 0.4, "glare": 1.0, "contrast": 0.8},
            {"sky": ((66, 62, 108), (250, 150, 84)), "haze": 260, "light": 0.46, "glare": 0.8, "gain": (1.12, 0.94, 0.96)},
            {"sky": ((5, 7, 16), (38, 30, 30)), "haze": 150, "light": 0.19, "gain": (1.12, 1, 0.84), "grain": 9},
            {"sky": ((7, 10, 24), (52, 44, 46)), "haze": 200, "light": 0.25, "gain": (0.92, 1, 1.12), "grain": 8},
        )),
    "M": Look("mapillary", "M  Mapillary: mixed cameras, sizes and seasons",
        ((0.9, 0.75), (1.0, 0.5625), (0.8, 0.75), (0.95, 0.667), (0.62, 1.3)), focal=(0.62, 1.1), eye=(1.3, 2.4), side=(-3, 4.5),
        yaw=(-18, 18), pitch=(-2, 6), roll=(-3.5, 3.5), sun=0.35, city=0.35, floors=(1, 7), saturation=1.12, contrast=1.08, blur=-0.8,
        grain=3, variants=(
            {"clouds": 0.7},
            {"leaves": ((116, 56, 16), (232, 160, 48)), "soil": (160, 128, 62), "sky": ((150, 176, 206), (236, 226, 206))},
            {"leaves": ((110, 112, 112), (226, 232, 238)), "soil": (214, 220, 228), "walk": (196, 200, 208), "road": (126, 128, 134),
             "sky": ((186, 198, 214), (226, 230, 236)), "gain": (0.95, 1.0, 1.08), "haze": 150, "saturation": 0.8, "sun": 0.0},
            {"sky": ((40, 92, 176), (170, 204, 236)), "clouds": 0.6, "saturation": 1.4, "sun": 0.5},
        )),
}  # fmt: skip
"""The six looks by letter, in the order of the real data sets' usual abbreviation: G, S, I, C, B, M."""
