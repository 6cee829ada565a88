"""What the paper prints in its Tables 3 and 6 (He et al., arXiv 2410.05292), by the names that the commands here use.

Its column of Leiden KLD has the exponent behind the spread alone; it is left as it stands.
"""

from __future__ import annotations

from .table import Printed


def _cells(model: str, mmd: str, w2: str, kld: str, admmd: str) -> Printed:
    scores = {"mmd_umap": mmd, "wasserstein_umap": w2, "leiden_kld": f"{kld}e-2", "adaptive_mmd": admmd}
    return Printed(model, scores)


def _images(model: str, score: str) -> Printed:
    return Printed(model, {"inception_score": score})


TABLE_3 = {
    "paper-m1": _cells(
        "CaLMFlow (1 trajectory)", "0.0060 ± 0.0002", "0.0100 ± 0.0006", "0.0311 ± 0.0045", "2.4795e-4 ± 0.0460e-4"
    ),
    "paper-m5": _cells(
        "CaLMFlow (5 trajectories)", "0.0031 ± 0.0001", "0.0087 ± 0.0006", "0.0331 ± 0.0158", "1.8039e-4 ± 0.0239e-4"
    ),
    "cfm": _cells("CFM", "0.0763 ± 0.0275", "0.0158 ± 0.0043", "0.0330 ± 0.0027", "9.3568e-4 ± 0.7058e-4"),
    "cfm_ot": _cells("CFM-OT", "0.0893 ± 0.0193", "0.0149 ± 0.0012", "0.0324 ± 0.0039", "9.1720e-4 ± 0.4719e-4"),
    "cfm_sb": _cells("CFM-SB", "0.0998 ± 0.0050", "0.0151 ± 0.0024", "0.0338 ± 0.0045", "9.5234e-4 ± 0.3037e-4"),
    "ddpm": _cells("DDPM", "0.0709 ± 0.0010", "0.0348 ± 0.0068", "0.0364 ± 0.0101", "3.8040e-4 ± 0.1516e-4"),
    "scvi": _cells("scVI", "0.1326 ± 0.0230", "0.0349 ± 0.0020", "0.0360 ± 0.0096", "11.1673e-4 ± 0.4967e-4"),
}
TABLE_6 = {
    "paper-k1": _images("CaLMFlow (1 space token)", "8.9698 ± 0.1817"),
    "paper-k2": _images("CaLMFlow (2 space tokens)", "8.9619 ± 0.1281"),
    "paper-k4": _images("CaLMFlow (4 space tokens)", "9.1175 ± 0.2103"),
    "paper-k8": _images("CaLMFlow (8 space tokens)", "9.4278 ± 0.1845"),
    "cfm": _images("CFM", "8.9353 ± 0.2334"),
    "cfm_ot": _images("CFM-OT", "7.5515 ± 0.2935"),
    "ddpm": _images("DDPM", "7.1519 ± 0.3456"),
}
