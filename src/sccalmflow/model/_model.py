"""The model that users hold: building, set-up, saving; training and prediction are mixed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from anndata import AnnData
from scvi.data import AnnDataManager
from scvi.data.fields import CategoricalObsField
from scvi.model.base import BaseModelClass

from sccalmflow.flow import AttentionName, BackboneName, DecoderName, PathName
from sccalmflow.pp import PCA
from sccalmflow.prompts import CONTROL, PERTURBED, PromptTemplate

from ._build import build_network, build_or_load_tokenizer, with_sizes_of
from ._data import PromptBook
from ._folder import ModelState, load_state, save_state
from ._prediction import PredictionMixin
from ._presets import PresetName, SourceName, resolve_settings
from ._schema import Schema
from ._setup import check_anndata, check_controls, training_data
from ._train import TrainingMixin


class CaLMFlowModel(TrainingMixin, PredictionMixin, BaseModelClass):
    """Predicts the cells of a condition from a sentence: Volterra flow matching with a causal language model.

    Each condition becomes a sentence, and a causal language model (CLM) reads it and transports a source (control
    cells of the same context, or noise) to cells of that condition, token by continuous token (He et al. 2024,
    arXiv:2410.05292).
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
        ``"gaussian"``, ``"mixture"`` of four Gaussians, ``"energy"`` (these need the resampled path), or
        ``"variational"``. A mixture is for sources that leave several places open, such as noise; from control cells
        one Gaussian does. The energy decoder assumes neither clusters nor independent scores.
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
    lora_rank
        Rank of low-rank adapters (LoRA) that are trained in place of the weights of ``pretrained``; needs the ``lora``
        extra. Default 0: all weights are trained. 8 or 16 is common, for models that do not fit into memory otherwise.
    tokenizer
        ``tokenizer.json``, folder or hub id. Default: that of ``pretrained``, else one built from the training
        prompts.
    n_hidden
        Hidden width of the decoder.
    n_latent, kl_weight
        Latent size of the variational and of the energy decoder, and weight of the former's divergence.
    nll_weight, precision_power
        Weight of the Gaussian decoder's likelihood, and the power of the predicted precision that weights its squared
        errors: 0 counts them as they are, 1 is the gradient of the likelihood.
    omit_probability
        Chance that training leaves the cell type out of a sentence. It keeps the model from learning types by heart,
        and readies it for sentences that do not name them.
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
    ImportError
        ``lora_rank`` needs peft, ``pip install "sccalmflow[lora]"``.

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

    Saved and loaded, it predicts the same:

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     model.save(folder)
    ...     loaded = scf.CaLMFlowModel.load(folder)
    >>> again = loaded.predict_perturbation(heldout, n_cells=20, show_progress=False)
    >>> bool(abs(again.X - pred.X).max() < 1e-3)
    True
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
        lora_rank: int | None = None,
        n_hidden: int | None = None,
        n_latent: int | None = None,
        kl_weight: float | None = None,
        nll_weight: float | None = None,
        precision_power: float | None = None,
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
        if seed < 0:
            raise ValueError(f"seed={seed} must not be negative.")
        schema = self._setup_schema()
        check_anndata(adata, schema)
        data = training_data(adata, schema)
        check_controls(data, schema, settings)
        sentences = data.sentences(schema)
        tokens = build_or_load_tokenizer(sentences, tokenizer or pretrained)
        flow = build_network(settings, adata.obsm[schema.obsm_key].shape[1], tokens, pretrained, given, seed)
        if pretrained is not None:
            settings = with_sizes_of(settings, flow.clm)
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
        self._data = data

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

    @property
    def settings(self) -> dict[str, Any]:
        """The settings the model was built with, the preset's included."""
        return asdict(self._state.settings)

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
        TypeError
            ``covariate_keys`` is a string.
        ValueError
            Labels are missing, blank or not strings, the control label does not occur, names are not unique, scores
            are not finite, the template asks for an unknown name, or the AnnData is empty, a view or backed.
        """
        if isinstance(covariate_keys, str):
            raise TypeError(f"covariate_keys={covariate_keys!r} is a string: give a list, [{covariate_keys!r}].")
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

        Returns
        -------
        The model, ready to predict. It cannot be trained further, since a saved model holds no training data.

        Raises
        ------
        FileNotFoundError
            No such folder, or a file in it is missing.
        ImportError
            The model has low-rank adapters, and peft is not installed.
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
