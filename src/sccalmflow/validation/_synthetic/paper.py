"""The numbers that the paper prints for its synthetic experiments, to stand beside ours.

He et al., arXiv 2410.05292, Tables 1, 2 and 7: mean and standard deviation of the 2-Wasserstein distance and of MMD.
In the copy at hand Table 1 has lost the rows of CFM, CFM-OT and CFM-SB and everything on the plane.
"""

from __future__ import annotations

from typing import NamedTuple


class Number(NamedTuple):
    """Mean and standard deviation."""

    mean: float
    spread: float


class Printed(NamedTuple):
    """A row of the paper: task, the paper's name for the model, its two distances."""

    task: str
    model: str
    w2: Number
    mmd: Number


def _row(task: str, model: str, w2: float, w2_spread: float, mmd: float, mmd_spread: float) -> Printed:
    return Printed(task, model, Number(w2, w2_spread), Number(mmd, mmd_spread))


PRINTED: tuple[Printed, ...] = (
    # Table 1
    _row("gaussian_to_2gaussians_100d", "CaLMFlow", 3.137, 1.028, 0.211, 0.003),
    _row("gaussian_to_8gaussians_100d", "CaLMFlow", 2.317, 0.226, 0.014, 0.001),
    _row("gaussian_to_moons_100d", "CaLMFlow", 2.944, 0.195, 0.018, 0.002),
    _row("gaussian_to_2gaussians_1000d", "CaLMFlow", 11.027, 3.853, 0.261, 0.003),
    _row("gaussian_to_8gaussians_1000d", "CaLMFlow", 8.272, 0.272, 0.073, 0.001),
    _row("gaussian_to_moons_1000d", "CaLMFlow", 13.423, 0.258, 0.039, 0.001),
    # Table 2
    _row("2gaussians_to_3gaussians_100d", "CFM", 6.4344, 0.2738, 0.0293, 0.0008),
    _row("2gaussians_to_3gaussians_100d", "CaLMFlow (1 traj.)", 4.0898, 0.1842, 0.02021, 0.0016),
    _row("2gaussians_to_3gaussians_100d", "CaLMFlow (8 traj.)", 2.8363, 0.3868, 0.0149, 0.0016),
    _row("2gaussians_to_4gaussians_100d", "CFM", 6.3400, 0.3185, 0.0206, 0.0003),
    _row("2gaussians_to_4gaussians_100d", "CaLMFlow (1 traj.)", 5.6608, 0.3272, 0.0148, 0.0007),
    _row("2gaussians_to_4gaussians_100d", "CaLMFlow (8 traj.)", 3.6119, 0.3213, 0.0058, 0.0005),
    # Table 7
    _row("moons_to_8gaussians", "CaLMFlow (1 traj.)", 1.3756, 0.0668, 0.0057, 0.0002),
    _row("moons_to_8gaussians", "CaLMFlow (4 traj.)", 1.0477, 0.0771, 0.0041, 0.0003),
    _row("moons_to_8gaussians", "CaLMFlow (10 traj.)", 0.8753, 0.1243, 0.0020, 0.0003),
)
