import gzip
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from sccalmflow.validation import mnist
from sccalmflow.validation._competitors import Competitor
from sccalmflow.validation._data.classifier import DigitClassifier
from sccalmflow.validation._data.fitting import Data, draws_from, fit, noise
from sccalmflow.validation._data.idx import read_idx
from sccalmflow.validation._data.images import Images, digits
from sccalmflow.validation._data.images import mnist as load_mnist
from sccalmflow.validation._data.memorised import nearest_distance
from sccalmflow.validation._data.printed import TABLE_6
from sccalmflow.validation._data.recipes import competitor, package_default, paper, resampled
from sccalmflow.validation._data.study import Effort, Study, drawn_from, fingerprint
from sccalmflow.validation._data.table import Printed, Row, data_table
from sccalmflow.validation._markdown import Column
from sccalmflow.validation._training import size

TINY = mnist.Setup(Effort(n_samples=20, n_updates=2, batch_size=8), n_passes=3, n_steps=2, width=8)


def idx(array: np.ndarray) -> bytes:
    """The format, written the slow way."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", size) for size in array.shape)
    return header + bytes(int(value) for value in array.ravel())


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for part, n, ending in (("train", 30, ".gz"), ("t10k", 10, "")):
        for kind, shape in (("images-idx3-ubyte", (n, 4, 4)), ("labels-idx1-ubyte", (n,))):
            content = idx(rng.integers(10, size=shape))
            (tmp_path / f"{part}-{kind}{ending}").write_bytes(gzip.compress(content) if ending else content)
    return tmp_path


@pytest.fixture(scope="module")
def few():
    images = digits()
    return Images(
        "few digits", images.train[:100], images.train_labels[:100], images.test[:20], images.test_labels[:20]
    )


@pytest.mark.parametrize("shape", [(3,), (2, 3, 5), (0, 4)])
def test_an_idx_file_is_read_as_it_was_written(tmp_path, shape):
    expected = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    (tmp_path / "a").write_bytes(idx(expected))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(expected)))
    for name in ("a", "a.gz"):
        found = read_idx(tmp_path / name)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file"),
        (b"\x89PNG\r\n", "not an idx file .* 89 50 4e 47"),
        (bytes([0, 0, 13, 1]) + bytes(8), "not an idx file of unsigned bytes"),
        (idx(np.zeros(5))[:6], "6 bytes are there"),
        (idx(np.zeros((2, 5)))[:-1], r"holds \[2, 5\] values, but 21 bytes are there"),
        (idx(np.zeros((2, 5))) + b"0", r"holds \[2, 5\] values, but 23 bytes are there"),
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path, content, message):
    path = tmp_path / "train"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(path)


@pytest.mark.parametrize("damage", [lambda c: c[:-9], lambda c: b"no" + c[2:], lambda c: c[:20] + b"xx" + c[22:]])
def test_a_damaged_archive_is_refused(tmp_path, damage):
    path = tmp_path / "train.gz"
    path.write_bytes(damage(gzip.compress(idx(np.arange(200) % 7))))
    with pytest.raises(ValueError, match="cannot be unpacked"):
        read_idx(path)


def test_mnist_is_read_from_its_four_files(folder, monkeypatch):
    images = load_mnist(folder)
    assert images.train.shape == (30, 16) and images.test.shape == (10, 16) and images.side == 4
    assert images.train.max() == pytest.approx(9 / 255)
    np.testing.assert_array_equal(images.test_labels, read_idx(folder / "t10k-labels-idx1-ubyte"))
    (folder / "mnist").symlink_to(folder)
    monkeypatch.setenv("SCCALMFLOW_DATA", str(folder))
    np.testing.assert_array_equal(load_mnist().train, images.train)


def test_missing_and_unfitting_files_are_named(folder):
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(29))))
    with pytest.raises(ValueError, match=r"\(30, 4, 4\) pixels and \(29,\) labels"):
        load_mnist(folder)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="neither t10k-labels-idx1-ubyte nor"):
        load_mnist(folder)


def test_without_files_mnist_comes_from_openml(monkeypatch):
    monkeypatch.delenv("SCCALMFLOW_DATA", raising=False)
    pixels, labels = np.full((60_002, 4), 255), np.array(["7"] * 60_002)
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda *_, **__: (pixels, labels))
    images = load_mnist()
    assert images.train.shape == (60_000, 4) and images.test.shape == (2, 4)
    assert images.test.max() == 1 and images.test_labels.tolist() == [7, 7]


def test_an_unreachable_openml_names_the_other_ways(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise OSError("no route")

    monkeypatch.setenv("SCCALMFLOW_DATA", str(tmp_path))
    monkeypatch.setattr("sklearn.datasets.fetch_openml", fail)
    with pytest.raises(ConnectionError, match="no route.*--data.*--digits"):
        load_mnist()


def test_states_are_standardised_and_turned_back_into_pixels(few):
    states = few.standardise(few.train)
    assert states.mean() == pytest.approx(0, abs=1e-5) and states.var() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(few.pixels(states), few.train, atol=1e-6)
    assert few.pixels(states + 100).min() == 1


def test_training_and_test_digits_are_all_digits_once():
    images = digits()
    assert (len(images.train), len(images.test)) == (1_438, 359)
    assert set(images.test_labels) == set(range(10))


def test_the_inception_score_is_that_of_a_slow_loop(few):
    classifier = DigitClassifier.fit(few, max_passes=100)
    assert classifier.accuracy > 0.6
    p = classifier.network.predict_proba(few.test)
    marginal = [sum(row[k] for row in p) / len(p) for k in range(10)]
    divergences = [sum(q * np.log(q / m) for q, m in zip(row, marginal, strict=True) if q > 0) for row in p]
    assert classifier.inception_score(few.test) == pytest.approx(np.exp(np.mean(divergences)), rel=1e-5)
    assert classifier.inception_score(np.repeat(few.test[:1], 5, axis=0)) == pytest.approx(1)


@pytest.mark.parametrize("method", ["cfm", "cfm_ot", "cfm_sb", "ddpm"])
def test_competitors_learn_a_data_set_and_report_what_they_cost(method):
    rng = np.random.default_rng(0)
    data = Data.hold_back(rng.normal(0.5, 0.8, size=(200, 3)).astype(np.float32))
    recipe = Competitor(method, width=32, n_layers=2, n_updates=200, batch_size=64, lr=1e-2)
    fitted = fit(recipe, data, seed=0)
    sample = fitted.sample(300, 0)
    np.testing.assert_allclose(sample.mean(0), 0.5, atol=0.3)
    np.testing.assert_allclose(sample.std(0), 0.8, atol=0.3)
    np.testing.assert_array_equal(sample, fitted.sample(300, 0))
    layers = [torch.nn.Linear(before, after) for before, after in ((4, 32), (32, 32), (32, 3))]
    assert fitted.costs["n_parameters"] == sum(p.numel() for layer in layers for p in layer.parameters())
    assert fitted.costs["n_updates_kept"] in (40, 80, 120, 160, 200)


@pytest.mark.parametrize("n_layers", [1, 2, 4])
def test_a_competitor_can_have_the_parameters_of_another_model(n_layers: int):
    recipe = Competitor("cfm", width=8, n_layers=n_layers, n_updates=1).with_parameters(300_000, 64)
    assert recipe.n_parameters(64) == pytest.approx(300_000, rel=0.01)


@pytest.mark.parametrize("temperatures", [(1.0,), (0.2, 1.0)])
def test_a_flow_takes_the_temperature_that_validation_samples_choose(temperatures):
    recipe = paper(3, n_updates=2, n_trajectories=5)
    recipe = replace(recipe, width=8, temperatures=temperatures, flow=replace(recipe.flow, n_steps=2))
    before = torch.get_rng_state()
    fitted = fit(recipe, Data.hold_back(np.zeros((100, 3), np.float32)), seed=0)
    assert torch.equal(before, torch.get_rng_state())
    # More than one rollout holds, and a number that does not fill the last sequence.
    assert fitted.sample(1_203, 0).shape == (1_203, 3)
    tried = {float(key): value for key, value in fitted.costs["edistance_by_temperature"].items()}
    assert fitted.costs["temperature"] == (min(tried, key=tried.get) if tried else 1.0)
    assert set(tried) == (set(temperatures) if len(temperatures) > 1 else set())


def test_validation_samples_are_not_trained_on():
    samples = np.arange(50, dtype=np.float32)[:, None]
    data = Data.hold_back(samples)
    assert len(data.validation) == 5
    assert sorted(np.concatenate([data.train, data.validation])[:, 0]) == samples[:, 0].tolist()
    drawn = draws_from(data.train)(500, torch.Generator().manual_seed(0))
    assert not set(drawn[:, 0].tolist()) & set(data.validation[:, 0].tolist())
    assert noise(4)(3, torch.Generator()).shape == (3, 4)


def test_recipes_have_the_sizes_that_the_paper_gives():
    recipe = paper(50, n_updates=1, n_trajectories=5)
    assert (recipe.width, recipe.n_heads, recipe.n_layers, recipe.batch_size) == (64, 4, 2, 25)
    assert (recipe.flow.path, recipe.flow.decoder) == ("straight", "variational")
    assert resampled(64, n_updates=1, n_space_tokens=8).flow.n_space_tokens == 8
    assert package_default(50, n_updates=1).flow.path == "resampled"
    assert [(competitor(m, n_updates=1).width, competitor(m, n_updates=1).n_layers) for m in ("cfm_ot", "ddpm")] == [
        (1024, 4),
        (2048, 2),
    ]


def test_the_distance_to_training_is_none_for_copies():
    x = np.random.default_rng(0).normal(size=(40, 3))
    assert nearest_distance(x[:10], x) == pytest.approx(0, abs=1e-6)
    slow = np.median([min(np.linalg.norm(a - b) for b in x[20:]) for a in x[:20]])
    assert nearest_distance(x[:20], x[20:]) == pytest.approx(slow)


def test_the_table_runs_at_toy_size_and_goes_on_where_it_stopped(few, tmp_path, monkeypatch):
    text = mnist.table_6(few, ["paper", "resampled", "cfm"], [0], TINY, tmp_path, tag="toy")
    assert text == (tmp_path / "table-6-toy.md").read_text()
    assert all(row.model in text for key, row in TABLE_6.items() if key not in ("cfm_ot", "ddpm"))
    rows = {line.split(" | ")[0][2:]: line.split(" | ")[1:] for line in text.splitlines() if line.startswith("| ")}
    assert [rows["test images"][i] for i in (2, 3, 4)] == ["–"] * 3
    assert float(rows["training images"][4]) == pytest.approx(0, abs=0.3)
    assert {f"`resampled`, {k} space token{'s' if k > 1 else ''}" for k in (1, 2, 4, 8)} <= set(rows)
    assert (tmp_path / "table-6-toy.png").stat().st_size > 1_000
    stored = json.loads((tmp_path / "paper-k8-seed0-toy.json").read_text())
    assert stored["settings"]["recipe"]["flow"]["n_space_tokens"] == 8
    assert stored["results"]["n_evaluations"] == 2 * 8
    assert np.load(tmp_path / "paper-k8-seed0-toy.npy").shape == (20, 64)
    for name in ("fit", "DigitClassifier.fit"):
        monkeypatch.setattr(f"sccalmflow.validation.mnist.{name}", lambda *_, **__: pytest.fail("trained again"))
    # The files that a repository keeps of its runs are their scores, without samples.
    for file in [*tmp_path.glob("*.npy"), tmp_path / "table-6-toy.png"]:
        file.unlink()
    assert mnist.table_6(few, ["paper", "resampled", "cfm"], [0], TINY, tmp_path, tag="toy") == text
    assert not (tmp_path / "table-6-toy.png").exists()
    # Of what has not been run, a table of what is there has no row.
    more = ["paper", "resampled", "cfm", "ddpm"]
    assert mnist.table_6(few, more, [0, 1], TINY, tmp_path, tag="toy", finished_only=True) == text


def test_competitors_at_equal_size_have_the_parameters_of_the_largest_flow():
    found = mnist.models(["resampled", "ddpm-equal", "cfm-equal"], 64, TINY)
    expected = size(found["resampled-k8"][1])
    for key in ("cfm-equal", "ddpm-equal"):
        assert found[key][1].n_parameters(64) == pytest.approx(expected, rel=0.05)


def test_other_data_is_another_run(tmp_path):
    x, y = np.zeros((9, 2)), np.ones((9, 2))
    means = []
    for samples in (x, y, x):
        study = Study(tmp_path, "", {"data": fingerprint(samples)}, 5, lambda drawn: {"mean": float(drawn.mean())})
        means.append(study.run("real", None, 0, drawn_from(samples)).scores["mean"])
    assert means == [0, 1, 0]
    assert fingerprint(x) != fingerprint(x.reshape(2, 9))


def test_the_table_gives_spread_over_runs_and_what_the_paper_prints():
    columns = [Column("score", "score", ".2f"), Column("seconds", "seconds", ".0f", True)]
    runs = [{"score": value, "seconds": 3} for value in (1, 2, 3)]
    rows = [Row("CFM", runs, Printed("theirs", {"score": "9 ± 1"})), Row("one", [{"score": 1}])]
    assert data_table(rows, columns).splitlines()[2:] == [
        "| printed in the paper: theirs | – | 9 ± 1 | – |",
        "| CFM | 3 | 2.00 ± 1.00 | 3 |",
        "| one | 1 | 1.00 | – |",
    ]


def test_effort_counts_trajectories_and_never_adds_work():
    limited = TINY.effort.limit(paper(3, n_updates=50, n_trajectories=5))
    assert (limited.n_updates, limited.batch_size) == (2, 1)
    assert Effort(n_samples=1).limit(limited) == limited


def test_the_command_line_runs_the_digits(tmp_path, few, monkeypatch, capsys):
    monkeypatch.setattr(mnist, "digits", lambda: few)
    monkeypatch.setattr(mnist, "DIGITS", TINY)
    monkeypatch.setattr(mnist, "QUICK", TINY.effort)
    mnist.main(["--digits", "--quick", "--models", "cfm-equal", "--out", str(tmp_path / "new")])
    assert "few digits: 100 training and 20 test images" in capsys.readouterr().out
    assert (tmp_path / "new" / "table-6-digits-quick.png").exists()


def test_only_the_numbers_of_space_tokens_that_are_asked_for_are_trained():
    rows = mnist.models(["resampled", "cfm-equal"], 64, TINY, space_tokens=[2])
    whole = mnist.models(["resampled", "cfm-equal"], 64, TINY)
    assert list(rows) == ["resampled-k2", "cfm-equal"]
    assert all(rows[key] == whole[key] for key in rows)


def test_contradicting_arguments_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        mnist.main(["--digits", "--data", str(tmp_path), "--out", str(tmp_path / "new")])
    assert "leave --data out" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
