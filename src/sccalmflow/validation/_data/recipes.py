"""The models of the paper's Tables 3 and 6."""

from __future__ import annotations

from sccalmflow.flow import FlowConfig
from sccalmflow.validation._competitors import Competitor, MethodName
from sccalmflow.validation._training import Recipe

# The paper's group trained with batches of this many trajectories.
_BATCH = 128
_N_HIDDEN = 256


def paper(dim: int, *, n_updates: int, n_space_tokens: int = 1, n_trajectories: int = 1) -> Recipe:
    """The paper's network for unconditional generation (its appendix A.1.2): a small Pythia.

    Its Table 6 does not say what network it is of; here it is the same. The sizes of the latent and of the layers
    around the language model are open too: here the language model's, 64 and 256. Time points and the weight of the
    divergence are those of public research code of its group, and the temperature is chosen, as it was there.
    """
    flow = FlowConfig(
        dim=dim,
        path="straight",
        decoder="variational",
        n_steps=16,
        n_space_tokens=n_space_tokens,
        n_trajectories=n_trajectories,
        n_hidden=_N_HIDDEN,
        n_latent=64,
    )
    return _small_pythia(flow, n_updates, 1e-3, (0.2, 0.5, 1.0, 1.5, 2.0))


def resampled(dim: int, *, n_updates: int, n_space_tokens: int = 1) -> Recipe:
    """The same language model on the resampled path, with the energy decoder: pixels are not independent."""
    flow = FlowConfig(
        dim=dim,
        path="resampled",
        decoder="energy",
        n_steps=16,
        n_space_tokens=n_space_tokens,
        n_hidden=_N_HIDDEN,
    )
    return _small_pythia(flow, n_updates, 2e-3, (1.0,))


def package_default(dim: int, *, n_updates: int) -> Recipe:
    """The default of :class:`sccalmflow.CaLMFlowModel`, from noise."""
    from sccalmflow.model._presets import resolve_settings

    settings = resolve_settings("default", {"source": "noise"})
    return Recipe(
        flow=settings.flow_config(dim),
        backbone=settings.backbone,
        width=settings.width,
        n_layers=settings.n_layers,
        n_heads=settings.n_heads,
        n_updates=n_updates,
        batch_size=_BATCH,
        lr=1e-3,
    )


def competitor(method: MethodName, *, n_updates: int) -> Competitor:
    """At the paper's size: four layers of 1,024 for flow matching, two of 2,048 for diffusion."""
    width, n_layers = (2048, 2) if method == "ddpm" else (1024, 4)
    return Competitor(method, width, n_layers, n_updates)


def _small_pythia(flow: FlowConfig, n_updates: int, lr: float, temperatures: tuple[float, ...]) -> Recipe:
    return Recipe(
        flow=flow,
        backbone="gpt_neox",
        width=64,
        n_layers=2,
        n_heads=4,
        n_updates=n_updates,
        batch_size=max(1, _BATCH // flow.n_trajectories),
        lr=lr,
        temperatures=temperatures,
    )
