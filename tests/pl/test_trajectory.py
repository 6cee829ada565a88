import matplotlib.pyplot as plt
import numpy as np
import pytest

import sccalmflow as scf


@pytest.fixture(scope="module")
def moving(pred):
    """The prediction with paths of nine times that end at its cells."""
    moving, rng = pred.copy(), np.random.default_rng(1)
    ends = moving.obsm["X_pca"]
    paths = np.linspace(0, 1, 9)[None, :, None] * ends[:, None]
    paths[:, 1:-1] += 0.1 * rng.normal(size=(len(ends), 7, ends.shape[1]))
    moving.obsm["trajectory"] = paths
    return moving


def test_mean_path_time_marks_cells_and_single_paths_are_those_of_the_condition(moving, adata, samples):
    axes = scf.pl.trajectory(moving, adata, components=(3, 1), n_paths=5)
    for ax, perturbation in zip(axes, ("IFN", "IL-6"), strict=True):
        _, true, control = samples(perturbation, "X_pca")
        own = moving.obsm["trajectory"][(moving.obs["perturbation"] == perturbation).to_numpy()][:, :, [2, 0]]
        np.testing.assert_allclose(ax.collections[0].get_offsets(), control[:, [2, 0]])
        np.testing.assert_allclose(ax.collections[1].get_offsets(), true[:, [2, 0]])
        *single, mean = ax.lines
        np.testing.assert_allclose(mean.get_xydata(), own.mean(axis=0))
        assert len(single) == 5
        for line in single:
            assert any(np.array_equal(line.get_xydata(), path) for path in own)
        marks = np.asarray(ax.collections[3].get_offsets())
        np.testing.assert_allclose(marks[[0, -1]], own.mean(axis=0)[[0, -1]])
        # From white at time 0 to black at time 1.
        shades = ax.collections[3].get_facecolors()[:, 0]
        assert shades[0] == 1 and shades[-1] == 0 and np.all(np.diff(shades) < 0)
    assert (axes[0].get_xlabel(), axes[0].get_ylabel()) == ("PC 3", "PC 1")


def test_choice_of_cells_is_seeded_and_may_be_empty(moving, adata):
    first, again, other = (
        scf.pl.trajectory(moving, adata, n_paths=3, seed=seed)[0].lines[0].get_xydata() for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(scf.pl.trajectory(moving, adata, n_paths=0)[0].lines) == 1


def test_given_axes_are_used(moving, adata):
    one, ax = moving[moving.obs["perturbation"] == "IL-6"].copy(), plt.figure().gca()
    assert scf.pl.trajectory(one, adata, axes=ax)[0] is ax
    assert ax.get_legend() is not None and not ax.figure.legends


def test_bad_input_is_refused(moving, pred, adata):
    with pytest.raises(ValueError, match=r"predict_perturbation\(..., return_trajectory=True\)"):
        scf.pl.trajectory(pred, adata)
    for components, message in (((1, 7), "1 to 6"), ((0, 1), "1 to 6"), ((2, 2), "two different")):
        with pytest.raises(ValueError, match=message):
            scf.pl.trajectory(moving, adata, components=components)
    with pytest.raises(ValueError, match="n_paths"):
        scf.pl.trajectory(moving, adata, n_paths=-1)
    with pytest.raises(ValueError, match="2 conditions"):
        scf.pl.trajectory(moving, adata, axes=plt.figure().gca())
    flat = moving.copy()
    flat.obsm["trajectory"] = flat.obsm["X_pca"]
    with pytest.raises(ValueError, match="cells x times x components"):
        scf.pl.trajectory(flat, adata)
    other = moving.copy()
    other.obsm["trajectory"] = other.obsm["trajectory"][:, :, :4]
    with pytest.raises(ValueError, match="4 components and truth"):
        scf.pl.trajectory(other, adata)
