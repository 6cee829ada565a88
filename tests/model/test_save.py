import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

import sccalmflow as scf


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    trained.save(folder)
    return folder


def test_a_loaded_model_predicts_bit_identically(trained, predict, saved, conditions) -> None:
    loaded = scf.CaLMFlowModel.load(saved)
    expected, pred = predict(trained, conditions, n_cells=70), predict(loaded, conditions, n_cells=70)
    np.testing.assert_array_equal(pred.X, expected.X)
    np.testing.assert_array_equal(pred.obsm["X_pca"], expected.obsm["X_pca"])
    pd.testing.assert_frame_equal(pred.obs, expected.obs)
    assert list(pred.var_names) == list(expected.var_names)


def test_a_loaded_model_predicts_sentences_and_new_contexts_too(trained, predict, saved, cells) -> None:
    loaded = scf.CaLMFlowModel.load(str(saved))
    for sentence in ("Generate a NK cell stimulated with IL-6 and exposure chronic:", "Another:"):
        pred, expected = (predict(model, [sentence], control=cells) for model in (loaded, trained))
        np.testing.assert_array_equal(pred.X, expected.X)
        assert pred.obs["novelty"].tolist() == expected.obs["novelty"].tolist()


def test_saving_a_loaded_model_writes_the_same_files(saved, tmp_path: Path) -> None:
    scf.CaLMFlowModel.load(saved).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in saved.iterdir())
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (saved / path.name).read_bytes(), path.name


def test_another_process_without_network_and_data_predicts_the_same(
    trained, predict, saved, conditions, tmp_path: Path
) -> None:
    """Nothing is left over in this process that helps: not the tokenizer, not the AnnData, not a manager."""
    code = f"""
import socket
def refuse(*args, **kwargs):
    raise OSError("no network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import pandas as pd, numpy as np, sccalmflow as scf
conditions = pd.read_csv({str(tmp_path / "conditions.csv")!r})
pred = scf.CaLMFlowModel.load({str(saved)!r}).predict_perturbation(conditions, n_cells=20, show_progress=False)
np.save({str(tmp_path / "X.npy")!r}, pred.X)
"""
    conditions.to_csv(tmp_path / "conditions.csv", index=False)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), predict(trained, conditions).X)


def test_loading_asks_for_no_connection(saved, monkeypatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("loading opened a connection")

    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    scf.CaLMFlowModel.load(saved)


def test_the_folder_holds_only_safetensors_and_json(saved) -> None:
    names = sorted(path.name for path in saved.iterdir())
    assert names == ["config.json", "controls.safetensors", "network.safetensors", "pca.safetensors", "tokenizer.json"]
    for path in saved.iterdir():
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        else:
            assert load_file(path)


def test_history_labels_and_summary_survive(trained, saved) -> None:
    loaded = scf.CaLMFlowModel.load(saved)
    assert loaded.history.keys() == trained.history.keys()
    for name, curve in trained.history.items():
        pd.testing.assert_frame_equal(loaded.history[name].astype(float), curve.astype(float), check_index_type=False)
    assert loaded.is_trained_
    assert not any(part.training for part in loaded.module.modules())
    assert str(loaded.settings) == str(trained.settings)


def test_labels_in_any_script_survive(cells_of, build, train, predict, tmp_path: Path) -> None:
    adata = cells_of(types=("γδ T", "细胞 {x}", "NK\t[a]"), heldout=None)
    model = train(build(adata))
    model.save(tmp_path)
    frame = pd.DataFrame({"cell_type": ["γδ T", "细胞 {x}", "NK\t[a]"], "perturbation": "IFN", "chronicity": "acute"})
    pred = predict(scf.CaLMFlowModel.load(tmp_path), frame)
    np.testing.assert_array_equal(pred.X, predict(model, frame).X)
    assert pred.obs["prompt"].unique()[1] == "Generate a 细胞 {x} cell stimulated with IFN and exposure acute:"
    assert set(pred.obs["novelty"]) == {"seen"}


def test_an_untrained_model_stays_untrained(cells_of, build, predict, conditions, tmp_path: Path) -> None:
    build(cells_of()).save(tmp_path)
    with pytest.raises(RuntimeError, match="not been trained"):
        predict(scf.CaLMFlowModel.load(tmp_path), conditions)


def test_a_loaded_model_cannot_be_trained_and_says_what_to_do(train, saved) -> None:
    with pytest.raises(RuntimeError, match=r"holds no training data.*CaLMFlowModel\(adata\)"):
        train(scf.CaLMFlowModel.load(saved))


# Control cells that must not leave the house


def test_without_the_pool_no_control_cell_is_saved_and_prediction_takes_them_from_the_user(
    trained, predict, cells, conditions, tmp_path: Path
) -> None:
    trained.save(tmp_path, control_pool=False)
    assert "controls.safetensors" not in [path.name for path in tmp_path.iterdir()]
    loaded = scf.CaLMFlowModel.load(tmp_path)
    with pytest.raises(ValueError, match="saved without control cells.*control=adata.*'control'.*NK, chronic"):
        predict(loaded, conditions)
    pred = predict(loaded, conditions, control=cells)
    np.testing.assert_array_equal(pred.X, predict(trained, conditions, control=cells).X)


def test_overwriting_without_the_pool_removes_the_pool_of_before(trained, tmp_path: Path) -> None:
    trained.save(tmp_path)
    trained.save(tmp_path, overwrite=True, control_pool=False)
    assert not (tmp_path / "controls.safetensors").exists()


def test_the_pool_is_bounded_and_made_of_control_cells(cells_of, build, tmp_path: Path) -> None:
    adata = cells_of()
    build(adata, control_pool_size=5).save(tmp_path)
    pools = load_file(tmp_path / "controls.safetensors")
    assert len(pools) == 6
    control = adata.obsm["X_pca"][(adata.obs["perturbation"] == "control").to_numpy()]
    for pool in pools.values():
        assert pool.shape == (5, 5)
        assert (np.abs(pool.numpy()[:, None] - control[None]).max(-1) < 1e-6).any(1).all()


# Writing over something


def test_a_folder_that_is_not_empty_is_overwritten_only_on_request(trained, saved, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty.*overwrite=True"):
        trained.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    trained.save(tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    scf.CaLMFlowModel.load(tmp_path)


@pytest.mark.parametrize("breaks", ["write_text", "dumps"])
def test_a_save_that_breaks_off_leaves_the_model_that_was_there_or_none(
    trained, tmp_path: Path, monkeypatch, breaks: str
) -> None:
    from sccalmflow.model import _folder

    trained.save(tmp_path)
    where = _folder.json if breaks == "dumps" else _folder.Path
    monkeypatch.setattr(where, breaks, lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trained.save(tmp_path, overwrite=True)
    monkeypatch.undo()
    if breaks == "dumps":  # before anything is deleted
        scf.CaLMFlowModel.load(tmp_path)
    else:  # never a mixture of both
        with pytest.raises(FileNotFoundError, match="config.json"):
            scf.CaLMFlowModel.load(tmp_path)


def test_settings_may_be_numbers_of_numpy(cells_of, build, train, tmp_path: Path) -> None:
    model = train(build(cells_of(), n_hidden=np.int64(16), n_steps=np.int64(2), omit_probability=np.float32(0.5)))
    model.save(tmp_path)
    assert scf.CaLMFlowModel.load(tmp_path).settings == model.settings


def test_a_loaded_model_stays_as_it_is_when_its_folder_changes(
    trained, predict, conditions, cells_of, build, train, tmp_path: Path
) -> None:
    trained.save(tmp_path / "one")
    train(build(cells_of(seed=7))).save(tmp_path / "two")
    model = scf.CaLMFlowModel.load(tmp_path / "one")
    before = predict(model, conditions).X
    for file in (tmp_path / "two").iterdir():
        # In place, as cp does.
        (tmp_path / "one" / file.name).write_bytes(file.read_bytes())
    np.testing.assert_array_equal(predict(model, conditions).X, before)


# Folders of strangers


@pytest.mark.parametrize("name", ["config.json", "network.safetensors", "pca.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(trained, tmp_path: Path, name: str) -> None:
    trained.save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(
        FileNotFoundError, match=f"{name}.*not a model saved by sccalmflow, or the copy is not complete"
    ):
        scf.CaLMFlowModel.load(tmp_path)


@pytest.mark.parametrize("content", ["half", "empty", "noise"])
@pytest.mark.parametrize(
    "name", ["config.json", "network.safetensors", "pca.safetensors", "tokenizer.json", "controls.safetensors"]
)
def test_a_damaged_file_is_an_error_that_says_so(trained, tmp_path: Path, name: str, content: str) -> None:
    trained.save(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    path.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "noise": bytes(range(256)) * 8}[content])
    with pytest.raises(ValueError, match="can read, or a file in it is damaged.*Copy the folder again"):
        scf.CaLMFlowModel.load(tmp_path)


def test_a_missing_pool_is_named(trained, tmp_path: Path) -> None:
    trained.save(tmp_path)
    (tmp_path / "controls.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"controls\.safetensors"):
        scf.CaLMFlowModel.load(tmp_path)


def edit_config(folder: Path, *path: str, value: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], 2, "format 2, and this version reads 1"),
        (["language_model", "model_type"], "llama", "llama"),
        (["language_model", "hidden_size"], 32, "size mismatch"),
        (["settings", "attention"], "kernels-community/flash-attn", "attention is 'kernels-community/flash-attn'"),
        (["settings", "source"], "nowhere", "source is 'nowhere'"),
        (["settings", "n_stops"], 3, "n_stops"),
        (["flow", "n_steps"], 0, "n_steps=0"),
        (["schema", "template", "perturbed"], "nothing", "must name {perturbation}"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(trained, tmp_path: Path, path: list[str], value, message) -> None:
    trained.save(tmp_path)
    edit_config(tmp_path, *path, value=value)
    with pytest.raises(ValueError, match=message):
        scf.CaLMFlowModel.load(tmp_path)


def test_code_that_a_configuration_names_is_not_fetched(trained, tmp_path: Path, monkeypatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("loading opened a connection")

    trained.save(tmp_path)
    edit_config(tmp_path, "language_model", "auto_map", value={"AutoModel": "stranger/code--model.Model"})
    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    scf.CaLMFlowModel.load(tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        scf.CaLMFlowModel.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"not a model saved by sccalmflow"):
        scf.CaLMFlowModel.load(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"scvi")
    with pytest.raises(FileNotFoundError, match=r"not a model saved by sccalmflow"):
        scf.CaLMFlowModel.load(tmp_path)
    file = tmp_path / "model.pt"
    with pytest.raises(FileNotFoundError, match="no folder"):
        scf.CaLMFlowModel.load(file)
