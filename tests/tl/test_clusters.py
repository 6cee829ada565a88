import random
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from sklearn.metrics import adjusted_rand_score

from sccalmflow.tl import LeidenClassifier, inception_score, leiden_kld
from sccalmflow.tl._leiden import _held_out

seeds = st.integers(0, 2**32 - 1)


def blobs(sizes, seed=0, d=6):
    """Well separated clusters of the given sizes, and which cell is of which."""
    rng = np.random.default_rng(seed)
    centres = 12 * np.eye(d)[: len(sizes)]
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return centres[labels] + rng.normal(size=(len(labels), d)), labels


@pytest.fixture(scope="module")
def y():
    return blobs([90, 60, 40])[0]


@pytest.fixture(scope="module")
def classifier(y):
    return LeidenClassifier.fit(y)


def test_it_finds_the_clusters_and_learns_them(classifier):
    fresh, labels = blobs([30, 30, 30], seed=1)
    assert classifier.n_clusters == 3
    assert np.bincount(classifier.labels).tolist() == [90, 60, 40]
    assert classifier.accuracy == 1
    assert adjusted_rand_score(classifier.predict(fresh), labels) == 1


def test_probabilities_are_of_each_cluster_and_sum_to_one(classifier, y):
    probabilities = classifier.probabilities(y)
    assert probabilities.shape == (len(y), 3)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert (probabilities.argmax(axis=1) == classifier.predict(y)).all()


def test_accuracy_is_that_of_cells_the_network_has_not_seen():
    # Two clusters that overlap: on cells it has seen the network is nearly always right.
    rng = np.random.default_rng(0)
    y = rng.normal(size=(300, 4)) + np.repeat([[0.0], [2.2]], 150, axis=0)
    fitted = LeidenClassifier.fit(y, resolution=0.5)
    held_out = _held_out(fitted.labels, 0)
    right = fitted.predict(y) == fitted.labels
    assert fitted.n_clusters > 1
    assert fitted.accuracy == pytest.approx(right[held_out].mean())
    assert held_out.sum() == pytest.approx(60, abs=2)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), seeds)
@settings(max_examples=50, deadline=None)
def test_a_fifth_of_each_cluster_is_held_out_and_no_cluster_is_lost(sizes, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    held_out = _held_out(labels, seed)
    assert set(labels[~held_out]) == set(labels)
    assert np.bincount(labels[held_out], minlength=len(sizes)).tolist() == [round(0.2 * size) for size in sizes]


def test_clusters_of_very_few_cells_are_kept():
    y, _ = blobs([80, 60, 4])
    classifier = LeidenClassifier.fit(y, n_neighbors=4)
    assert classifier.n_clusters >= 3
    assert classifier.probabilities(y).shape == (144, classifier.n_clusters)
    assert np.isfinite(leiden_kld(y[:80], y, classifier=classifier))


@pytest.mark.parametrize("n", [3, 60])
def test_one_cluster_gives_no_divergence_and_a_score_of_one(n):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 5)), rng.normal(size=(n, 5))
    classifier = LeidenClassifier.fit(y)
    assert (classifier.n_clusters, classifier.accuracy) == (1, 1.0)
    assert classifier.predict(x).tolist() == [0] * 20
    assert leiden_kld(x, y) == 0
    assert inception_score(x, y) == 1


def test_cells_that_are_all_the_same_are_one_cluster():
    assert LeidenClassifier.fit(np.full((30, 3), 0.1)).n_clusters == 1


@pytest.mark.parametrize("pseudocount", [0.5, 2.0])
def test_leiden_kld_equals_scipy_on_the_counts(classifier, y, pseudocount):
    x, _ = blobs([10, 0, 45], seed=2)
    expected = entropy(np.array([90, 60, 40]) + pseudocount, np.array([10, 0, 45]) + pseudocount)
    assert leiden_kld(x, y, classifier=classifier, pseudocount=pseudocount) == pytest.approx(expected)


def test_without_a_pseudocount_a_cluster_that_is_missed_diverges_without_end(classifier, y):
    assert leiden_kld(y[:90], y, classifier=classifier, pseudocount=0) == np.inf
    assert leiden_kld(y, y[:90], classifier=classifier, pseudocount=0) == pytest.approx(np.log(190 / 90))


def test_inception_score_equals_scipy(classifier, y):
    x, _ = blobs([10, 20, 45], seed=3)
    probabilities = classifier.probabilities(x)
    mean = probabilities.mean(axis=0)
    expected = np.exp(np.mean([entropy(p, mean) for p in probabilities]))
    assert inception_score(x, y, classifier=classifier) == pytest.approx(expected)


def test_inception_score_is_one_in_one_cluster_and_near_their_number_in_all(classifier, y):
    even, _ = blobs([50, 50, 50], seed=4)
    assert inception_score(y[:90], y, classifier=classifier) == pytest.approx(1, abs=0.02)
    assert 2.8 < inception_score(even, y, classifier=classifier) <= 3


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_order_of_predicted_cells_does_not_matter_and_a_copy_is_best(classifier, y, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(4, 6, size=(25, 6))
    for metric in (leiden_kld, inception_score):
        value = metric(x, y, classifier=classifier)
        assert metric(rng.permutation(x), y, classifier=classifier) == pytest.approx(value)
    assert leiden_kld(x, y, classifier=classifier) >= 0
    assert leiden_kld(rng.permutation(y), y, classifier=classifier) == 0


def test_the_same_seed_gives_the_same_value_and_global_random_state_is_left_alone(y):
    x = np.random.default_rng(0).normal(4, 6, size=(25, 6))
    np.random.seed(1)
    random.seed(1)
    before = np.random.get_state()[1].copy(), random.getstate()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = inception_score(x, y, seed=5), leiden_kld(x, y, seed=5)
    assert (np.random.get_state()[1] == before[0]).all()
    assert random.getstate() == before[1]
    np.random.seed(2)
    random.seed(2)
    assert (inception_score(x, y, seed=5), leiden_kld(x, y, seed=5)) == first
    assert inception_score(x, y, seed=6) != first[0]


def test_float32_and_float64_agree(classifier, y):
    x, _ = blobs([10, 20, 45], seed=3)
    single = LeidenClassifier.fit(y.astype("float32"))
    assert adjusted_rand_score(single.labels, classifier.labels) == 1
    for metric in (leiden_kld, inception_score):
        value = metric(x, y, classifier=classifier)
        assert metric(x.astype("float32"), y, classifier=classifier) == pytest.approx(value, rel=1e-4)


def test_bad_input_is_refused(classifier, y):
    with pytest.raises(ValueError, match="at least 3"):
        LeidenClassifier.fit(y[:2])
    with pytest.raises(ValueError, match="dimensions"):
        LeidenClassifier.fit(y[0])
    with pytest.raises(ValueError, match="y holds NaN"):
        LeidenClassifier.fit(np.full_like(y, np.nan))
    with pytest.raises(ValueError, match="resolution is 0"):
        LeidenClassifier.fit(y, resolution=0)
    with pytest.raises(ValueError, match="n_neighbors is 0"):
        LeidenClassifier.fit(y, n_neighbors=0)
    with pytest.raises(ValueError, match="fitted on 6"):
        classifier.predict(y[:, :3])
    with pytest.raises(ValueError, match="x has no cells"):
        classifier.probabilities(y[:0])
    for metric in (leiden_kld, inception_score):
        with pytest.raises(ValueError, match="same ones"):
            metric(y[:, :3], y)
        with pytest.raises(ValueError, match="x holds NaN"):
            metric(np.full_like(y, np.nan), y)
    with pytest.raises(ValueError, match="pseudocount is -1"):
        leiden_kld(y, y, pseudocount=-1)


def test_many_cells_take_another_way_to_their_neighbours_and_work():
    many, labels = blobs([3_000, 2_000], d=2)
    classifier = LeidenClassifier.fit(many, resolution=0.01)
    assert adjusted_rand_score(classifier.labels, labels) == 1
