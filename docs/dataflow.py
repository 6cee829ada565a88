"""Draw the data flow of the architecture page: python docs/dataflow.py writes docs/images/dataflow.svg."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

COLOURS = {"data": "#F0F0F0", "pp": "#CFE3F2", "prompts": "#FCE3C5", "flow": "#D5EBD8", "tl": "#E9DAEC"}
WIDTH, HEIGHT = 1.85, 0.62

# Name -> left edge, lower edge, text, colour. The text says what, and in the second line where.
BOXES = {
    "adata": (0.0, 3.9, "AnnData\nlog1p, obs labels", "data"),
    "split": (2.3, 3.9, "hold out, PCA\npp", "pp"),
    "sentence": (0.0, 2.6, "sentence\nprompts", "prompts"),
    "source": (2.3, 2.6, "source\ncontrol cells or noise", "pp"),
    "path": (4.6, 3.9, "path\nflow/paths", "flow"),
    "tokens": (4.6, 2.6, "tokens\nflow/tokens", "flow"),
    "clm": (6.9, 2.6, "language model\nflow/clm", "flow"),
    "decoder": (6.9, 3.9, "decoder\nflow/decoders", "flow"),
    "loss": (9.2, 3.9, "loss\nflow/network", "flow"),
    "ask": (0.0, 1.0, "labels or sentences\nwhat to predict", "data"),
    "rollout": (6.9, 1.0, "rollout, T steps\nflow/rollout", "flow"),
    "genes": (9.2, 1.0, "back to genes\npp", "pp"),
    "pred": (9.2, -0.2, "predicted AnnData\nnovelty in obs", "data"),
    "report": (6.9, -0.2, "report\ntl, baselines", "tl"),
    "plots": (4.6, -0.2, "figures\npl", "tl"),
}
# From, to, and the sides that the arrow leaves and meets.
ARROWS = [
    ("adata", "split", "right", "left"),
    ("adata", "sentence", "below", "above"),
    ("split", "path", "right", "left"),
    ("split", "source", "below", "above"),
    ("source", "path", "right", "left"),
    ("path", "tokens", "below", "above"),
    ("tokens", "clm", "right", "left"),
    ("clm", "decoder", "above", "below"),
    ("decoder", "loss", "right", "left"),
    ("ask", "sentence", "above", "below"),
    ("clm", "rollout", "below", "above"),
    ("rollout", "genes", "right", "left"),
    ("genes", "pred", "below", "above"),
    ("pred", "report", "left", "right"),
    ("report", "plots", "left", "right"),
]
SIDES = {"left": (0, 0.5), "right": (1, 0.5), "above": (0.5, 1), "below": (0.5, 0)}


def _at(name: str, side: str) -> tuple[float, float]:
    x, y = BOXES[name][:2]
    return x + SIDES[side][0] * WIDTH, y + SIDES[side][1] * HEIGHT


def draw() -> Figure:
    """Boxes, arrows, and the two lines that say what is trained and what is asked."""
    figure = Figure(figsize=(11, 5))
    ax = figure.add_axes((0, 0, 1, 1))
    for x, y, text, colour in BOXES.values():
        box = FancyBboxPatch(
            (x, y), WIDTH, HEIGHT, boxstyle="round,pad=0.02,rounding_size=0.08", fc=COLOURS[colour], ec="#555555"
        )
        ax.add_patch(box)
        what, where = text.split("\n")
        ax.text(x + WIDTH / 2, y + 0.43 * HEIGHT + 0.12, what, ha="center", va="center", fontsize=12)
        ax.text(x + WIDTH / 2, y + 0.16, where, ha="center", va="center", fontsize=9.5, color="#444444")
    for start, end, leaves, meets in ARROWS:
        ax.add_patch(_arrow(_at(start, leaves), _at(end, meets)))
    # The sentence goes under the source, straight into the language model.
    left, top = _at("sentence", "below")
    left, right, bend = left + 0.45, _at("clm", "below")[0] - 0.5, top - 0.42
    ax.plot([left, left, right], [top, bend, bend], color="#555555", linewidth=1.3)
    ax.add_patch(_arrow((right, bend), (right, top)))
    ax.text(3.2, bend + 0.08, "token ids", ha="center", va="bottom", fontsize=9.5, color="#444444")
    bold = {"fontsize": 12, "fontweight": "bold", "va": "center"}
    ax.text(0, 4.87, "Training: scores and sentences alone, no genes", **bold)
    ax.text(2.4, 1.31, "Prediction: the same model, rolled out\nfrom the source, for any sentence", **bold)
    ax.set(xlim=(-0.15, 11.1), ylim=(-0.35, 5.1))
    ax.axis("off")
    return figure


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> FancyArrowPatch:
    return FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, color="#555555", shrinkA=1.5, shrinkB=1.5)


if __name__ == "__main__":
    mpl.rcParams.update({"svg.hashsalt": "sccalmflow", "font.family": "DejaVu Sans"})
    draw().savefig(Path(__file__).parent / "images" / "dataflow.svg", metadata={"Date": None})
