"""A saved model: safetensors and JSON in a folder, which hold data only and can run no code."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sccalmflow._version import __version__
from sccalmflow.flow import CausalLM, FlowConfig, VolterraFlow
from sccalmflow.pp import PCA

from ._data import Condition
from ._presets import Settings
from ._schema import Labels, Schema

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FORMAT = 1
_CONFIG, _NETWORK, _PCA, _TOKENIZER = "config.json", "network.safetensors", "pca.safetensors", "tokenizer.json"
_CONTROLS = "controls.safetensors"


@dataclass(eq=False)
class ModelState:
    """All that a model needs to predict, without its training AnnData.

    Attributes
    ----------
    schema, settings, flow, tokenizer, pca
        See their classes.
    seen
        Conditions of the training split; once trained, those that the weights have been trained on.
    seen_sentences
        Their ready sentences, where these replaced the template's.
    controls
        Control scores (n, D) of each context, at most ``control_pool_size`` cells; empty where they were left out.
    is_trained
        Whether training has finished once.
    history
        Training curves, as in scvi-tools.
    """

    schema: Schema
    settings: Settings
    flow: VolterraFlow
    tokenizer: Tokenizer
    pca: PCA
    seen: list[Labels]
    seen_sentences: list[str]
    controls: dict[Labels, Tensor]
    is_trained: bool
    history: dict[str, pd.DataFrame]

    def note_training(self, conditions: Sequence[Condition], left_out: Collection[Labels]) -> None:
        """Keep what the weights have been trained on, in this training or one before."""
        before = set(self.seen) if self.is_trained else set()
        seen = [c for c in conditions if c.labels in before or c.labels not in left_out]
        self.seen = list(dict.fromkeys(condition.labels for condition in seen))
        self.seen_sentences = sorted({condition.sentence for condition in seen if condition.sentence is not None})
        self.is_trained = True


def save_state(state: ModelState, folder: Path, *, control_pool: bool) -> None:
    """Write a model's folder, over a model that is there."""
    from safetensors.torch import save_file

    # First, lest a value that JSON does not know leave a folder without its config.
    config = json.dumps(_config(state, control_pool), indent=1, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (_CONFIG, _CONTROLS):
        (folder / name).unlink(missing_ok=True)
    save_file({name: value.contiguous() for name, value in state.flow.state_dict().items()}, folder / _NETWORK)
    pca = state.pca
    arrays = {name: getattr(pca, name) for name in ("mean", "loadings", "variance_ratio", "shrinkage")}
    save_file({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}, folder / _PCA)
    if control_pool:
        pool = {str(number): scores.contiguous() for number, scores in enumerate(state.controls.values())}
        save_file(pool, folder / _CONTROLS)
    (folder / _TOKENIZER).write_text(state.tokenizer.to_str(), encoding="utf-8")
    # Last: a folder without it is a save that did not finish.
    (folder / _CONFIG).write_text(config, encoding="utf-8")


def _config(state: ModelState, control_pool: bool) -> dict[str, Any]:
    clm_config = state.flow.clm.backbone.config.to_dict()
    return {
        "format": _FORMAT,
        "sccalmflow": __version__,
        "schema": state.schema.to_dict(),
        "settings": asdict(state.settings),
        "flow": asdict(state.flow.config),
        "language_model": {key: value for key, value in clm_config.items() if _is_plain(value)},
        "scale": state.pca.scale,
        "values": state.pca.values,
        "var_names": [str(name) for name in state.pca.var_names],
        "seen": state.seen,
        "seen_sentences": state.seen_sentences,
        "contexts": list(state.controls) if control_pool else [],
        "is_trained": state.is_trained,
        "history": {name: _history_to_json(frame) for name, frame in state.history.items()},
    }


def load_state(folder: Path) -> ModelState:
    """Read what :func:`save_state` wrote.

    Raises
    ------
    FileNotFoundError
        No such folder, or one of its files is missing.
    ImportError
        The model has low-rank adapters, and peft is not installed.
    ValueError
        The folder holds something else, or a file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    from transformers import CONFIG_MAPPING

    _check_files(folder)
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        if config.get("format") != _FORMAT:
            raise ValueError(f"it has format {config.get('format')!r}, and this version reads {_FORMAT}")
        settings = Settings(**config["settings"])
        language_model = dict(config["language_model"])
        # The first weights are drawn at random, though nobody sees them.
        with torch.random.fork_rng():
            clm = CausalLM.from_config(
                CONFIG_MAPPING[language_model.pop("model_type")].from_dict(language_model), settings.attention
            )
            if settings.lora_rank:
                clm.add_adapters(settings.lora_rank)
            flow = VolterraFlow(FlowConfig(**config["flow"]), clm)
        flow.load_state_dict(load_file(folder / _NETWORK))
        # Copies: what safetensors reads is mapped to the file, and would change with it.
        arrays = {name: tensor.numpy().copy() for name, tensor in load_file(folder / _PCA).items()}
        names = np.asarray(config["var_names"], dtype=object)
        pca = PCA(**arrays, scale=config["scale"], var_names=names, values=config["values"])
        contexts = [tuple(labels) for labels in config["contexts"]]
        pool = load_file(folder / _CONTROLS) if contexts else {}
        return ModelState(
            schema=Schema.from_dict(config["schema"]),
            settings=settings,
            flow=flow.eval(),
            tokenizer=Tokenizer.from_str((folder / _TOKENIZER).read_text(encoding="utf-8")),
            pca=pca,
            seen=[tuple(labels) for labels in config["seen"]],
            seen_sentences=config["seen_sentences"],
            controls={labels: pool[str(number)].clone() for number, labels in enumerate(contexts)},
            is_trained=config["is_trained"],
            history={name: _history_from_json(name, values) for name, values in config["history"].items()},
        )
    except (FileNotFoundError, ImportError):
        raise
    # The tokenizers library raises plain Exception for a damaged file, so nothing narrower will do.
    except (SafetensorError, Exception) as error:
        raise ValueError(
            f"{folder} is not a model that this version of sccalmflow can read, or a file in it is damaged: {error}. "
            "Copy the folder again, or save the model anew."
        ) from error


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    missing = [name for name in (_CONFIG, _NETWORK, _PCA, _TOKENIZER) if not (folder / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"{folder} has no {', '.join(missing)}: it is not a model saved by sccalmflow, or the copy is not complete."
        )


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _history_to_json(frame: pd.DataFrame) -> dict[str, list[Any]]:
    values = [float(value) for value in frame.iloc[:, 0]]
    return {
        "epoch": [int(epoch) for epoch in frame.index],
        "value": [value if math.isfinite(value) else None for value in values],
    }


def _history_from_json(name: str, values: Mapping[str, list[Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: values["value"]}, index=pd.Index(values["epoch"], name="epoch"), dtype=float)
