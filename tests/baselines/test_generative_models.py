"""FlowMatching and Diffusion on arrays: closed forms, seeds, conditions, sources, bad input."""

import numpy as np
import pytest
import torch
from scipy import sparse

import sccalmflow as scf
from sccalmflow.baselines import Diffusion, FlowMatching
from sccalmflow.baselines._network import ConditionalMLP

SMALL = {"width": 64, "n_updates": 300, "batch_size": 64, "lr": 3e-3}
FLOWS = [{"coupling": "independent"}, {"coupling": "ot"}, {"coupling": "schroedinger", "sigma": 0.5}]


def gaussian(mean, std, n=2_000, seed=0):
    return np.random.default_rng(seed).normal(mean, std, size=(n, 1))


def quick(**options):
    return FlowMatching(**{"width": 16, "n_updates": 30, "solver": "euler", "n_solver_steps": 4} | options)


@pytest.mark.parametrize("options", FLOWS, ids=lambda options: options["coupling"])
def test_a_gaussian_becomes_the_target_gaussian(options):
    model = FlowMatching(solver="euler", n_solver_steps=50, **SMALL, **options).fit(gaussian(3, 0.5))
    cells = model.sample(4_000)
    assert cells.dtype == np.float32 and cells.shape == (4_000, 1)
    assert cells.mean() == pytest.approx(3, abs=0.1)
    assert cells.std() == pytest.approx(0.5, rel=0.2)


def test_diffusion_makes_the_target_gaussian():
    cells = Diffusion(**SMALL).fit(gaussian(3, 0.5)).sample(4_000)
    assert cells.mean() == pytest.approx(3, abs=0.1)
    assert cells.std() == pytest.approx(0.5, rel=0.2)


def test_optimal_transport_moves_each_draw_by_the_monotone_map():
    # From one Gaussian to another the optimal map is x -> mean + std * x.
    model = FlowMatching(coupling="ot", **SMALL).fit(gaussian(3, 0.5))
    start = np.linspace(-1.5, 1.5, 7)[:, None]
    ends = [model.sample(1, source=point[None]).item() for point in start]
    np.testing.assert_allclose(ends, 3 + 0.5 * start[:, 0], atol=0.2)


def test_the_network_is_a_perceptron_of_state_time_and_condition():
    network = ConditionalMLP(dim=2, width=64, n_layers=3, activation="selu", encoder=None, example=torch.eye(3))
    linear = [part for part in network.layers if isinstance(part, torch.nn.Linear)]
    assert [(part.in_features, part.out_features) for part in linear] == [(6, 64), (64, 64), (64, 64), (64, 2)]


def test_every_evaluation_of_the_network_is_counted():
    x = gaussian(0, 1, n=50)
    for model, expected in ((quick(n_solver_steps=7), 7), (Diffusion(width=8, n_updates=2, n_diffusion_steps=9), 9)):
        model.fit(x)
        calls = []
        model.network_.layers.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        model.sample(5)
        assert model.n_evaluations_ == expected == len(calls)
    adaptive = quick(solver="dopri5").fit(x)
    calls = []
    adaptive.network_.layers.register_forward_hook(lambda *_: calls.append(1))
    adaptive.sample(5)
    assert adaptive.n_evaluations_ == len(calls) > 7


def test_adaptive_and_fine_fixed_steps_agree():
    model = quick(n_updates=100, solver="dopri5").fit(gaussian(2, 0.5))
    adaptive = model.sample(50)
    model.solver, model.n_solver_steps = "euler", 2_000
    np.testing.assert_allclose(model.sample(50), adaptive, atol=5e-3)


@pytest.mark.parametrize("make", [quick, lambda: Diffusion(width=16, n_updates=30, n_diffusion_steps=5)])
def test_seeds_decide_everything_and_the_global_state_nothing(make):
    x, condition = gaussian(1, 1, n=100), np.eye(2)[np.arange(100) % 2]
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = make().fit(x, condition, seed=1).sample(20, condition[0], seed=2)
    assert torch.equal(before[0], torch.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()
    torch.rand(3), np.random.rand(3)
    again = make()
    again.fit(x, condition, seed=5)
    np.testing.assert_array_equal(again.fit(x, condition, seed=1).sample(20, condition[0], seed=2), first)
    assert (again.sample(20, condition[0], seed=3) != first).any()
    assert (make().fit(x, condition, seed=4).sample(20, condition[0], seed=2) != first).any()


@pytest.mark.parametrize("coupling", ["independent", "ot"])
def test_conditions_matter(coupling):
    labels = np.arange(1_000) % 2
    x = np.where(labels, 3.0, -3.0)[:, None] + gaussian(0, 0.3, n=1_000)
    model = FlowMatching(coupling=coupling, solver="euler", n_solver_steps=20, **SMALL).fit(x, np.eye(2)[labels])
    assert model.sample(500, [1, 0]).mean() == pytest.approx(-3, abs=0.3)
    assert model.sample(500, [0, 1]).mean() == pytest.approx(3, abs=0.3)
    mixed = model.sample(4, np.eye(2)[[0, 1, 1, 0]])[:, 0]
    assert (np.sign(mixed) == [-1, 1, 1, -1]).all()


def test_an_encoder_of_token_ids_is_trained_and_the_users_module_left_alone():
    sentences = np.array([[3, 5, 0], [4, 5, 6]])
    labels = np.arange(1_000) % 2
    x = np.where(labels, 3.0, -3.0)[:, None] + gaussian(0, 0.3, n=1_000)
    encoder = torch.nn.EmbeddingBag(8, 4, padding_idx=0)
    weights = encoder.weight.detach().clone()
    model = FlowMatching(condition_encoder=encoder, solver="euler", n_solver_steps=20, **SMALL)
    model.fit(x, sentences[labels])
    assert torch.equal(encoder.weight, weights) and encoder.training
    assert not torch.equal(model.network_.encoder.weight, weights)
    assert model.sample(500, sentences[0]).mean() == pytest.approx(-3, abs=0.3)
    assert model.sample(500, sentences[1]).mean() == pytest.approx(3, abs=0.3)


def test_given_cells_are_where_trajectories_start():
    start = np.array([[10.0], [20.0], [30.0]])
    model = quick(n_solver_steps=1).fit(gaussian(0, 1), source=start)
    # A flow of zero velocity leaves the cells where they start.
    for weights in model.network_.parameters():
        weights.zero_()
    counts = np.unique(model.sample(7), return_counts=True)
    assert counts[0].tolist() == [10, 20, 30] and counts[1].max() - counts[1].min() == 1
    assert model.sample(2, source=np.array([[5.0]])).tolist() == [[5], [5]]
    each = model.sample(3, source=[start[:1], start[1:2], start[:1]])
    assert each.tolist() == [[10], [20], [10]]
    assert model.sample(2, source=lambda n, generator: torch.full((n, 1), 7.0)).tolist() == [[7], [7]]


def test_each_cell_starts_from_its_own_context():
    # The change is the same and the contexts are far apart: only pairs inside a context can tell.
    labels = np.arange(1_000) % 2
    centre = np.where(labels, 4.0, -4.0)[:, None]
    x = centre + 1 + gaussian(0, 0.1, n=1_000)
    pools = [gaussian(-4, 0.1, n=50), gaussian(4, 0.1, n=50)]
    model = FlowMatching(solver="euler", n_solver_steps=10, **SMALL)
    model.fit(x, source=[pools[label] for label in labels])
    for pool in pools:
        assert model.sample(50, source=pool).mean() == pytest.approx(pool.mean() + 1, abs=0.2)
    with pytest.raises(ValueError, match="say in source"):
        model.sample(1_000)


def test_training_can_draw_afresh():
    two = lambda n, generator: 3 + 0.5 * torch.randn(n, 2, generator=generator)
    far = lambda n, generator: torch.randn(n, 2, generator=generator) - 5
    model = FlowMatching(solver="euler", **SMALL).fit(two, source=far)
    assert model.sample(2_000).mean(0) == pytest.approx([3, 3], abs=0.2)


@pytest.mark.parametrize("given", [np.ndarray, torch.float64], ids=str)
def test_what_is_drawn_and_seeds_may_be_of_other_types(given):
    def draw(n, generator):
        drawn = torch.randn(n, 2, generator=generator)
        return drawn.numpy() if given is np.ndarray else drawn.to(given)

    model = quick().fit(draw, source=draw, seed=np.int64(1))
    assert model.sample(3, source=draw, seed=np.int64(2)).dtype == np.float32


def test_weights_decide_how_often_cells_are_drawn():
    x = np.array([[-3.0], [3.0]])
    model = FlowMatching(solver="euler", **SMALL).fit(x, weight=np.array([1.0, 0.0]))
    assert model.sample(200).mean() == pytest.approx(-3, abs=0.2)


def test_the_weights_with_the_best_score_are_kept():
    values = iter([3.0, 1.0, 2.0, 5.0])
    seen = []

    def score(model):
        seen.append(model.sample(5))
        return next(values)

    model = quick(n_updates=35).fit(gaussian(3, 1), score=score, score_every=10)
    assert model.scores_ == {10: 3.0, 20: 1.0, 30: 2.0, 35: 5.0} and model.n_updates_ == 20
    np.testing.assert_array_equal(model.sample(5), seen[1])
    # The same number of updates of the same schedule, without looking.
    stopped = quick(n_updates=35).fit(gaussian(3, 1), stop_after=20)
    np.testing.assert_array_equal(stopped.sample(5), seen[1])


def test_a_score_that_is_not_a_number_is_not_the_best():
    values = iter([float("nan"), 2.0, float("nan")])
    model = quick().fit(gaussian(3, 1), score=lambda _: next(values), score_every=10)
    assert model.scores_ == {10: np.inf, 20: 2.0, 30: np.inf} and model.n_updates_ == 20


def test_a_loss_that_is_not_finite_stops_training_and_names_the_update():
    calls = []

    def draw(n, generator):
        calls.append(n)
        return torch.full((n, 1), torch.inf if len(calls) == 4 else 0.0)

    with pytest.raises(FloatingPointError, match="update 3 "):
        quick().fit(draw)


def test_bad_settings_are_refused():
    for options, message in (
        ({"coupling": "OT"}, "Did you mean 'ot'"),
        ({"solver": "rk4"}, "solver"),
        ({"sigma": -1.0}, "sigma=-1.0"),
        ({"coupling": "schroedinger", "sigma": 0.0}, "nor 0 for a bridge"),
        ({"width": 0}, "width=0"),
        ({"lr": float("nan")}, "lr"),
        ({"activation": "silu"}, "Did you mean 'selu'"),
        ({"n_solver_steps": 0}, "n_solver_steps=0"),
    ):
        with pytest.raises(ValueError, match=message):
            FlowMatching(**options)
    with pytest.raises(ValueError, match="n_diffusion_steps=1"):
        Diffusion(n_diffusion_steps=1)
    for name in ("width", "n_layers", "n_updates", "batch_size", "n_solver_steps"):
        with pytest.raises(TypeError, match=f"{name}=20.0 must be a whole number"):
            FlowMatching(**{name: 20.0})
    with pytest.raises(TypeError, match="n_diffusion_steps=20.0 must be a whole number"):
        Diffusion(n_diffusion_steps=20.0)


def test_bad_data_is_refused_before_training():
    x, pool = gaussian(0, 1, n=10), np.zeros((4, 1))
    fresh = lambda n, generator: torch.zeros(n, 1)
    for arguments, message in (
        ({"x": x[:, 0]}, r"x has the shape \(10,\)"),
        ({"x": np.full((10, 1), np.nan)}, "x has 10 NaN"),
        ({"x": x, "condition": np.eye(3)}, "give one vector a cell, 10 x c"),
        ({"x": x, "source": np.zeros((4, 2))}, "source has 2 features, but the data has 1"),
        ({"x": x, "source": [pool] * 3}, "source has 3 arrays for 10 cells"),
        ({"x": x, "weight": np.zeros(10)}, "weight must be one number a cell"),
        ({"x": x, "seed": -1}, "seed=-1"),
        ({"x": x, "score_every": 0}, "score_every=0"),
        ({"x": x, "stop_after": 31}, "stop_after=31"),
        ({"x": fresh, "condition": np.eye(2)}, "x is a function"),
        ({"x": fresh, "source": [pool, pool]}, "x is a function"),
    ):
        with pytest.raises(ValueError, match=message):
            quick().fit(**arguments)
    with pytest.raises(TypeError, match=r"give a dense array, as condition.toarray\(\) is"):
        quick().fit(x, sparse.csr_matrix(np.eye(10)))
    with pytest.raises(TypeError, match="source is a str"):
        quick().fit(x, source="control")
    with pytest.raises(ValueError, match="Diffusion starts from noise"):
        Diffusion(width=8).fit(x, source=pool)
    with pytest.raises(ValueError, match="one vector each"):
        quick(condition_encoder=torch.nn.Embedding(3, 2)).fit(x, np.zeros((10, 2), dtype=int))


def test_bad_requests_are_refused():
    with pytest.raises(RuntimeError, match="call fit"):
        quick().sample(3)
    x = gaussian(0, 1, n=10)
    model = quick().fit(x, np.eye(10))
    with pytest.raises(ValueError, match="trained with conditions"):
        model.sample(3)
    with pytest.raises(ValueError, match="condition has 2 numbers a cell, but 10"):
        model.sample(3, [0, 1])
    with pytest.raises(ValueError, match="give one vector a cell, 3 x c"):
        model.sample(3, np.eye(10))
    with pytest.raises(TypeError, match="condition is sparse"):
        model.sample(3, sparse.csr_matrix(np.eye(10)[:3]))
    with pytest.raises(TypeError, match="n=3.0 must be a whole number"):
        model.sample(3.0, np.eye(10)[0])
    with pytest.raises(ValueError, match="n=0"):
        model.sample(0, np.eye(10)[0])
    with pytest.raises(ValueError, match="trained without conditions"):
        quick().fit(x).sample(3, [0, 1])
    with pytest.raises(ValueError, match="3 x 1 was needed"):
        quick().fit(x).sample(3, source=lambda n, generator: torch.zeros(n, 2))


def test_simple_baselines_do_not_load_torch(tmp_path):
    import subprocess
    import sys

    code = "import sys, sccalmflow.baselines as b; b.additive; assert 'torch' not in sys.modules; b.FlowMatching"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert set(scf.baselines.__all__) <= set(dir(scf.baselines))
    with pytest.raises(AttributeError, match="Flow"):
        _ = scf.baselines.Flow
