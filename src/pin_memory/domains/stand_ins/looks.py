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
    sizes: tuple[Range, ...] = ((1.0, 0.5625),)  # (width relative to the asked width, height / width), one of them per image
    absent: frozenset[str] = frozenset()  # classes that do not occur
    ignored: frozenset[str] = frozenset()  # details without a class
    variants: tuple[dict[str, Any], ...] = ({},)  # changes that take turns from image to image
    focal: Range = (0.85, 1.05)  # relative to the width
    eye: Range = (1.3, 1.6)
    side: Range = (-0.3, 0.3)  # of the camera from the middle of its lane
    yaw: Range = (-5, 5)
    pitch: Range = (1, 4)
    hood: bool = False  # of one's own car in view
    light: float = 1.0  # below 0.7 it is dark enough for lamps
    sun: float = 0.0  # depth of cast shadows
    glare: float = 0.0
    haze: float = 300
    sky: tuple[Colour, Colour] = ((80, 130, 205), (200, 216, 232))  # above, at the horizon
    leaves: tuple[Colour, Colour] = ((30, 50, 22), (112, 144, 66))  # dark, bright
    road: Colour = (106, 106, 110)
    sidewalk: Colour = (168, 164, 160)
    soil: Colour = (98, 122, 62)
    walls: tuple[Colour, ...] = ((206, 190, 160), (168, 92, 72), (220, 220, 214), (150, 160, 150), (196, 160, 110))
    cars: tuple[Colour, ...] = ((205, 207, 210), (150, 153, 158), (58, 60, 66), (140, 32, 30), (36, 62, 120))
    floors: tuple[int, int] = (2, 7)
    traffic: float = 0.6
    crowd: float = 0.6  # of people on foot and on cycles
    marks: float = 1.0  # share of streets with markings
    saturation: float = 1.0
    gain: Colour = (1.0, 1.0, 1.0)
    grain: float = 2.0  # 0: surfaces are flat, too

    def vary(self, index: int) -> "Look":
        """The look of picture number `index`: variants take turns, out of step with what every fourth picture shows."""
        return replace(self, **self.variants[(index + index // 4) % len(self.variants)])


LOOKS: dict[str, Look] = {
    "G": Look("gtav", "G  GTAV: saturated game render, hard sunlight", ((1.0, 0.55),), ignored=frozenset({"licence plate"}), eye=(1.2, 2.2),
        yaw=(-9, 9), sun=0.8, haze=700, sky=((38, 104, 208), (186, 214, 238)), leaves=((20, 58, 10), (106, 160, 36)), soil=(112, 132, 44),
        walls=((226, 198, 156), (204, 122, 88), (222, 220, 210), (132, 158, 190), (240, 224, 176)), floors=(2, 11), saturation=1.6,
        cars=((220, 30, 24), (24, 70, 190), (240, 196, 30), (20, 20, 24), (236, 236, 236), (24, 130, 70)), gain=(1.1, 1.05, 1.0),
        grain=0.8, variants=({}, {"sky": ((60, 96, 190), (250, 206, 150)), "gain": (1.2, 1.05, 0.88)}, {})),
    "S": Look("synthia", "S  SYNTHIA: flat shading, odd view points", ((1.0, 0.594),), frozenset({"terrain", "truck", "train"}),
        frozenset({"lane marking"}), focal=(0.6, 0.85), eye=(1.4, 7.5), side=(-5, 5), yaw=(-26, 26), pitch=(1, 16), haze=2000, sun=0.3,
        sky=((92, 128, 214), (158, 182, 236)), leaves=((30, 104, 60), (64, 150, 84)), road=(98, 100, 122), sidewalk=(176, 166, 176),
        walls=((214, 208, 214), (186, 116, 92), (120, 138, 160), (206, 176, 122), (150, 100, 110)), floors=(3, 9),
        cars=((190, 40, 50), (60, 80, 190), (220, 220, 230), (50, 150, 120), (230, 190, 60)), crowd=1.0, gain=(1.0, 0.99, 1.1), grain=0.0),
    "I": Look("idd", "I  IDD: dusty, crowded, unstructured", ignored=frozenset({"licence plate", "kerb"}), side=(-1, 1), yaw=(-7, 7),
        sun=0.3, haze=110, sky=((206, 203, 194), (232, 220, 196)), leaves=((54, 60, 30), (138, 136, 82)), soil=(190, 142, 88),
        road=(138, 130, 120), sidewalk=(190, 178, 160), walls=((206, 186, 140), (150, 190, 186), (214, 140, 110)), floors=(1, 4),
        crowd=1.3, cars=((240, 240, 236), (236, 236, 232), (150, 40, 36), (60, 66, 80)), marks=0.25, gain=(1.07, 1.0, 0.84), grain=3),
    "C": Look("cityscapes", "C  Cityscapes: overcast, desaturated, own hood in view", ((1.0, 0.5),), eye=(1.2, 1.3), pitch=(1, 3),
        floors=(4, 6), hood=True, sky=((212, 218, 218), (232, 236, 234)), road=(116, 116, 116), saturation=0.45, gain=(1.0, 1.06, 1.0)),
    "B": Look("bdd100k", "B  BDD100K: day, dusk and night behind a windscreen", focal=(0.95, 1.25), pitch=(-1, 4), hood=True,
        floors=(2, 12), crowd=0.4, grain=4, variants=(
            {"sky": ((104, 146, 204), (222, 230, 236)), "sun": 0.4},
            {"sky": ((120, 158, 206), (232, 236, 238)), "sun": 0.5, "glare": 1.0},
            {"sky": ((66, 62, 108), (250, 150, 84)), "light": 0.46, "glare": 0.8, "gain": (1.12, 0.94, 0.96)},
            {"sky": ((5, 7, 16), (38, 30, 30)), "haze": 150, "light": 0.2, "gain": (1.12, 1, 0.84), "grain": 9})),
    "M": Look("mapillary", "M  Mapillary: mixed cameras, sizes and seasons", ((0.9, 0.75), (1.0, 0.5625), (0.95, 0.667), (0.62, 1.3)),
        focal=(0.62, 1.1), eye=(1.3, 2.4), side=(-3, 4.5), yaw=(-18, 18), pitch=(-2, 6), sun=0.5, saturation=1.12, grain=3, variants=(
            {"sky": ((40, 92, 176), (170, 204, 236)), "saturation": 1.4},
            {"leaves": ((116, 56, 16), (232, 160, 48)), "soil": (160, 128, 62), "sky": ((150, 176, 206), (236, 226, 206))},
            {"leaves": ((110, 112, 112), (226, 232, 238)), "soil": (214, 220, 228), "sidewalk": (196, 200, 208), "road": (142, 144, 150),
             "sky": ((186, 198, 214), (226, 230, 236)), "gain": (0.95, 1.0, 1.08), "haze": 150, "saturation": 0.8, "sun": 0.0})),
}  # fmt: skip
"""The six looks by letter, in the order of the real data sets' usual abbreviation: G, S, I, C, B, M."""
