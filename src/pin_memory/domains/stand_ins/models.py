"""The codes that scenes are drawn in, and the things along a street, as boxes, strokes and discs of materials."""

from functools import cache
from typing import NamedTuple

import numpy as np

from pin_memory.domains.stand_ins.looks import Look
from pin_memory.utils.labels import CLASSES, IGNORE

CODES = {name: code for code, name in enumerate((*CLASSES, "lane marking", "kerb", "licence plate", "ego vehicle"))}
"""Code of each class, and of the details that only some data sets label apart."""

_NEAREST_CLASS = {"lane marking": "road", "kerb": "sidewalk", "licence plate": "car"}


def train_ids(look: Look) -> np.ndarray:
    """Table (256,) uint8 from code to the train id that the look's data set yields."""
    table = np.full(256, IGNORE, np.uint8)
    table[: len(CLASSES)] = range(len(CLASSES))
    for detail, name in _NEAREST_CLASS.items():
        if detail not in look.ignored:
            table[CODES[detail]] = CLASSES.index(name)
    return table


def _read(text: str) -> list[tuple[list[str], np.ndarray]]:
    """Words and points of each part of a text like "word x,y,z x,y,z; word x,y,z"."""
    parts = [part.split() for part in text.split(";")]
    return [([w for w in part if "," not in w], np.array([w.split(",") for w in part if "," in w], float)) for part in parts]


# A model is its width, length and height, then parts that are painted one over the other: a material with two corners of a box, or
# with a thickness and the points of a stroke (one point: a disc). It heads for z; a flat face of a box is seen from outside only.
_COACH = """{w},{l},{h}; tyre .9 -.8,.45,{c} .8,.45,{c}; tyre .9 -.8,.45,-{c} .8,.45,-{c}; paint -{x},.3,-{z} {x},{h},{z};
    trim {x},.5,-{z} {x},1.1,{z}; trim -{x},.5,-{z} -{x},1.1,{z}; {panel} {x},1.5,-{c} {x},2.6,{c}; {panel} -{x},1.5,-{c} -{x},2.6,{c};
    glass -1.1,1.5,{z} 1.1,2.7,{z}; {panel} -1.1,1.5,-{z} 1.1,2.7,-{z}; plate -.26,.6,{z} .26,.8,{z}; plate -.26,.6,-{z} .26,.8,-{z};
    lamp -1.1,.7,{z} -.8,1,{z}; lamp .8,.7,{z} 1.1,1,{z}; tail -1.1,.7,-{z} -.8,1,-{z}; tail .8,.7,-{z} 1.1,1,-{z}"""
_WHEELS = """.6,1.8,1.7; tyre .09 0,.66,.6 0,.56,.83 0,.33,.93 0,.1,.83 0,0,.6 0,.1,.37 0,.33,.27 0,.56,.37 0,.66,.6;
    tyre .09 0,.66,-.6 0,.56,-.83 0,.33,-.93 0,.1,-.83 0,0,-.6 0,.1,-.37 0,.33,-.27 0,.56,-.37 0,.66,-.6"""
_RIDER = """tyre .06 -.3,1,.42 .3,1,.42; tights .17 .12,.98,-.2 .19,.7,.14 .15,.25,0; tights .17 -.12,.98,-.2 -.19,.7,.14 -.15,.36,0;
    jersey .38 0,1.08,-.2 0,1.3,-.06; jersey .11 .2,1.4,0 .29,1.05,.4; jersey .11 -.2,1.4,0 -.29,1.05,.4; helmet .25 0,1.65,.06"""
_MODELS = {
    "car": """1.82,4.4,1.5; tyre .64 -.66,.32,1.36 .66,.32,1.36; tyre .64 -.66,.32,-1.36 .66,.32,-1.36; body -.91,.24,-2.2 .91,.92,2.2;
        glass -.78,.92,-1.9 .78,1.42,1; body -.8,1.42,-1.9 .8,1.5,.9; plate -.26,.4,-2.2 .26,.54,-2.2; plate -.26,.4,2.2 .26,.54,2.2;
        lamp -.88,.62,2.2 -.55,.8,2.2; lamp .55,.62,2.2 .88,.8,2.2; tail -.88,.62,-2.2 -.55,.8,-2.2; tail .55,.62,-2.2 .88,.8,-2.2""",
    "bus": _COACH.format(w=2.5, l=11, h=3.1, x=1.25, z=5.5, c=4.2, panel="glass"),
    "train": _COACH.format(w=2.7, l=16, h=3.6, x=1.35, z=8, c=7, panel="glass") + "; trim -1.2,3.6,-7 1.2,4,7; dark .1 0,4,0 0,5.2,0",
    "truck": _COACH.format(w=2.5, l=7.6, h=3.4, x=1.25, z=3.8, c=2.6, panel="white") + "; dark -.04,1.1,-3.8 .04,3.3,-3.8",
    "person": """.5,.5,1.7; trousers .17 .1,.9,0 .12,.5,0 .2,.06,0; trousers .17 -.1,.9,0 -.12,.5,0 -.2,.06,0; shirt .38 0,1.06,0 0,1.27,0;
        shirt .12 .2,1.4,0 .33,1,0; shirt .12 -.2,1.4,0 -.33,1,0; face .23 0,1.6,0; hair .22 0,1.66,0""",
    "bicycle": f"{_WHEELS}; paint .06 0,.33,.6 0,.95,.4 0,.3,0 0,.86,-.2 0,.33,-.6; {_RIDER}",
    "motorcycle": f"{_WHEELS}; dark .4 0,.45,-.25 0,.5,.2; paint .34 0,.76,-.6 0,.8,.3; lamp .2 0,.9,.5; tail .18 0,.74,-.8; {_RIDER}",
    "pole": ".1,.1,1; steel .16 0,0,0 0,7,0 -1.7,7.2,0; lamp .16 -1.7,7.15,0 -2.2,7.15,0",
    "traffic light": ".1,.1,3; steel .16 0,0,0 0,3,0; case .42 0,2.5,0 0,3.1,0; upper .25 0,3.1,0; dim .22 0,2.8,0; lower .25 0,2.5,0",
    "traffic sign": ".1,.1,3; steel .09 0,0,0 0,2.4,0; white .88 0,2.4,0; rim .8 0,2.4,0; white .5 0,2.4,0",
    "vegetation": """.4,.4,6; bark .36 0,0,0 0,3,0; leaf 1.7 .3,4.1,0; leaf 1.7 -.5,4.3,0; leaf 1.8 .1,3.5,0; leaf 1.7 .6,4.6,0;
        leaf 1.9 -.9,3.9,0; leaf 1.6 .7,3.4,0; leaf 1.9 0,5.2,0; leaf 1.4 -.4,3,0; sun .8 .3,4.5,0; sun .7 -.5,4.7,0; sun .6 -.1,3.7,0;
        sun .6 .5,5.1,0; sun .6 -1,4.4,0; sun .7 .7,3.6,0; sun .8 -.3,5.5,0; sun .7 -.6,3.3,0; sun .7 1.2,4.8,0; sun .6 -1.3,5,0""",
    "wall": ".3,5,1.9; brick -.15,0,-2.5 .15,1.8,2.5; trim -.2,1.8,-2.5 .2,1.95,2.5",
    "fence": ".1,5,1.4; wood .1 0,.4,-2.5 0,.4,2.5; wood .1 0,1.2,-2.5 0,1.2,2.5"
    + "".join(f"; wood .16 0,.05,{z / 3} 0,1.5,{z / 3}" for z in range(-7, 8, 2)),
}
LAMPS = ("lamp", "tail", "upper", "lower")  # shine at night
_CODE_OF = {"plate": "licence plate", "steel": "pole", "jersey": "rider", "tights": "rider", "helmet": "rider"}  # unlike the rest
_PALETTE = """glass 50,56,62; tyre 24,24,26; dark 16,16,18; plate 236,232,200; case 26,30,28; dim 52,50,48; steel 112,114,116;
    bark 88,70,54; white 240,240,238; rim 200,20,26 24,74,176; lamp 255,236,190; tail 255,40,24; upper 255,44,30 52,50,48;
    lower 52,50,48 40,235,120; brick 172,152,132 150,96,78; wood 90,92,88 112,84,58; helmet 34,26,22 220,220,224;
    shirt 170,40,40 40,60,130 230,225,215 40,40,44 60,110,80; jersey 210,160,60 40,60,130 170,40,40; trousers 30,32,44 86,76,62;
    tights 24,24,26 50,58,84; face 222,176,146 116,78,56; hair 34,26,22 92,66,40; paint 190,36,32 30,60,140 214,210,200 220,180,50;
    trim 230,226,218 40,90,170 60,140,110"""
COLOURS = {words[0]: colours for words, colours in _read(_PALETTE)}  # one of them is chosen for each thing


class Model(NamedTuple):
    """A thing, and its parts in the order in which they are painted."""

    room: np.ndarray  # (3,): width, length, height
    materials: list[str]
    codes: list[int]
    thickness: np.ndarray  # (parts,): of a stroke; 0 for a face
    points: np.ndarray  # (parts, n, 3)
    normals: np.ndarray  # (parts, 3)


@cache
def model(name: str) -> Model:
    """Read a model from its description."""
    (_, room), *texts = _read(_MODELS[name])
    parts: list[tuple[str, float, np.ndarray, np.ndarray]] = []
    for (material, *thickness), points in texts:
        shapes = [(points, np.zeros(3))] if thickness else _faces(points)
        parts += [(material, float(thickness[0]) if thickness else 0.0, *shape) for shape in shapes]
    materials, thicknesses, outlines, normals = zip(*parts, strict=True)
    count = np.arange(max(2, *map(len, outlines)))  # all as long as the longest, by repeating the last point
    points = np.stack([outline[np.minimum(count, len(outline) - 1)] for outline in outlines])
    codes = [CODES[_CODE_OF.get(material, name)] for material in materials]
    return Model(room[0], list(materials), codes, np.array(thicknesses), points, np.array(normals))


def _faces(corners: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Faces (4, 3) of a box between two corners, without its bottom, and their normals; of a flat box the one that faces outwards."""
    faces, flat = [], corners[0] == corners[1]
    for axis, end in ((0, 0), (0, 1), (2, 0), (2, 1), (1, 1)):
        others, normal = [other for other in (2, 0, 1) if other != axis], np.eye(3)[axis] * (2 * end - 1)
        if not flat[others].any() and (not flat[axis] or normal @ corners[0] > 0):
            face = corners[[end] * 4]
            face[:, others] = corners[[(0, 0), (1, 0), (1, 1), (0, 1)], others]
            faces.append((face, normal))
    return faces
