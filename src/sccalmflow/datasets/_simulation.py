from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from ._normalise import log_normalised

CONTROL = "control"
CHRONICITIES = ("acute", "chronic")
# Cell type -> lineages it belongs to: related types share genes, as T cells or monocytes do.
CELL_TYPES: dict[str, tuple[str, ...]] = {
    "CD4 T": ("T",),
    "CD8 T": ("T", "cytotoxic"),
    "B": ("antigen presenting",),
    "NK": ("cytotoxic",),
    "CD14 Mono": ("myeloid",),
    "FCGR3A Mono": ("myeloid", "cytotoxic"),
    "DC": ("myeloid", "antigen presenting"),
}
LINEAGES = ("T", "cytotoxic", "myeloid", "antigen presenting")
# Response programs, and how much a chronic exposure dampens (below 0) or raises each.
PROGRAMS: dict[str, float] = {
    "interferon": -1.0,
    "antigen presentation": 0.3,
    "NF-kB": -1.2,
    "acute phase": -0.8,
    "proliferation": -0.5,
    "alternative activation": 0.6,
    "suppression": 1.0,
}
# Perturbation -> share of its cells that respond, and the weight of each program. Cytokines share programs: what one
# of them does in a cell type tells of the others.
PERTURBATIONS: dict[str, tuple[float, dict[str, float]]] = {
    CONTROL: (0.0, {}),
    "IFN-beta": (0.95, {"interferon": 1.0, "antigen presentation": 0.4}),
    "IFN-gamma": (0.90, {"interferon": 0.6, "antigen presentation": 1.0}),
    "IL-6": (0.75, {"acute phase": 0.9}),
    "TNF-alpha": (0.85, {"NF-kB": 0.8, "acute phase": 0.2}),
    "IL-2": (0.80, {"proliferation": 0.9}),
    "IL-4": (0.80, {"alternative activation": 0.9, "proliferation": 0.2}),
    "IL-10": (0.70, {"suppression": 0.5, "acute phase": 0.4}),
    "TGF-beta": (0.80, {"suppression": 0.9, "proliferation": -0.4}),
    "LPS": (0.90, {"NF-kB": 1.0, "interferon": 0.4, "acute phase": 0.5}),
}
N_STATES = 3
LIBRARY_MEDIAN = 2500
# Log means. Housekeeping genes make up most of a library, most other genes are rarely seen, and responsive genes are
# in between: low enough to be silent in many control cells, as interferon-stimulated genes are.
HOUSEKEEPING, RESPONSIVE, MARKER, OTHER = 3.6, -0.8, -1.0, -3.0
# Log fold changes within a program; with them a strong cytokine moves cells about as far as IFN-beta does blood cells.
EFFECTS = (0.5, 3.5)


def simulated_cytokines(
    *, cells_per_condition: int = 75, n_genes: int = 2000, interaction: float = 0.3, seed: int = 0
) -> AnnData:
    """Simulated immune cells under cytokines: 7 cell types x 10 perturbations x 2 chronicities, with the truth.

    Counts are negative-binomial around ``library size * exp(log mean)``, where the log mean of a gene is the sum of

    - a baseline: gene, lineage, cell type (markers), chronicity;
    - a continuous cell state, the same in every condition;
    - the response of its condition times the cell's own strength. Some cells respond and some do not, and cells high
      in the first state respond more often: a condition is a distribution, not a shifted mean.

    The response is made of gene programs that cytokines share (IFN-beta and IFN-gamma the interferon program, say). On
    top of what a perturbation does on average over contexts (its additive part), cell types weigh programs
    differently and add genes of their own, and chronic exposure dampens some programs and raises others: the
    interaction. It goes by program and not by perturbation, so it can be learned from the other cytokines.

    Parameters
    ----------
    cells_per_condition
        Cells of each of the 140 conditions, on average (Poisson, at least 1).
    n_genes
        Number of genes, at least 100.
    interaction
        Share of the response's variance that is interaction, from 0 (responses add up on the log scale) to 0.7, beyond
        which counts grow larger than those of any cell.
        At 0.3 adding the average response to the control cells of a context is a decent prediction and clearly not a
        perfect one, as for interferon in blood cells.
    seed
        Seed of everything that is drawn.

    Returns
    -------
    AnnData with about ``140 * cells_per_condition`` cells in random order.

    ``.X``
        log1p of the counts scaled to 10,000 per cell, CSR float32.
    ``.layers["counts"]``
        Raw counts, CSR float32.
    ``.obs``
        Categorical ``cell_type``, ``perturbation`` (with ``"control"``) and ``chronicity``.
    ``.uns["simulation"]``
        The truth. The axes ``cell_types``, ``perturbations``, ``chronicities``; on the natural log scale ``baseline``
        (types x chronicities x genes), ``response`` (types x perturbations x chronicities x genes: log fold change of
        a responding cell of average strength) and its ``additive`` part (perturbations x genes); ``responders``,
        share of cells that respond to each perturbation; gene names of ``markers`` (per cell type) and ``programs``;
        ``interaction`` and ``seed``.

    Raises
    ------
    ValueError
        An argument is out of bounds.

    Examples
    --------
    >>> import sccalmflow as scf
    >>> adata = scf.datasets.simulated_cytokines(cells_per_condition=3, n_genes=200)
    >>> adata.obs.groupby(["cell_type", "perturbation", "chronicity"], observed=True).ngroups
    140
    >>> sorted(adata.uns["simulation"]["markers"])
    ['B', 'CD14 Mono', 'CD4 T', 'CD8 T', 'DC', 'FCGR3A Mono', 'NK']
    """
    if cells_per_condition < 1:
        raise ValueError(f"cells_per_condition is {cells_per_condition}; at least one cell is needed.")
    if n_genes < 100:
        raise ValueError(f"n_genes is {n_genes}; markers and programs need at least 100 genes.")
    if not 0 <= interaction <= 0.7:
        raise ValueError(f"interaction is {interaction}; it is a share of variance, from 0 to 0.7.")
    rng = np.random.default_rng(seed)
    truth = _draw_truth(rng, n_genes, interaction)
    codes = _draw_conditions(rng, cells_per_condition)
    counts = _draw_counts(rng, truth, codes)

    axes = {"cell_type": list(CELL_TYPES), "perturbation": list(PERTURBATIONS), "chronicity": list(CHRONICITIES)}
    obs = pd.DataFrame(
        {
            key: pd.Categorical(np.array(names)[code], categories=names)
            for code, (key, names) in zip(codes, axes.items(), strict=True)
        },
        index=[f"cell{i:06d}" for i in range(len(codes[0]))],
    )
    genes = _gene_names(n_genes)
    adata = AnnData(log_normalised(counts), obs=obs, var=pd.DataFrame(index=genes), layers={"counts": counts})
    adata.uns["simulation"] = _describe(truth, genes) | {"interaction": float(interaction), "seed": int(seed)}
    return adata


@dataclass(frozen=True)
class _Truth:
    baseline: np.ndarray  # types x chronicities x genes
    response: np.ndarray  # types x perturbations x chronicities x genes
    additive: np.ndarray  # perturbations x genes
    states: np.ndarray  # states x genes
    dispersion: np.ndarray  # genes
    markers: dict[str, np.ndarray]  # cell type -> gene indices
    programs: dict[str, np.ndarray]  # program -> gene indices


def _draw_truth(rng: np.random.Generator, n_genes: int, interaction: float) -> _Truth:
    # Markers, lineages, programs and the other responsive genes are disjoint, so that each can be read off its own.
    shuffled = rng.permutation(n_genes)

    def take(share: float) -> np.ndarray:
        nonlocal shuffled
        size = max(2, round(share * n_genes))
        taken, shuffled = shuffled[:size], shuffled[size:]
        return np.sort(taken)

    markers = {name: take(0.015) for name in CELL_TYPES}
    lineages = {name: take(0.015) for name in LINEAGES}
    programs = {name: take(0.03) for name in PROGRAMS}
    own_pool, chronic_genes, housekeeping = take(0.15), take(0.05), take(0.06)

    base = rng.normal(OTHER, 1.0, n_genes)
    base[housekeeping] = rng.normal(HOUSEKEEPING, 0.6, len(housekeeping))
    for genes in (*markers.values(), *lineages.values()):
        base[genes] = rng.normal(MARKER, 0.5, len(genes))
    for genes in (*programs.values(), own_pool):
        base[genes] = rng.normal(RESPONSIVE, 1.0, len(genes))
    of_type = rng.normal(0, 0.15, (len(CELL_TYPES), n_genes))
    lineage_effects = {name: rng.uniform(1.0, 2.5, len(genes)) for name, genes in lineages.items()}
    for t, (name, its_lineages) in enumerate(CELL_TYPES.items()):
        of_type[t, markers[name]] += rng.uniform(2.0, 3.5, len(markers[name]))
        for lineage in its_lineages:
            of_type[t, lineages[lineage]] += lineage_effects[lineage]
    shift = np.zeros((len(CHRONICITIES), n_genes))
    shift[CHRONICITIES.index("chronic"), chronic_genes] = rng.normal(0, 0.8, len(chronic_genes))

    response, additive = _draw_response(rng, programs, own_pool, n_genes, interaction)
    states = rng.normal(0, 0.3, (N_STATES, n_genes)) * (rng.random((N_STATES, n_genes)) < 0.3)
    return _Truth(
        baseline=base + of_type[:, None] + shift,
        response=response,
        additive=additive,
        states=states,
        dispersion=rng.lognormal(np.log(0.3), 0.5, n_genes),
        markers=markers,
        programs=programs,
    )


def _draw_response(
    rng: np.random.Generator, programs: dict[str, np.ndarray], own_pool: np.ndarray, n_genes: int, interaction: float
) -> tuple[np.ndarray, np.ndarray]:
    """Response (types x perturbations x chronicities x genes) and its additive part (perturbations x genes)."""
    n_types, n_programs = len(CELL_TYPES), len(PROGRAMS)
    weights = np.array([[program.get(k, 0.0) for k in PROGRAMS] for _, program in PERTURBATIONS.values()])
    effects = np.zeros((n_programs, n_genes))
    for k, genes in enumerate(programs.values()):
        # Four of five genes of a program go up.
        effects[k, genes] = rng.choice([1.0, -1.0], len(genes), p=[0.8, 0.2]) * rng.uniform(*EFFECTS, len(genes))

    # Bounded draws: the logarithm of a fold change with long tails would let single genes take over the library.
    gain = rng.uniform(-1, 1, (n_types, n_programs))
    own = np.zeros((n_types, n_programs, n_genes))
    drawn = rng.uniform(0.5, 1.0, (n_types, n_programs, len(own_pool))) * rng.choice([1.0, -1.0], len(own_pool))
    own[:, :, own_pool] = drawn * (rng.random(drawn.shape) < 0.15)
    by_chronicity = np.array([[-0.5], [0.5]]) * np.array(list(PROGRAMS.values()))

    additive = weights @ effects
    # Centred over contexts, so that the additive part is the average over them.
    parts = [
        (0.25, np.einsum("pk,tk,kg->tpg", weights, gain - gain.mean(axis=0), effects)[:, :, None]),
        (0.50, np.einsum("pk,tkg->tpg", weights, own - own.mean(axis=0))[:, :, None]),
        (0.25, np.einsum("pk,ck,kg->pcg", weights, by_chronicity, effects)[None]),
    ]
    power = np.square(additive).mean() * interaction / (1 - interaction)
    response = additive[None, :, None]
    for share, part in parts:
        response = response + part * np.sqrt(share * power / np.square(part).mean())
    return response, additive


def _draw_conditions(rng: np.random.Generator, cells_per_condition: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of cell type, perturbation and chronicity of every cell, in random order."""
    shape = (len(CELL_TYPES), len(PERTURBATIONS), len(CHRONICITIES))
    sizes = rng.poisson(cells_per_condition, np.prod(shape)).clip(min=1)
    conditions = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    t, p, c = np.unravel_index(conditions, shape)
    return t, p, c


def _draw_counts(
    rng: np.random.Generator, truth: _Truth, codes: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> sparse.csr_matrix:
    n_cells = len(codes[0])
    state = rng.normal(0, 1, (n_cells, N_STATES))
    # A cell responds where its readiness is among the highest of its condition; half of readiness is its first state.
    readiness = (state[:, 0] + rng.normal(0, 1, n_cells)) / np.sqrt(2)
    responders = np.array([share for share, _ in PERTURBATIONS.values()])[codes[1]]
    threshold = np.quantile(readiness, 1 - responders)
    strength = np.where(readiness > threshold, rng.normal(1, 0.2, n_cells).clip(min=0.2), 0.0)
    library = rng.lognormal(np.log(LIBRARY_MEDIAN), 0.35, n_cells) / np.exp(truth.baseline).sum(axis=-1).mean()

    # Single precision halves the time; the counts are what is kept.
    baseline, response, states = (a.astype(np.float32) for a in (truth.baseline, truth.response, truth.states))
    shape = (1 / truth.dispersion).astype(np.float32)
    blocks = []
    for start in range(0, n_cells, 1000):  # a dense block at a time
        rows = slice(start, start + 1000)
        t, p, c = (code[rows] for code in codes)
        mean = response[t, p, c]
        mean *= strength[rows, None].astype(np.float32)
        mean += baseline[t, c]
        mean += state[rows].astype(np.float32) @ states
        np.exp(mean, out=mean)
        mean *= library[rows, None].astype(np.float32)
        # Gamma-Poisson mixture: variance mean + dispersion * mean^2.
        mean *= rng.standard_gamma(shape, mean.shape, dtype=np.float32) / shape
        blocks.append(sparse.csr_matrix(rng.poisson(mean).astype(np.float32)))
    return sparse.vstack(blocks, format="csr")


def _gene_names(n_genes: int) -> pd.Index:
    return pd.Index([f"GENE{i:04d}" for i in range(1, n_genes + 1)])


def _describe(truth: _Truth, genes: pd.Index) -> dict[str, Any]:
    return {
        "cell_types": np.array(list(CELL_TYPES), dtype=object),
        "perturbations": np.array(list(PERTURBATIONS), dtype=object),
        "chronicities": np.array(CHRONICITIES, dtype=object),
        "baseline": truth.baseline.astype(np.float32),
        "response": truth.response.astype(np.float32),
        "additive": truth.additive.astype(np.float32),
        "responders": np.array([share for share, _ in PERTURBATIONS.values()]),
        "markers": {name: genes[index].to_numpy(dtype=object) for name, index in truth.markers.items()},
        "programs": {name: genes[index].to_numpy(dtype=object) for name, index in truth.programs.items()},
    }
