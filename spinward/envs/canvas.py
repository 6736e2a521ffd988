"""A small picture in an environment's own units: what the `render` methods draw on."""

from collections.abc import Sequence

import numpy as np

Point = tuple[float, float]
Colour = tuple[int, int, int]

PAPER: Colour = (250, 250, 246)
INK: Colour = (44, 52, 64)
GREY: Colour = (168, 176, 186)
MIST: Colour = (226, 230, 233)
BLUE: Colour = (58, 110, 190)
ORANGE: Colour = (230, 126, 52)
GREEN: Colour = (62, 156, 106)
RED: Colour = (206, 72, 72)

OVERSAMPLING = 3  # drawn this many times larger, then averaged: smooth edges


class Canvas:
    """Shapes at world coordinates, y upwards; line widths are in pixels of the final picture."""

    def __init__(
        self, scale: float, centre: Point = (0.0, 0.0), width: int = 400, height: int = 300
    ) -> None:
        from PIL import Image, ImageDraw  # slow to import, and only pictures need it

        self.scale = scale * OVERSAMPLING  # pixels of the large picture per world unit
        self.centre = centre  # the world point in the middle of the picture
        self.size = (width * OVERSAMPLING, height * OVERSAMPLING)
        self.image = Image.new("RGB", self.size, PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def pixel(self, point: Point) -> Point:
        """Where a world point lies in the large picture."""
        right, up = point[0] - self.centre[0], point[1] - self.centre[1]
        return self.size[0] / 2 + right * self.scale, self.size[1] / 2 - up * self.scale

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self.draw.polygon([self.pixel(p) for p in points], fill=colour)

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        x, y = self.pixel(centre)
        r = radius * self.scale
        self.draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """A polyline with round joints and ends."""
        pixels = [self.pixel(p) for p in points]
        thickness = round(width * OVERSAMPLING)
        self.draw.line(pixels, fill=colour, width=thickness)
        r = thickness / 2
        for x, y in pixels:
            self.draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)

    def dashes(self, start: Point, end: Point, colour: Colour, width: float, count: int) -> None:
        """A straight line of `count` dashes, as long as the gaps between them."""
        marks = np.linspace(start, end, 2 * count)
        for left, right in zip(marks[::2], marks[1::2], strict=True):
            self.line([tuple(left), tuple(right)], colour, width)

    def rectangle(self, low: Point, high: Point, colour: Colour, radius: float = 0.0) -> None:
        """From the lower left corner to the upper right one, corners rounded by `radius`."""
        (left, bottom), (right, top) = self.pixel(low), self.pixel(high)
        self.draw.rounded_rectangle([left, top, right, bottom], radius * self.scale, fill=colour)

    def arrow(self, points: Sequence[Point], colour: Colour, width: float, head: float) -> None:
        """A polyline that ends in a triangle `head` world units long."""
        self.line(points, colour, width)
        (x0, y0), (x1, y1) = points[-2:]
        ahead = np.array([x1 - x0, y1 - y0]) / max(np.hypot(x1 - x0, y1 - y0), 1e-9)
        tip, side = np.array([x1, y1]) + head * ahead, 0.6 * head * np.array([-ahead[1], ahead[0]])
        self.polygon(
            [tuple(tip), (x1 + side[0], y1 + side[1]), (x1 - side[0], y1 - side[1])], colour
        )

    def pixels(self) -> np.ndarray:
        """The finished picture, uint8 [height, width, 3]."""
        return np.asarray(self.image.reduce(OVERSAMPLING), np.uint8)
