"""Causal language models of ``transformers`` as the integral operator: embeddings and blocks in, hidden states out."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from .tokens import attention_mask

if TYPE_CHECKING:
    from transformers import DynamicCache, PretrainedConfig, PreTrainedModel

BackboneName = Literal["gpt_neox", "gpt2"]
"""Families of language models; GPT-NeoX is the one of Pythia, which the paper takes."""

AttentionName = Literal["sdpa", "flash_attention_2"]
"""Implementations of attention, by their names in ``transformers``."""


def backbone_config(
    backbone: BackboneName,
    *,
    vocab_size: int,
    width: int,
    n_layers: int,
    n_heads: int,
    dropout: float,
    max_positions: int,
) -> PretrainedConfig:
    """Configuration of a language model to be initialised at random, feed-forward layers four times the width.

    Parameters
    ----------
    backbone
        ``"gpt_neox"`` or ``"gpt2"``.
    vocab_size
        Tokens that prompts are made of.
    width
        Size of the hidden vectors, a multiple of ``n_heads``.
    n_layers, n_heads
        Transformer layers, and attention heads of each.
    dropout
        Share of units dropped in training, of attention weights and of what a layer adds.
    max_positions
        Longest sequence of blocks (see :mod:`sccalmflow.flow.tokens`): tokens of a prompt, context cells, and times.

    Returns
    -------
    ``GPTNeoXConfig`` or ``GPT2Config`` of ``transformers``, for :meth:`CausalLM.from_config`.

    Raises
    ------
    ValueError
        ``backbone`` is not known, or ``width`` is not a multiple of ``n_heads``.

    Examples
    --------
    >>> from sccalmflow.flow import backbone_config
    >>> config = backbone_config(
    ...     "gpt_neox", vocab_size=10, width=8, n_layers=1, n_heads=2, dropout=0.0, max_positions=16
    ... )
    >>> config.model_type, config.intermediate_size
    ('gpt_neox', 32)
    """
    from transformers import GPT2Config, GPTNeoXConfig

    if backbone not in get_args(BackboneName):
        raise ValueError(f"backbone={backbone!r} is not one of {', '.join(map(repr, get_args(BackboneName)))}.")
    if width % n_heads:
        raise ValueError(f"width={width} is not a multiple of n_heads={n_heads}: each head takes an equal share.")
    special = {"bos_token_id": None, "eos_token_id": None}
    if backbone == "gpt_neox":
        return GPTNeoXConfig(
            vocab_size=vocab_size,
            hidden_size=width,
            num_hidden_layers=n_layers,
            num_attention_heads=n_heads,
            intermediate_size=4 * width,
            hidden_dropout=dropout,
            attention_dropout=dropout,
            max_position_embeddings=max_positions,
            **special,
        )
    return GPT2Config(
        vocab_size=vocab_size,
        n_embd=width,
        n_layer=n_layers,
        n_head=n_heads,
        embd_pdrop=dropout,
        resid_pdrop=dropout,
        attn_pdrop=dropout,
        n_positions=max_positions,
        # GPT-2's own activation, computed by one kernel.
        activation_function="gelu_pytorch_tanh",
        **special,
    )


class CausalLM(nn.Module):
    """A GPT-NeoX or GPT-2 backbone without its language-modelling head.

    Parameters
    ----------
    backbone
        Model of ``transformers`` that takes ``inputs_embeds`` and returns hidden states.
    attention
        ``"sdpa"`` (torch's own) takes any mask. ``"flash_attention_2"`` needs a CUDA device, half precision and the
        ``flash-attn`` extra, and takes causal masks only: one token for each time.

    Examples
    --------
    >>> import torch
    >>> from sccalmflow.flow import CausalLM, backbone_config
    >>> config = backbone_config("gpt2", vocab_size=10, width=8, n_layers=1, n_heads=2, dropout=0.0, max_positions=16)
    >>> clm = CausalLM.from_config(config)
    >>> clm.width, clm.max_positions, clm.n_embeddings
    (8, 16, 10)
    >>> tokens = clm.embed(torch.tensor([[3, 1, 4]]))
    >>> clm(tokens, blocks=torch.tensor([[0, 1, 2]])).shape
    torch.Size([1, 3, 8])
    """

    def __init__(self, backbone: PreTrainedModel, attention: AttentionName = "sdpa") -> None:
        super().__init__()
        self.backbone = backbone
        self.attention = attention
        # transformers 5.24 renamed `past_key_values`, and from 5.40 knows the new name only.
        self._cache_name = "cache" if "cache" in signature(backbone.forward).parameters else "past_key_values"

    @classmethod
    def from_config(cls, config: PretrainedConfig, attention: AttentionName = "sdpa") -> CausalLM:
        """Initialise at random, from torch's global random state.

        Parameters
        ----------
        config
            Of a GPT-NeoX or GPT-2 model, such as :func:`backbone_config` makes.
        attention
            As in the class; ``"sdpa"`` runs everywhere and knows every mask.

        Returns
        -------
        The language model.

        Raises
        ------
        ValueError
            The configuration is of another architecture.
        """
        from transformers import AutoModel

        _check_architecture(config, "The configuration")
        return cls(AutoModel.from_config(config, attn_implementation=attention), attention)

    @classmethod
    def from_pretrained(cls, name_or_folder: str, attention: AttentionName = "sdpa") -> CausalLM:
        """Load weights by hub id (needs the network) or from a local folder, in single precision.

        Parameters
        ----------
        name_or_folder
            Hub id, or a folder that ``save_pretrained`` of ``transformers`` wrote.
        attention
            As in the class; ``"sdpa"`` runs everywhere and knows every mask.

        Returns
        -------
        The language model.

        Raises
        ------
        ValueError
            The model is of another architecture than GPT-NeoX or GPT-2.
        OSError
            Neither such a folder nor a name that the hub can serve now.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> from sccalmflow.flow import CausalLM, backbone_config
        >>> config = backbone_config(
        ...     "gpt2", vocab_size=10, width=8, n_layers=1, n_heads=2, dropout=0.0, max_positions=16
        ... )
        >>> with TemporaryDirectory() as folder:
        ...     CausalLM.from_config(config).backbone.save_pretrained(folder)
        ...     CausalLM.from_pretrained(folder).width
        8
        >>> CausalLM.from_pretrained("EleutherAI/pythia-160m").width  # doctest: +SKIP
        768
        """
        from transformers import AutoConfig, AutoModel

        # Before the weights, which may be large.
        _check_architecture(AutoConfig.from_pretrained(name_or_folder), repr(name_or_folder))
        model = AutoModel.from_pretrained(name_or_folder, attn_implementation=attention, dtype=torch.float32)
        return cls(model, attention)

    def add_adapters(self, rank: int) -> None:
        """Freeze the backbone, and put low-rank adapters on its linear layers (LoRA; Hu et al. 2022).

        They are scaled by 2 (``lora_alpha = 2 * rank``) and start at zero: the backbone is at first what it was.

        Parameters
        ----------
        rank
            Rank of each adapter.

        Raises
        ------
        ImportError
            peft is not installed.

        Examples
        --------
        >>> from sccalmflow.flow import CausalLM, backbone_config
        >>> config = backbone_config(
        ...     "gpt2", vocab_size=10, width=8, n_layers=1, n_heads=2, dropout=0.0, max_positions=16
        ... )
        >>> clm = CausalLM.from_config(config)
        >>> clm.add_adapters(rank=2)  # doctest: +SKIP
        >>> [name for name, weight in clm.named_parameters() if weight.requires_grad][:2]  # doctest: +SKIP
        ['backbone.h.0.attn.c_attn.lora_A.default.weight', 'backbone.h.0.attn.c_attn.lora_B.default.weight']
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise ImportError('lora_rank needs peft: pip install "sccalmflow[lora]".') from error
        # GPT-2's layers are transposed, and peft has to be told.
        is_gpt2 = self.backbone.config.model_type == "gpt2"
        adapters = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", fan_in_fan_out=is_gpt2)
        inject_adapter_in_model(adapters, self.backbone)

    @property
    def width(self) -> int:
        """Size of the hidden vectors."""
        return self.backbone.config.hidden_size

    @property
    def max_positions(self) -> int:
        """Longest sequence of blocks that the backbone can place."""
        return self.backbone.config.max_position_embeddings

    @property
    def n_embeddings(self) -> int:
        """Tokens that the backbone knows."""
        return self.backbone.get_input_embeddings().num_embeddings

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings of prompt tokens.

        Parameters
        ----------
        ids
            Token ids below ``n_embeddings``, shape (P, L).

        Returns
        -------
        Shape (P, L, width).
        """
        return self.backbone.get_input_embeddings()(ids)

    def forward(
        self,
        embeddings: Tensor,
        blocks: Tensor,
        cache: DynamicCache | None = None,
        cached_blocks: Tensor | None = None,
        allowed: Tensor | None = None,
    ) -> Tensor:
        """Hidden states of new tokens, which are appended to the cache where one is given.

        Parameters
        ----------
        embeddings
            New tokens, shape (B, Q, width).
        blocks
            Their blocks (see :mod:`sccalmflow.flow.tokens`), shape (B, Q).
        cache
            Keys and values of the tokens before, of each sequence.
        cached_blocks
            Blocks of those tokens, shape (B, L).
        allowed
            What the mask may show of all keys, shape (B, 1, Q, L + Q); not with flash attention.

        Returns
        -------
        Shape (B, Q, width).
        """
        keys = blocks if cached_blocks is None else torch.cat([cached_blocks, blocks], dim=1)
        mask = keys >= 0 if self.attention == "flash_attention_2" else attention_mask(blocks, keys)
        if allowed is not None:
            mask = mask & allowed
        return self.backbone(
            inputs_embeds=embeddings,
            attention_mask=mask,
            position_ids=blocks.clamp(min=0),
            use_cache=cache is not None,
            **{self._cache_name: cache},
        ).last_hidden_state


def _check_architecture(config: PretrainedConfig, what: str) -> None:
    if config.model_type not in get_args(BackboneName):
        raise ValueError(f"{what} is of a {config.model_type!r} model; GPT-NeoX (Pythia) and GPT-2 are supported.")


def select_sequences(cache: DynamicCache, index: Tensor) -> DynamicCache:
    """A new cache whose sequence ``i`` is sequence ``index[i]`` of this one; gradients pass."""
    from transformers import DynamicCache

    selected = DynamicCache()
    for number, layer in enumerate(cache.layers):
        selected.update(layer.keys[index], layer.values[index], number)
    return selected
