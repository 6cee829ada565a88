"""The model that users hold: set-up, training, prediction, saving."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from anndata import AnnData
from scvi.data import AnnDataManager
from scvi.data.fields import CategoricalObsField
from scvi.model.base import BaseModelClass

from sccalmflow.flow import AttentionName, BackboneName, DecoderName, PathName
from sccalmflow.pp import PCA
from sccalmflow.prompts import CONTROL, PERTURBED, PromptTemplate

from ._build import build_network, build_or_load_tokenizer
from ._data import PromptBook, TrainingData
from ._fit import Fitter, TrainingOptions
from ._folder import ModelState, load_state, save_state
from ._predicted import predicted_anndata
from ._presets import PresetName, SourceName, resolve_settings
from ._requests import make_requests, read_conditions
from ._sampling import sample_scores
from ._schema import Schema
from ._setup import check_anndata, check_controls, training_data

if TYPE_CHECKING:
    from tokenizers import Tokenizer

logger = logging.getLogger(__name__)


class CaLMFlowModel(BaseModelClass):
    """Predicts the cells of a condition from a sentence: Volterra flow matching with a causal language model.

    Each condition becomes a sentence, and a causal language model (CLM) reads it and transports a source (control
    cells of the same context, or noise) to cells of that condition, token by continuous token :cite:`calmflow`.
    Set-up, registration and the progress bar are scvi-tools'; training data, network, saving and loading are our own.

    Parameters
    ----------
    adata
        AnnData registered with :meth:`setup_anndata`.
    preset
        ``"default"``, which is what measured best, or ``"paper"`` (straight path, variational decoder, noise source,
        a network of the size of Pythia-160m). Every parameter below that is None takes the preset's value.
    path
        ``"resampled"`` draws a fresh source state at every time point, ``"straight"`` one for the whole path.
    source
        ``"control"`` starts from control cells of the same context, ``"noise"`` from a standard normal.
    decoder
        ``"gaussian"`` (needs the resampled path) or ``"variational"``.
    n_steps
        Time points T. Default: 4 from control cells, 16 from noise.
    n_space_tokens
        Tokens K that a cell is split into at each time point.
    n_trajectories
        Cells M of a condition that are transported together in one sequence.
    n_context_cells
        Control cells of the context that are shown to the CLM after the sentence, one token each.
    ot_pairing
        Pair source and cells by optimal transport within a condition (straight path only).
    backbone, width, n_layers, n_heads, dropout
        Architecture and size of a CLM that starts at random: ``"gpt_neox"`` or ``"gpt2"``, hidden width, transformer
        layers, attention heads, share of units dropped in training.
    pretrained
        Hub id (``"EleutherAI/pythia-160m"``; needs the network) or local folder of a GPT-NeoX or GPT-2 model to start
        from, in place of a random one; its tokenizer comes with it.
    tokenizer
        ``tokenizer.json``, folder or hub id. Default: that of ``pretrained``, else one built from the training
        prompts.
    n_hidden
        Hidden width of the decoder.
    n_latent, kl_weight
        Latent size of the variational decoder and weight of its divergence.
    nll_weight
        Weight of the Gaussian decoder's likelihood.
    omit_probability
        Chance that training leaves a context label (cell type, chronicity, a covariate) out of a sentence. It keeps
        the model from learning types by heart, and readies it for sentences that do not name them.
    max_prompt_tokens
        Longest sentence in tokens.
    control_pool_size
        Most control cells of each context that the model keeps for prediction (their scores, not their genes).
    attention
        ``"sdpa"``, or ``"flash_attention_2"`` on CUDA with the ``flash-attn`` extra.
    seed
        Seed of the initial weights and of the choice of pooled control cells.

    Raises
    ------
    ValueError
        The AnnData was not set up, has conditions with a single training cell or contexts without control cells, or
        settings contradict each other.

    Examples
    --------
    >>> import sccalmflow as scf
    >>> adata = scf.datasets.simulated_cytokines(cells_per_condition=10, n_genes=100)
    >>> heldout = scf.pp.hold_out(adata, n=2, min_cells=2)
    >>> scf.pp.pca(adata, n_comps=10)
    >>> scf.CaLMFlowModel.setup_anndata(
    ...     adata, cell_type_key="cell_type", perturbation_key="perturbation", chronicity_key="chronicity"
    ... )
    >>> model = scf.CaLMFlowModel(adata, width=32, n_layers=1, n_heads=2)
    >>> model.train(max_epochs=1, steps_per_epoch=2, show_progress=False)
    >>> pred = model.predict_perturbation(heldout, n_cells=20, show_progress=False)
    >>> pred.shape
    (40, 100)
    """

    def __init__(
        self,
        adata: AnnData,
        *,
        preset: PresetName = "default",
        path: PathName | None = None,
        source: SourceName | None = None,
        decoder: DecoderName | None = None,
        n_steps: int | None = None,
        n_space_tokens: int | None = None,
        n_trajectories: int | None = None,
        n_context_cells: int | None = None,
        ot_pairing: bool | None = None,
        backbone: BackboneName | None = None,
        width: int | None = None,
        n_layers: int | None = None,
        n_heads: int | None = None,
        dropout: float | None = None,
        pretrained: str | None = None,
        tokenizer: str | None = None,
        n_hidden: int | None = None,
        n_latent: int | None = None,
        kl_weight: float | None = None,
        nll_weight: float | None = None,
        omit_probability: float | None = None,
        max_prompt_tokens: int | None = None,
        control_pool_size: int = 1000,
        attention: AttentionName | None = None,
        seed: int = 0,
    ) -> None:
        given = locals()
        super().__init__(adata)
        settings = resolve_settings(preset, given)
        if control_pool_size < 1:
            raise ValueError(f"control_pool_size={control_pool_size} must be at least 1.")
        schema = self._setup_schema()
        check_anndata(adata, schema)
        data = training_data(adata, schema)
        check_controls(data, schema, settings)
        sentences = data.sentences(schema)
        tokens = build_or_load_tokenizer(sentences, tokenizer or pretrained)
        flow = build_network(settings, adata.obsm[schema.obsm_key].shape[1], tokens, pretrained, given, seed)
        self._use(
            ModelState(
                schema=schema,
                settings=settings,
                flow=flow,
                tokenizer=tokens,
                pca=PCA.from_anndata(adata, schema.obsm_key),
                seen=list(dict.fromkeys(condition.labels for condition in data.conditions)),
                seen_sentences=sorted({c.sentence for c in data.conditions if c.sentence is not None}),
                controls=data.control_pool(control_pool_size, seed) if data.controls else {},
                is_trained=False,
                history={},
            )
        )
        for sentence in sentences:
            self._book.encode(sentence)
        self._data: TrainingData | None = data

    def _use(self, state: ModelState) -> None:
        self._state = state
        self.module = state.flow.eval()
        self.is_trained_, self.history_ = state.is_trained, state.history
        self._data = None
        self._book = PromptBook(state.tokenizer, state.settings.max_prompt_tokens)
        n_parameters = sum(parameter.numel() for parameter in self.module.parameters())
        self._model_summary_string = (
            f"CaLMFlowModel: {len(state.seen)} conditions, {state.pca.n_comps} scores of {len(state.pca.var_names)} "
            f"genes, {n_parameters:,} parameters, {state.settings}"
        )

    def _setup_schema(self) -> Schema:
        return Schema(
            **{
                **{key: value for key, value in self.registry["setup_args"].items() if not key.endswith("template")},
                "covariate_keys": tuple(self.registry["setup_args"]["covariate_keys"]),
                "template": PromptTemplate(
                    self.registry["setup_args"]["prompt_template"], self.registry["setup_args"]["control_template"]
                ),
            }
        )

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        *,
        cell_type_key: str,
        perturbation_key: str,
        chronicity_key: str | None = None,
        covariate_keys: Sequence[str] = (),
        control: str = "control",
        split_key: str | None = "split",
        prompt_key: str | None = None,
        obsm_key: str = "X_pca",
        prompt_template: str = PERTURBED,
        control_template: str = CONTROL,
    ) -> None:
        """Say which columns of ``obs`` make a condition, and register the AnnData.

        Parameters
        ----------
        adata
            Cells with labels in ``obs`` and the scores of :func:`sccalmflow.pp.pca` in ``obsm``.
        cell_type_key, perturbation_key, chronicity_key
            Columns of string labels. Without a chronicity the sentence ends before ``and exposure``.
        covariate_keys
            Further columns, such as donor or dose, each a placeholder of its own name for the template.
        control
            Label of unperturbed cells in ``obs[perturbation_key]``.
        split_key
            Column whose ``"train"`` cells are trained on (see :func:`sccalmflow.pp.hold_out`); None trains on all.
        prompt_key
            Column of ready sentences to use in place of the template's.
        obsm_key
            Where the scores are.
        prompt_template, control_template
            Sentences for perturbed and for control cells, the paper's by default; see
            :class:`sccalmflow.prompts.PromptTemplate`.

        Returns
        -------
        None. scvi-tools adds its own columns (``_scvi_...``) to ``obs`` and ``uns``.

        Raises
        ------
        KeyError
            A column or the scores are missing.
        ValueError
            Labels are missing, blank or not strings, the control label does not occur, names are not unique, scores
            are not finite, the template asks for an unknown name, or the AnnData is empty, a view or backed.
        """
        covariate_keys = list(covariate_keys)
        setup_method_args = cls._get_setup_method_args(**locals())
        schema = Schema(
            cell_type_key=cell_type_key,
            perturbation_key=perturbation_key,
            chronicity_key=chronicity_key,
            covariate_keys=tuple(covariate_keys),
            control=control,
            split_key=split_key,
            prompt_key=prompt_key,
            obsm_key=obsm_key,
            template=PromptTemplate(prompt_template, control_template),
        )
        check_anndata(adata, schema)
        fields = [CategoricalObsField(key, key) for key in schema.keys]
        manager = AnnDataManager(fields=fields, setup_method_args=setup_method_args)
        manager.register_fields(adata)
        cls.register_manager(manager)

    def train(
        self,
        max_epochs: int = 20,
        *,
        steps_per_epoch: int = 50,
        batch_size: int = 128,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        validation_size: float = 0.1,
        patience: int | None = 5,
        refit: bool = True,
        gradient_clip: float = 1.0,
        seed: int = 0,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        precision: str | int = "32-true",
        strategy: str = "auto",
        checkpoint_dir: str | None = None,
        resume: bool = False,
        show_progress: bool = True,
    ) -> None:
        """Train the network.

        Some conditions of the training split are held out for validation; training stops when the E-distance of
        their predicted cells no longer falls, and is then repeated on all training conditions for as many epochs as
        were best. Weights are an exponential moving average. The curves are in :attr:`history`.

        Parameters
        ----------
        max_epochs, steps_per_epoch
            Most epochs, of so many batches each; the learning rate falls along a cosine over all of them.
        batch_size
            Sequences in a batch.
        lr, weight_decay
            Of AdamW, after a linear warm-up over the first 50 steps.
        validation_size
            Share of the perturbed training conditions to validate on, at least one; 0 trains for ``max_epochs``.
            Where none can be held out, because each label occurs once, the log says so and it is as if it were 0.
        patience
            Epochs without improvement before training stops; None never stops early.
        refit
            Whether to train once more on all training conditions. Without it the weights of the best epoch stay, and
            the validation conditions have not been trained on.
        gradient_clip
            Largest norm of the gradient.
        seed
            Seed of batches, noise and the choice of validation conditions.
        accelerator, devices, precision, strategy
            As in Lightning's ``Trainer``; ``precision="bf16-mixed"`` on a GPU.
        checkpoint_dir
            Folder to write a checkpoint to after every epoch.
        resume
            Go on from the checkpoints in ``checkpoint_dir``, with the same arguments.
        show_progress
            Whether to show a progress bar.

        Raises
        ------
        RuntimeError
            The model was loaded without training data.
        ValueError
            An argument is out of bounds.
        FloatingPointError
            The loss was not finite; the message names the epoch and the conditions, and the model keeps its best
            weights until then.
        """
        arguments = {key: value for key, value in locals().items() if key != "self"}
        options = TrainingOptions(**arguments)
        if self._data is None:
            raise RuntimeError(
                "This model was loaded, and a saved model holds no training data. Build one with CaLMFlowModel(adata)."
            )
        state = self._state
        fitter = Fitter(state.flow, self._data, state.schema, state.settings, self._book, options)
        try:
            fitter.run()
        finally:
            self.module.eval()
            self.history_ = state.history = fitter.history
            self.is_trained_ = state.is_trained = state.is_trained or fitter.has_weights

    def predict_perturbation(
        self,
        conditions: pd.DataFrame | Sequence[str] | AnnData,
        *,
        n_cells: int = 500,
        control: AnnData | None = None,
        temperature: float = 1.0,
        seed: int = 0,
        batch_size: int = 1024,
        return_trajectory: bool = False,
        show_progress: bool = True,
    ) -> AnnData:
        """Predict cells of conditions, measured or not.

        A cell does not depend on ``n_cells``, ``batch_size`` or the other conditions of the call.

        Parameters
        ----------
        conditions
            A DataFrame with a column for each condition key (repeated rows count once; a column ``prompt``, where
            present, replaces the template's sentence), sentences, or an AnnData whose ``obs`` is such a DataFrame.
        n_cells
            Cells of each condition.
        control
            Control cells to start from, log-normalised like the training data, for contexts (all keys but the
            perturbation) that the model does not know or whose cells it should take from here. For free sentences
            all of them are the context.
        temperature
            Factor on the variance of the decoder's law: 1 samples it, 0 takes its mean.
        seed
            Seed of all draws.
        batch_size
            Most cells in a forward pass.
        return_trajectory
            Whether to keep the way from the source to the cell.
        show_progress
            Whether to show a progress bar.

        Returns
        -------
        AnnData of ``n_cells`` times the number of conditions: ``X`` dense expression on the scale of the training
        data (a linear reconstruction, so partly below 0), ``obsm["X_pca"]`` scaled scores, ``obs`` with the condition
        keys, ``prompt`` and ``novelty`` (``"seen"``, ``"unseen combination"``, ``"unseen cell type"``, ... or
        ``"free text"``), ``uns["sccalmflow"]`` with what made it, and with ``return_trajectory``
        ``obsm["trajectory"]`` (n, T + 1, D).

        Raises
        ------
        RuntimeError
            The model has not been trained.
        KeyError, TypeError, ValueError
            Conditions or control cells that cannot be used, or an argument out of bounds.
        """
        if not self.is_trained_:
            raise RuntimeError("The model has not been trained: call model.train() before predicting.")
        for name, value in (("n_cells", n_cells), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1.")
        if not (temperature >= 0 and math.isfinite(temperature)):
            raise ValueError(f"temperature={temperature} must be a number of at least 0.")
        if seed < 0:
            raise ValueError(f"seed={seed} must not be negative.")
        state = self._state
        asked = read_conditions(conditions, state)
        requests = make_requests(asked, state, control)
        scores = sample_scores(
            state.flow,
            self._book,
            requests,
            source=state.settings.source,
            n_cells=n_cells,
            temperature=temperature,
            seed=seed,
            batch_size=batch_size,
            whole_trajectory=return_trajectory,
            show_progress=show_progress,
        )
        made = {"seed": seed, "temperature": float(temperature), "control": "given" if control is not None else "pool"}
        return predicted_anndata(scores.numpy(), asked, state, made)

    def save(self, folder: str | Path, *, overwrite: bool = False, control_pool: bool = True) -> None:
        """Save the model as safetensors and JSON, all that prediction needs.

        Parameters
        ----------
        folder
            Where to; made if it does not exist.
        overwrite
            Whether a folder that is not empty may be written to.
        control_pool
            Whether to keep the pool of control scores. Without it no measured cell leaves the house, and prediction
            needs ``control=adata``.

        Raises
        ------
        FileExistsError
            The folder is not empty and ``overwrite`` is False.
        """
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()) and not overwrite:
            raise FileExistsError(f"{folder} is not empty. Choose another folder, or pass overwrite=True.")
        save_state(self._state, folder, control_pool=control_pool)

    @classmethod
    def load(cls, folder: str | Path, *, device: str | torch.device = "cpu") -> CaLMFlowModel:
        """Load a saved model; runs no code from the folder, and needs neither network nor training data.

        Parameters
        ----------
        folder
            What :meth:`save` wrote.
        device
            Where to put the network.

        Raises
        ------
        FileNotFoundError
            No such folder, or a file in it is missing.
        ValueError
            The folder holds something else, or a file is damaged.
        """
        state = load_state(Path(folder))
        model = cls.__new__(cls)
        registry: dict[str, Any] = {"field_registries": {}, "model_name": cls.__name__}
        BaseModelClass.__init__(model, registry=registry)
        model._use(state)
        model.module.to(device)
        return model
