"""The drawing board of the stand-ins: a pinhole camera that paints image and label map at once."""

import math
from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

from pin_memory.domains.classes import CLASSES

Colour = tuple[float, float, float]
"""RGB, 0..255."""

Place = tuple[float, float, float]
"""x, z (metres) and heading (radians; 0 looks down the road, pi towards the camera)."""

DETAILS = ("lane marking", "kerb", "licence plate", "ego vehicle", "rail track", "billboard", "autorickshaw")
"""Things that only some data sets label apart; in a code map they follow the 19 classes."""

CODES = {name: code for code, name in enumerate(CLASSES + DETAILS)}
"""Code of each class and detail."""

NEAR = 0.4
"""Distance in metres in front of the camera at which polygons are cut."""

_SHIFT = 4
"""Polygons are drawn with 4 fractional bits, so that slow perspective lines do not wobble by whole pixels."""


@cache
def noise(seed: int, height: int, width: int, power: float) -> np.ndarray:
    """Periodic noise with a 1/f**power spectrum, (height, width) float32, mean 0, standard deviation 1 (0: white, 1.5: clouds)."""
    spectrum = np.fft.rfft2(np.random.default_rng(seed).standard_normal((height, width)))
    radius = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width)
    radius[0, 0] = np.inf if power else 1.0
    field = np.fft.irfft2(spectrum / radius**power, (height, width))
    return ((field - field.mean()) / field.std()).astype(np.float32)


class Canvas:
    """An RGB image and its code map seen through one camera; x points right, y up and z along the road, in metres.

    A code is a train id (0..18) or that of one of the `DETAILS`. What is drawn later
    covers what was drawn before in both maps, so a label is what is visible.

    Args:
        size: (height, width) in pixels.
        focal: Focal length in pixels.
        position: Camera position (x, y, z) in metres.
        angles: (yaw to the right, pitch down, roll) in radians.
        bend: Curvature of the road: x shifts by `bend * z**2` metres.
        haze: (colour, distance in metres at which 63 % is lost).
        light: (ambient light 0..1, headlight 0..1); below 0.7 lamps glow.
        smooth: Whether edges are anti-aliased.
    """

    def __init__(
        self,
        size: tuple[int, int],
        focal: float,
        position: Colour,
        angles: tuple[float, float, float],
        bend: float = 0.0,
        haze: tuple[Colour, float] = ((200.0, 200.0, 200.0), 300.0),
        light: tuple[float, float] = (1.0, 0.0),
        smooth: bool = True,
    ) -> None:
        self.height, self.width = size
        self.image = np.zeros((*size, 3), np.uint8)
        self.codes = np.zeros(size, np.uint8)
        self.glows: list[tuple[float, float, float, Colour]] = []
        self.focal, self.bend, self.haze, self.light = focal, bend, haze, light
        self.night = light[0] < 0.7
        self.edge = cv2.LINE_AA if smooth else cv2.LINE_8
        self.position = np.array(position)
        yaw, pitch, roll = angles
        forward = np.array([math.sin(yaw) * math.cos(pitch), -math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
        right = np.array([math.cos(yaw), 0.0, -math.sin(yaw)])
        up = np.cross(forward, right)
        self.axes = np.stack([math.cos(roll) * right + math.sin(roll) * up, math.cos(roll) * up - math.sin(roll) * right, forward])
        self.lens = np.array([[focal, 0, self.width / 2], [0, -focal, self.height / 2], [0, 0, 1.0]])
        self.horizon = self.height / 2 - focal * math.tan(pitch)

    def see(self, points: np.ndarray) -> np.ndarray:
        """Turn world points (N, 3) into camera coordinates (N, 3): right, up, depth."""
        points = np.asarray(points, np.float64) - self.position
        if self.bend:
            points[:, 0] += self.bend * np.maximum(points[:, 2], 0) ** 2
        return points @ self.axes.T

    def pixels(self, seen: np.ndarray) -> np.ndarray:
        """Project camera coordinates (N, 3) in front of the camera to pixels (N, 2)."""
        return seen[:, :2] * (self.lens.diagonal()[:2] / seen[:, 2:]) + self.lens[:2, 2]

    def outline(self, points: np.ndarray) -> np.ndarray | None:
        """Project a world polygon (N, 3), cut at the near plane, to fixed-point pixels, or None when it is out of view."""
        seen = self.see(points)
        inside = seen[:, 2] >= NEAR
        if not inside.all():
            if not inside.any():
                return None
            following, crossing = np.roll(seen, -1, 0), inside != np.roll(inside, -1)
            span = np.where(crossing, following[:, 2] - seen[:, 2], 1.0)
            cuts = seen + ((NEAR - seen[:, 2]) / span)[:, None] * (following - seen)
            seen = np.stack([seen, cuts], 1).reshape(-1, 3)[np.stack([inside, crossing], 1).reshape(-1)]
        pixels = self.pixels(seen)
        (left, top), (right, bottom) = pixels.min(0), pixels.max(0)
        if right < 0 or bottom < 0 or left > self.width or top > self.height or right - left < 0.3:
            return None
        return fixed(pixels)

    def lit(self, colour: Colour, depth: float, shade: float = 1.0) -> Colour:
        """Light a surface colour and fade it into the haze at `depth` metres."""
        clear = math.exp(-depth / self.haze[1])
        light = shade * (self.light[0] + self.light[1] * math.exp(-depth / 14))
        (red, green, blue), haze, veil = colour, self.haze[0], 1 - clear
        return (
            min(red * light, 255) * clear + haze[0] * veil,
            min(green * light, 255) * clear + haze[1] * veil,
            min(blue * light, 255) * clear + haze[2] * veil,
        )

    def distance(self, x: float, z: float) -> float:
        """Distance of a place on the ground from the camera, in metres."""
        return math.hypot(x - self.position[0], z - self.position[2])

    def polygon(self, outline: np.ndarray | None, colour: Colour, code: int | None) -> None:
        """Fill a fixed-point outline; `code` None leaves the label map alone."""
        if outline is not None:
            cv2.fillPoly(self.image, [outline], colour, self.edge, _SHIFT)
            if code is not None:
                cv2.fillPoly(self.codes, [outline], code, cv2.LINE_8, _SHIFT)

    def ground(self, x: tuple[float, float], z: tuple[float, float], colour: Colour, code: int, y: float = 0.0) -> None:
        """Paint the strip of ground between two x and two z along the (bent) road, unlit: the ground is finished as a whole."""
        steps = 2 if not self.bend or z[1] - z[0] < 12 else 28
        along = z[0] + (z[1] - z[0]) * np.linspace(0, 1, steps) ** 2
        points = np.full((2 * steps, 3), y)
        points[:steps, 0], points[steps:, 0] = x
        points[:steps, 2], points[steps:, 2] = along, along[::-1]
        self.polygon(self.outline(points), colour, code)

    def panel(self, start: Colour, end: Colour, height: float, texture: Callable[[], np.ndarray], code: int) -> None:
        """Hang a texture on the upright plane from `start` (its left foot) to `end`, `height` metres high.

        `texture` makes it, (h, w, 3) or (h, w, 4) uint8 with opacity 0 or 255, and is only asked when the panel is in view.
        """
        foot = np.array([start, end])
        corners = np.stack([foot[0] + (0, height, 0), foot[1] + (0, height, 0), foot[1], foot[0]])
        outline = self.outline(corners)
        if outline is None:
            return
        x, y, width, height_px = cv2.boundingRect(outline >> _SHIFT)
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width + 1, self.width), min(y + height_px + 1, self.height)
        if right <= left or bottom <= top:
            return
        origin, across, _, down = self.see(corners)
        sheet = texture()
        plane = self.lens @ np.stack([(across - origin) / sheet.shape[1], (down - origin) / sheet.shape[0], origin], 1)
        plane[:2] -= np.array([[left], [top]]) * plane[2]
        mask = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillPoly(mask, [outline], 255, cv2.LINE_8, _SHIFT, (-left << _SHIFT, -top << _SHIFT))  # the offset is fixed-point, too
        patch = cv2.warpPerspective(sheet, plane, (right - left, bottom - top), borderValue=sheet[sheet.shape[0] // 2, 0].tolist())
        if sheet.shape[2] == 4:
            mask = np.minimum(mask, patch[..., 3])
            cv2.fillPoly(self.codes, [outline], code, cv2.LINE_8, _SHIFT)
        cv2.copyTo(patch[..., :3], mask, self.image[top:bottom, left:right])
        self.codes[top:bottom, left:right][mask > 0] = code

    def sprite(
        self, middle: Colour, size: tuple[float, float], shape: tuple[np.ndarray, np.ndarray], palette: np.ndarray, code: int
    ) -> None:
        """Paint a flat picture that faces the camera.

        Args:
            middle: World position of its middle.
            size: Width and height in metres.
            shape: Brightness, looked up in `palette`, and mask (255 opaque, 0 not), both (h, w) uint8.
            palette: Colour of each brightness, (256, 1, 3) uint8.
            code: What it is labelled.
        """
        seen = self.see(np.array([middle]))
        if seen[0, 2] < 2 * NEAR:
            return
        (u, v), scale = self.pixels(seen)[0], self.focal / seen[0, 2]
        left, top = round(u - size[0] * scale / 2), round(v - size[1] * scale / 2)
        width, height = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + width, self.width), min(top + height, self.height)
        if x1 <= x0 or y1 <= y0 or width > 4 * self.width:
            return
        window = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        how = cv2.INTER_AREA if width < shape[1].shape[1] else cv2.INTER_LINEAR
        lum, mask = (np.ascontiguousarray(cv2.resize(sheet, (width, height), interpolation=how)[window]) for sheet in shape)
        opaque = cv2.inRange(mask, 111, 255)  # type: ignore[call-overload]  # OpenCV's stubs want arrays for bounds
        cv2.copyTo(cv2.applyColorMap(lum, palette), opaque, self.image[y0:y1, x0:x1])
        self.codes[y0:y1, x0:x1][opaque > 0] = code

    def strokes(self, points: np.ndarray, place: Place) -> tuple[np.ndarray, float, float] | None:
        """Project local points (N, 3) (right, up, ahead) of something thin that stands at `place`.

        Returns:
            Fixed-point pixels (N, 2), pixels per metre, and depth in metres; None when it is too near or out of view.
        """
        x, z, heading = place
        seen = self.see(points @ turn(heading) + (x, 0, z))
        depth = float(seen[:, 2].mean())
        if seen[:, 2].min() < 2 * NEAR or abs(float(seen[:, 0].mean())) > depth * self.width / self.focal:
            return None
        return fixed(self.pixels(seen)), self.focal / depth, depth

    def line(self, start: np.ndarray, end: np.ndarray, width: float, colour: Colour, code: int) -> None:
        """Draw a line, `width` pixels wide, between two fixed-point pixels."""
        a, b, thick = start.tolist(), end.tolist(), max(round(width), 1)
        cv2.line(self.image, a, b, colour, thick, self.edge, _SHIFT)
        cv2.line(self.codes, a, b, code, thick, cv2.LINE_8, _SHIFT)


def turn(heading: float) -> np.ndarray:
    """Rotation (3, 3) from local (right, up, ahead) row vectors to the world."""
    cos, sin = math.cos(heading), math.sin(heading)
    return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])


def fixed(pixels: np.ndarray) -> np.ndarray:
    """Fixed-point coordinates for OpenCV, kept within what its rasteriser can hold."""
    return np.rint(np.clip(pixels, -1e6, 1e6) * (1 << _SHIFT)).astype(np.int32)


def scaled(colour: Colour, gain: float) -> Colour:
    """Brighten or darken a colour."""
    return min(colour[0] * gain, 255.0), min(colour[1] * gain, 255.0), min(colour[2] * gain, 255.0)


def blend(colour: Colour, other: Colour, share: float) -> Colour:
    """Mix `share` of another colour into a colour."""
    red, green, blue = (a + (b - a) * share for a, b in zip(colour, other, strict=True))
    return red, green, blue
