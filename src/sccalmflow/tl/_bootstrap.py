"""Bootstrap over cells, in a form that costs little for metrics of means and of pairs."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ._pairs import Contrast, squared_distances, two_samples
from ._registry import Metric, Space
from ._target import Sample, Target, size, take

# Distances of 2,000 x 2,000 cells take 32 MB; larger samples are thinned, which makes their intervals too wide.
_MAX_CELLS = 2_000
_LEVEL = 95


class Bootstrap:
    """Resamples predicted and true cells; every metric sees the same resamples."""

    def __init__(self, target: Target, x: Sample, y: Sample, *, n_boot: int, rng: np.random.Generator) -> None:
        self._target = target
        self._x, self._y = (_thinned(sample, rng) for sample in (x, y))
        # How often each cell occurs in each resample: n_boot x cells.
        self._counts = [_counts(sample, n_boot, rng) for sample in (self._x, self._y)]
        self._n_boot = n_boot

    def deviations(self, metric: Metric) -> np.ndarray:
        """Replicates of a metric, about their median.

        About the median, because a resample repeats cells: its means are noisier than the sample's own, every
        correlation of such means is too low, and raw percentiles would often leave the value itself outside.
        """
        if metric.pair_contrast is not None:
            values = self._of_pairs(metric.space, metric.pair_contrast(self._y[metric.space]))
        elif metric.of_means:
            means = zip(*(self._means[metric.space]), strict=True)
            values = np.array([self._target.evaluate(metric, x[None], y[None]) for x, y in means], dtype=float)
        else:
            values = np.array([self._of_cells(metric, i) for i in range(self._n_boot)], dtype=float)
        return values - np.median(values)

    @cached_property
    def _means(self) -> dict[Space, list[np.ndarray]]:
        return {
            space: [
                counts @ sample[space] / len(sample[space])
                for counts, sample in zip(self._counts, (self._x, self._y), strict=True)
            ]
            for space in self._x
        }

    @cached_property
    def _known_squares(self) -> dict[Space, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        return {}

    def _squares(self, space: Space) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if space not in self._known_squares:
            x, y = two_samples(self._x[space], self._y[space])
            self._known_squares[space] = squared_distances(x, y), squared_distances(x, x), squared_distances(y, y)
        return self._known_squares[space]

    def _of_pairs(self, space: Space, contrast: Contrast) -> np.ndarray:
        between, *within = (contrast(squares) for squares in self._squares(space))
        x, y = self._counts
        total = 2 * np.einsum("bi,bi->b", x @ between, y) / (len(between) * between.shape[1])
        for counts, values in zip((x, y), within, strict=True):
            # Two copies of one cell are not a pair of cells.
            np.fill_diagonal(values, 0)
            pairs = counts.sum(axis=1) ** 2 - (counts**2).sum(axis=1)
            total -= np.einsum("bi,bi->b", counts @ values, counts) / pairs
        return np.asarray(total)

    def _of_cells(self, metric: Metric, i: int) -> float | None:
        x, y = (
            np.repeat(sample[metric.space], counts[i].astype(int), axis=0)
            for sample, counts in zip((self._x, self._y), self._counts, strict=True)
        )
        return self._target.evaluate(metric, x, y)


def interval(value: float, deviations: np.ndarray, metric: Metric) -> tuple[float, float]:
    """Percentile interval around a value; what is best at most is not exceeded."""
    tail = (100 - _LEVEL) / 2
    low, high = value + np.percentile(deviations, [tail, 100 - tail])
    return float(low), float(min(high, metric.best) if metric.direction == "higher" else high)


def _thinned(sample: Sample, rng: np.random.Generator) -> Sample:
    n = size(sample)
    return sample if n <= _MAX_CELLS else take(sample, rng.choice(n, _MAX_CELLS, replace=False))


def _counts(sample: Sample, n_boot: int, rng: np.random.Generator) -> np.ndarray:
    n = size(sample)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=n_boot).astype(np.float64)
    # A resample of one cell over and over (possible with two or three cells) has no pairs: it becomes the sample.
    counts[(counts > 0).sum(axis=1) < 2] = 1
    return counts
