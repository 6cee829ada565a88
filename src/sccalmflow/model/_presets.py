"""Settings by name: the default, which is what measured best, and the paper's."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from sccalmflow import _checks
from sccalmflow._files import plain
from sccalmflow.flow import AttentionName, BackboneName, DecoderName, FlowConfig, PathName

SourceName = Literal["noise", "control"]
PresetName = Literal["default", "paper"]
_CHOICES = {
    "path": PathName,
    "source": SourceName,
    "decoder": DecoderName,
    "backbone": BackboneName,
    "attention": AttentionName,
}


@dataclass(frozen=True)
class Settings:
    """Everything that shapes a model; the fields are documented as parameters of :class:`CaLMFlowModel`."""

    path: PathName = "resampled"
    source: SourceName = "control"
    decoder: DecoderName = "gaussian"
    n_steps: int = 4
    n_space_tokens: int = 1
    n_trajectories: int = 1
    n_context_cells: int = 0
    ot_pairing: bool = False
    backbone: BackboneName = "gpt_neox"
    width: int = 192
    n_layers: int = 3
    n_heads: int = 6
    dropout: float = 0.0
    lora_rank: int = 0
    n_hidden: int = 384
    n_latent: int = 16
    kl_weight: float = 0.3
    nll_weight: float = 0.2
    precision_power: float = 0.5
    omit_probability: float = 0.5
    max_prompt_tokens: int = 128
    attention: AttentionName = "sdpa"

    def flow_config(self, dim: int) -> FlowConfig:
        """Shape of the flow for cells of ``dim`` scores."""
        return FlowConfig(
            dim=dim,
            path=self.path,
            decoder=self.decoder,
            n_steps=self.n_steps,
            n_space_tokens=self.n_space_tokens,
            n_trajectories=self.n_trajectories,
            n_context_cells=self.n_context_cells,
            n_hidden=self.n_hidden,
            n_latent=self.n_latent,
            kl_weight=self.kl_weight,
            nll_weight=self.nll_weight,
            precision_power=self.precision_power,
        )

    def names_cell_type(self, *, is_seen: bool) -> bool:
        """Whether a sentence to predict names its cell type where the user does not say.

        Of a combination that training has not seen, the type has only been read beside other perturbations, and says
        what they did; the control cells, where the model starts from them and training has read sentences without a
        type, say what the cells are like. Chronicity and covariates they do not show: these are always named.
        """
        return is_seen or self.source == "noise" or self.omit_probability == 0

    def __post_init__(self) -> None:
        # Here, so that a stranger's saved settings pass it too: transformers would fetch an attention by another name.
        for name, choices in _CHOICES.items():
            _checks.one_of(getattr(self, name), get_args(choices), name)
        if self.ot_pairing and self.path != "straight":
            raise ValueError(
                'ot_pairing=True needs path="straight": on the resampled path a trajectory has no single source cell.'
            )
        for name in ("omit_probability", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0 and below 1.")
        if self.lora_rank < 0:
            raise ValueError(f"lora_rank={self.lora_rank} must not be negative; 0 trains all weights.")
        for name in ("width", "n_layers", "n_heads", "max_prompt_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")


PRESETS: dict[PresetName, Settings] = {
    "default": Settings(),
    "paper": Settings(
        path="straight",
        source="noise",
        decoder="variational",
        n_steps=16,
        width=768,
        n_layers=12,
        n_heads=12,
        n_hidden=768,
        n_latent=128,
        omit_probability=0.0,
    ),
}
# From noise, fewer time points lose much, where from control cells four are enough.
_STEPS_FROM_NOISE = 16


def resolve_settings(preset: str, overrides: dict[str, Any]) -> Settings:
    """The preset's settings, with those that were given (not None) in their place."""
    _checks.one_of(preset, PRESETS, "preset")
    known = {field.name: field.type for field in fields(Settings)}
    given = plain({name: value for name, value in overrides.items() if name in known and value is not None})
    if given.get("source") == "noise":
        given.setdefault("n_steps", _STEPS_FROM_NOISE)
    return replace(PRESETS[preset], **given)  # type: ignore[index]
