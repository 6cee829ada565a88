"""A network that knows digits, and the inception score by it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .images import Images

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier


@dataclass(frozen=True, eq=False)
class DigitClassifier:
    """A classifier of images, and the share of test images that it knows."""

    network: MLPClassifier
    accuracy: float

    @classmethod
    def fit(cls, images: Images, *, max_passes: int, n_hidden: int = 256) -> DigitClassifier:
        """A two-layer ReLU network on all training images, until its loss stands still or for ``max_passes``."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        # Stopped at its best on held-out images it would be less sure, and real ones would score 7 instead of 9.
        network = MLPClassifier((n_hidden,), max_iter=max_passes, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a limit that was chosen
            network.fit(images.train, images.train_labels)
        return cls(network, float(network.score(images.test, images.test_labels)))

    def inception_score(self, pixels: np.ndarray) -> float:
        """``exp E_x KL(p(label | x) || E_x p(label | x))`` of images (Salimans et al. 2016).

        High when every image is clearly a digit and all digits come equally often; at most 10. It never sees whether
        images of a digit differ from each other, or from those of the training.
        """
        from scipy.special import rel_entr

        probability = self.network.predict_proba(pixels)
        return float(np.exp(rel_entr(probability, probability.mean(axis=0)).sum(axis=1).mean()))
