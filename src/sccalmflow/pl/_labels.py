"""Names of points, placed where they hide neither each other nor the points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._style import BLACK, GREY, literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation

# Directions to try around a point, and distances in heights of the text.
_ANGLES = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_DISTANCES = (0.6, 1.2, 2.2, 3.4, 5.0)
# Pixels to keep clear around other texts: letters are a little wider at other resolutions.
_CLEAR = np.array([-4, -3, 4, 3])


def label_points(
    ax: Axes, points: np.ndarray, chosen: np.ndarray, names: Sequence[str], *, fontsize: float
) -> list[Annotation]:
    """Name the chosen points, in order of importance; a name that finds no free place is left out.

    Call it last, once the layout of the figure is settled.

    Parameters
    ----------
    ax
        Where the points are drawn; its texts are kept clear, and its straight lines as far as possible.
    points
        All points in data coordinates, n x 2.
    chosen
        Which of them to name.
    names
        Their names.
    fontsize
        In points.
    """
    everywhere = ax.transData.transform(points)
    kept = [text.get_window_extent().extents + _CLEAR for text in ax.texts]
    hidden = np.concatenate([everywhere, *(_along(ax, line) for line in ax.lines)])
    inside = ax.get_window_extent().extents
    labels, named = [], []
    for i, name in zip(chosen, names, strict=True):
        # Not part of the layout, which has been settled without it.
        label = ax.annotate(name, points[i], fontsize=fontsize, color=BLACK, ha="center", va="center", in_layout=False)
        literal(label)
        size = np.array(label.get_window_extent().size)
        centres, distances = _candidates(everywhere[i], size)
        boxes = np.concatenate([centres - size / 2, centres + size / 2], axis=1)
        free = np.all((boxes[:, :2] >= inside[:2]) & (boxes[:, 2:] <= inside[2:]), axis=1)
        for other in kept:
            free &= ~np.all((boxes[:, :2] < other[2:]) & (boxes[:, 2:] > other[:2]), axis=1)
        # Never over a point that has a name, over others as few as possible, and not far away.
        free &= _covered(boxes + _CLEAR, everywhere[chosen]) == 0
        cost = np.where(free, _covered(boxes, hidden) + 1.5 * distances, np.inf)
        best = int(np.argmin(cost))
        label.remove()
        if free[best]:
            labels.append(_write(ax, name, points[i], centres[best], distances[best], fontsize))
            named.append(i)
            kept.append(boxes[best] + _CLEAR / 2)
    # Which of neighbouring points is meant.
    ax.scatter(
        points[named, 0],
        points[named, 1],
        s=2 * fontsize,
        facecolors="none",
        edgecolors=BLACK,
        linewidths=0.6,
        zorder=4,
    )
    return labels


def _candidates(point: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the text around a point, in pixels, and their distances."""
    circle = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
    rings = [point + circle * (size / 2 + distance * size[1]) for distance in _DISTANCES]
    return np.concatenate(rings), np.repeat(_DISTANCES, len(circle))


def _along(ax: Axes, line: Line2D) -> np.ndarray:
    """Points along a line, in pixels: lines are to be seen as well."""
    ends = ax.transData.transform(np.asarray(line.get_xydata())[[0, -1]])
    return ends[0] + np.linspace(0, 1, 60)[:, None] * (ends[1] - ends[0])


def _covered(boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How many points lie in each box."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    return np.all((points > low) & (points < high), axis=2).sum(axis=1)


def _write(ax: Axes, name: str, point: np.ndarray, centre: np.ndarray, distance: float, fontsize: float) -> Annotation:
    # An offset in points keeps its place when the figure is saved at another resolution.
    offset = (centre - ax.transData.transform(point)) * 72 / ax.figure.dpi
    far = distance > _DISTANCES[0]
    line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 1.5} if far else None
    label = ax.annotate(
        name,
        (float(point[0]), float(point[1])),
        xytext=(float(offset[0]), float(offset[1])),
        textcoords="offset points",
        fontsize=fontsize,
        color=BLACK,
        ha="center",
        va="center",
        arrowprops=line,
        in_layout=False,
    )
    literal(label)
    return label
