"""Parts of the method taken away one at a time."""

from __future__ import annotations

from dataclasses import replace

from sccalmflow.validation._training import Recipe

from .experiment import Entry
from .recipes import default, paper, with_flow


def ablations(dim: int) -> dict[str, tuple[str, Recipe]]:
    """Name for files, name for readers, and recipe of each variant of the default and of the paper's configuration."""
    ours, theirs = default(dim), paper(dim)
    two_tokens = with_flow(ours, n_space_tokens=2)
    return {
        "default": ("default", ours),
        "default-markov": ("default, no memory", with_flow(ours, memory="markov")),
        "default-cold": ("default, no law (temperature 0)", replace(ours, temperatures=(0.0,))),
        "default-gaussian": ("default, one Gaussian", with_flow(ours, decoder="gaussian")),
        "default-energy": ("default, energy score", with_flow(ours, decoder="energy")),
        "default-k2": ("default, 2 space tokens", two_tokens),
        "default-k2-causal": ("default, 2 space tokens, causal mask", with_flow(two_tokens, space_mask="causal")),
        "default-m4": ("default, 4 trajectories", default(dim, 4)),
        "paper": ("paper", theirs),
        "paper-markov": ("paper, no memory", with_flow(theirs, memory="markov")),
        "paper-paired": ("paper, paired by optimal transport", replace(theirs, ot_pairing=True)),
        "paper-resampled": ("paper, resampled path", with_flow(theirs, path="resampled")),
        "paper-regression": ("paper, no law (regression)", _regression(theirs)),
        "paper-kl": ("paper, divergence weighted 0.3", with_flow(theirs, kl_weight=0.3)),
        "paper-k2": ("paper, 2 space tokens", with_flow(theirs, n_space_tokens=2)),
        "paper-m4": ("paper, 4 trajectories", paper(dim, 4)),
    }


def ablation_entries(dim: int) -> list[Entry]:
    """The variants as rows of a table."""
    return [Entry(f"ablation-{key}", label, recipe) for key, (label, recipe) in ablations(dim).items()]


def _regression(recipe: Recipe) -> Recipe:
    # No temperature to choose: there is no law to scale.
    return replace(with_flow(recipe, decoder="regression"), temperatures=(1.0,))


# The error of these is followed over time, next to the same with the true history.
FOLLOWED = ("default", "default-markov", "paper", "paper-markov")
