import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

import sccalmflow as scf
from sccalmflow.prompts import build_tokenizer

CONDITIONS = pd.DataFrame(
    {"cell_type": ["B", "NK"], "perturbation": ["IFN", "IL-6"], "chronicity": ["acute", "chronic"]}
)
TRAINED = {
    "noise": {"source": "noise", "n_steps": None},
    "noise with context cells": {"source": "noise", "n_steps": 3, "n_context_cells": 2},
    "one step": {"n_steps": 1},
    "space tokens": {"n_space_tokens": 3},
    "as many space tokens as scores": {"n_space_tokens": 5},
    "trajectories": {"n_trajectories": 3},
    "context cells": {"n_context_cells": 4},
    "all of them": {"n_space_tokens": 2, "n_trajectories": 2, "n_context_cells": 2},
    "straight": {"path": "straight", "decoder": "variational", "n_latent": 4},
    "straight from noise with optimal transport": {
        "path": "straight",
        "decoder": "variational",
        "source": "noise",
        "ot_pairing": True,
        "n_trajectories": 2,
    },
    "resampled and variational": {"decoder": "variational"},
    "energy": {"decoder": "energy", "n_latent": 4},
    "gpt2": {"backbone": "gpt2", "dropout": 0.1},
    "gpt2 with everything": {"backbone": "gpt2", "n_space_tokens": 2, "n_trajectories": 2, "n_context_cells": 2},
    "paper": {"preset": "paper", "n_latent": 4},
    "no omission": {"omit_probability": 0.0},
}


@pytest.mark.parametrize("settings", TRAINED.values(), ids=TRAINED.keys())
def test_every_kind_of_model_trains_saves_and_predicts(
    cells_of, build, train, predict, tmp_path: Path, settings: dict[str, object]
) -> None:
    adata = cells_of()
    model = build(adata, **settings)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    train(model, max_epochs=1, validation_size=0.1)
    assert any(not torch.equal(before[name], value) for name, value in model.module.state_dict().items())
    pred = predict(model, CONDITIONS, n_cells=7, return_trajectory=True)
    assert np.isfinite(pred.X).all()
    n_steps = model.settings["n_steps"]
    assert pred.obsm["trajectory"].shape == (14, n_steps + 1, 5)
    model.save(tmp_path)
    again = predict(scf.CaLMFlowModel.load(tmp_path), CONDITIONS, n_cells=7)
    np.testing.assert_array_equal(again.X, pred.X)


@pytest.mark.parametrize("settings", [{"n_context_cells": 3}, {"n_space_tokens": 2}, {"source": "noise"}])
def test_a_cell_is_its_own_in_every_kind_of_model_with_one_trajectory(
    cells_of, build, train, predict, settings: dict[str, object]
) -> None:
    model = train(build(cells_of(), **settings))
    expected = predict(model, CONDITIONS, n_cells=70).obsm["X_pca"]
    small = predict(model, CONDITIONS[::-1], n_cells=70, batch_size=64).obsm["X_pca"]
    np.testing.assert_allclose(np.concatenate([small[70:], small[:70]]), expected, atol=1e-5)
    few = predict(model, CONDITIONS[:1], n_cells=65).obsm["X_pca"]
    np.testing.assert_allclose(few, expected[:65], atol=1e-5)


def test_noise_starts_from_a_standard_normal_and_takes_16_steps_by_default(cells_of, build, train, predict) -> None:
    model = train(build(cells_of(), source="noise", n_steps=None))
    assert model.settings["n_steps"] == 16
    start = predict(model, CONDITIONS, n_cells=500, return_trajectory=True).obsm["trajectory"][:, 0]
    assert start.mean() == pytest.approx(0, abs=0.05)
    assert start.std() == pytest.approx(1, abs=0.05)


def test_free_text_needs_no_control_cells_from_noise(cells_of, build, train, predict) -> None:
    model = train(build(cells_of(), source="noise", n_steps=2))
    assert predict(model, ["Anything at all:"]).n_obs == 20


def test_noise_does_without_control_cells_in_training(cells_of, build, train, predict) -> None:
    adata = cells_of()
    adata = adata[(adata.obs["perturbation"] != "control") | (adata.obs["cell_type"] == "B")].copy()
    with pytest.raises(ValueError, match='4 contexts have no control cells.*CD4 T, acute.*source="noise"'):
        build(adata)
    assert predict(train(build(adata, source="noise", n_steps=2)), CONDITIONS).n_obs == 40


# Presets


def test_the_paper_preset_is_the_papers() -> None:
    from sccalmflow.model._presets import resolve_settings

    settings = resolve_settings("paper", {})
    assert (settings.path, settings.source, settings.decoder) == ("straight", "noise", "variational")
    # The size of Pythia-160m, and whole sentences.
    assert (settings.backbone, settings.width, settings.n_layers, settings.n_heads) == ("gpt_neox", 768, 12, 12)
    assert settings.omit_probability == 0


def test_given_settings_replace_the_presets_and_none_keeps_them(cells_of, build) -> None:
    settings = build(cells_of(), preset="paper", n_steps=3, n_latent=None).settings
    assert (settings["n_steps"], settings["path"], settings["n_latent"]) == (3, "straight", 128)


# Pretrained language models

SIZES = {
    "gpt_neox": lambda vocabulary, positions: GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=vocabulary,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=positions,
            bos_token_id=None,
            eos_token_id=None,
        )
    ),
    "gpt2": lambda vocabulary, positions: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary,
            n_embd=16,
            n_layer=2,
            n_head=2,
            n_positions=positions,
            bos_token_id=None,
            eos_token_id=None,
        )
    ),
}
PRETRAINED = {"width": None, "n_layers": None, "n_heads": None}


def save_pretrained(folder: Path, backbone: str, *, vocabulary: int = 400, positions: int = 160) -> str:
    torch.manual_seed(0)
    SIZES[backbone](vocabulary, positions).save_pretrained(folder)
    build_tokenizer(["A tokenizer of its own."], vocab_size=300).save(str(folder / "tokenizer.json"))
    return str(folder)


@pytest.mark.parametrize("backbone", SIZES)
def test_a_pretrained_model_comes_from_a_local_folder_with_its_tokenizer(
    cells_of, build, train, predict, tmp_path: Path, backbone: str
) -> None:
    folder = save_pretrained(tmp_path / "clm", backbone)
    model = build(cells_of(), pretrained=folder, **PRETRAINED)
    saved = SIZES[backbone](400, 160).from_pretrained(folder).base_model.state_dict()
    for name, value in model.module.clm.backbone.state_dict().items():
        torch.testing.assert_close(value, saved[name], rtol=0, atol=0)
    sentence = "Generate a B cell stimulated with IFN:"
    ids = build_tokenizer(["A tokenizer of its own."], vocab_size=300).encode(sentence).ids
    assert model._state.tokenizer.encode(sentence).ids == ids
    its_own = {"backbone": backbone, "width": 16, "n_layers": 2, "n_heads": 2}
    assert {name: model.settings[name] for name in its_own} == its_own
    pred = predict(train(model), CONDITIONS)
    model.save(tmp_path / "model")
    for path in (tmp_path / "clm").iterdir():
        path.unlink()  # what was saved stands alone
    np.testing.assert_array_equal(predict(scf.CaLMFlowModel.load(tmp_path / "model"), CONDITIONS).X, pred.X)


@pytest.mark.parametrize("backbone", SIZES)
def test_adapters_are_trained_in_place_of_the_pretrained_weights(
    cells_of, build, train, predict, tmp_path: Path, backbone: str
) -> None:
    folder = save_pretrained(tmp_path / "clm", backbone)
    model = build(cells_of(), pretrained=folder, lora_rank=4, **PRETRAINED)
    saved = SIZES[backbone](400, 160).from_pretrained(folder).base_model.state_dict()
    pred = predict(train(model), CONDITIONS)
    after = model.module.clm.backbone.state_dict()
    adapters = {name: value for name, value in after.items() if ".lora_" in name}
    kept = {name.replace(".base_layer", ""): value for name, value in after.items() if name not in adapters}
    assert kept.keys() == saved.keys()
    for name, value in kept.items():
        torch.testing.assert_close(value, saved[name], rtol=0, atol=0)
    # They start at zero, so a training that left them out would show.
    assert adapters
    assert all(value.abs().max() > 0 for value in adapters.values())
    assert {value.shape[0] for name, value in adapters.items() if "lora_A" in name} == {4}
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(predict(scf.CaLMFlowModel.load(tmp_path / "model"), CONDITIONS).X, pred.X)


def test_adapters_without_a_pretrained_model_are_refused(cells_of, build) -> None:
    with pytest.raises(ValueError, match="lora_rank=4 adapts a pretrained language model"):
        build(cells_of(), lora_rank=4)
    with pytest.raises(ValueError, match="lora_rank=-1 must not be negative"):
        build(cells_of(), lora_rank=-1)


def test_a_pretrained_model_that_does_not_fit_is_refused(cells_of, build, tmp_path: Path) -> None:
    adata = cells_of()
    short = save_pretrained(tmp_path / "short", "gpt2", positions=20)
    with pytest.raises(ValueError, match="20 positions.*max_prompt_tokens=128.*needs 131"):
        build(adata, pretrained=short, **PRETRAINED)
    small = save_pretrained(tmp_path / "small", "gpt2", vocabulary=260)
    with pytest.raises(ValueError, match="The tokenizer has 27[0-9] tokens.*260 embeddings"):
        build(adata, pretrained=small, **PRETRAINED)
    for name, value in (("width", 32), ("n_layers", 2), ("backbone", "gpt2"), ("dropout", 0.1)):
        with pytest.raises(ValueError, match=f"{name}=.*cannot be chosen beside pretrained"):
            build(adata, pretrained=short, **{**PRETRAINED, name: value})
    with pytest.raises(OSError, match="nowhere"):
        build(adata, pretrained=str(tmp_path / "nowhere"), **PRETRAINED)


@pytest.mark.parametrize("name", ["gpt-neox-20B_tokenizer.json", "gpt2_tokenizer.json"])
def test_a_real_tokenizer_can_be_given(cells_of, build, train, predict, name: str) -> None:
    if "SCCALMFLOW_DATA" not in os.environ:
        pytest.skip("SCCALMFLOW_DATA, the folder of the real tokenizers, is not set")
    path = Path(os.environ["SCCALMFLOW_DATA"], "tokenizers", name)
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    model = train(build(cells_of(), tokenizer=str(path)))
    assert model.module.clm.n_embeddings > 50_000
    assert np.isfinite(predict(model, CONDITIONS).X).all()


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "papre"}, "preset is 'papre'.*Did you mean 'paper'"),
        ({"path": "strait"}, "path is 'strait'.*Did you mean 'straight'"),
        ({"source": "controls"}, "source is 'controls'.*Did you mean 'control'"),
        ({"decoder": "normal"}, "decoder is 'normal', which is not one of 'variational', 'gaussian'"),
        ({"backbone": "gpt-2"}, "backbone is 'gpt-2'.*Did you mean 'gpt2'"),
        ({"attention": "eager"}, "attention is 'eager'"),
        ({"attention": "flash_attention_2"}, "CUDA.*flash-attn.*sdpa"),
        ({"path": "straight"}, 'decoder="gaussian" needs path="resampled"'),
        ({"ot_pairing": True}, 'ot_pairing=True needs path="straight"'),
        ({"n_steps": 0}, "n_steps=0 must be at least 1"),
        ({"n_steps": -3}, "n_steps=-3"),
        ({"n_space_tokens": 6}, "n_space_tokens=6 does not fit a state of 5 scores"),
        ({"n_space_tokens": 0}, "n_space_tokens=0"),
        ({"n_trajectories": 0}, "n_trajectories=0"),
        ({"n_context_cells": -1}, "n_context_cells=-1"),
        ({"width": 15}, "width=15 is not a multiple of n_heads=2"),
        ({"width": 0}, "width=0"),
        ({"n_layers": 0}, "n_layers=0"),
        ({"n_heads": 0}, "n_heads=0"),
        ({"n_hidden": 0}, "n_hidden=0"),
        ({"n_latent": 0}, "n_latent=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"omit_probability": -0.1}, "omit_probability=-0.1"),
        ({"max_prompt_tokens": 0}, "max_prompt_tokens=0"),
        ({"control_pool_size": 0}, "control_pool_size=0"),
        ({"kl_weight": -1.0}, "kl_weight=-1.0"),
        ({"nll_weight": float("nan")}, "nll_weight=nan"),
        ({"seed": -1}, "seed=-1"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused_by_name(
    cells_of, build, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(cells_of(), **settings)


def test_a_misspelt_setting_is_not_swallowed(cells_of, build) -> None:
    with pytest.raises(TypeError, match="n_step"):
        build(cells_of(), n_step=3)
    with pytest.raises(TypeError, match="batchsize"):
        build(cells_of()).train(batchsize=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_epochs": 0}, "max_epochs=0"),
        ({"min_epochs": 0}, "min_epochs=0"),
        ({"steps_per_epoch": 0}, "steps_per_epoch=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"lr": 0.0}, "lr=0.0"),
        ({"lr": float("inf")}, "lr=inf"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
        ({"gradient_clip": 0.0}, "gradient_clip=0.0"),
        ({"patience": 0}, "patience=0.*None"),
        ({"precision": "bf16-true"}, "precision is 'bf16-true'.*'bf16-mixed'"),
        ({"validation_size": 1.0}, "validation_size=1.0"),
        ({"validation_size": -0.1}, "validation_size=-0.1"),
        ({"resume": True}, "resume=True needs checkpoint_dir"),
        ({"seed": -1}, "seed=-1"),
    ],
    ids=str,
)
def test_training_options_out_of_bounds_are_refused_by_name(cells_of, build, train, options, message: str) -> None:
    model = build(cells_of())
    with pytest.raises(ValueError, match=message):
        train(model, **options)
    assert not model.is_trained_
