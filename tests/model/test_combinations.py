"""Several perturbations at once, and doses: words in the label of the perturbation."""

import numpy as np
import pandas as pd
import pytest


def test_combinations_and_doses_are_labels_as_any_other(cells_of, build, train, predict) -> None:
    model = train(build(cells_of(perturbations=("control", "IFN 10 nM", "IFN 100 nM", "IL-6 + IL-2"), heldout=None)))
    asked = {
        "IFN 10 nM": "seen",
        "IFN 30 nM": "unseen perturbation",
        "IFN 10 nM + IL-6 + IL-2 + TNF": "unseen perturbation",
    }
    frame = pd.DataFrame({"cell_type": "B", "perturbation": list(asked), "chronicity": "acute"})
    with pytest.warns(
        UserWarning, match="no cell with perturbation 'IFN 10 nM \\+ IL-6 \\+ IL-2 \\+ TNF', 'IFN 30 nM'"
    ):
        pred = predict(model, frame)
    assert pred.n_obs == 60
    assert np.isfinite(pred.X).all()
    found = pred.obs.drop_duplicates("perturbation").set_index("perturbation").astype(str)
    assert found["novelty"].to_dict() == asked
    for label in asked:
        assert f"stimulated with {label}" in found.loc[label, "prompt"]


def test_a_dose_beside_the_perturbation_is_context_and_needs_control_cells(cells_of, build) -> None:
    adata = cells_of()
    adata.obs["dose"] = np.where(adata.obs["perturbation"] == "control", "0", "10")
    with pytest.raises(ValueError, match="contexts have no control cells.*B, acute, 10"):
        build(adata, setup={"covariate_keys": ["dose"]})
