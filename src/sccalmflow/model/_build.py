"""The network and the tokenizer of a new model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from sccalmflow._device import forked_random_state
from sccalmflow.flow import CausalLM, VolterraFlow, backbone_config
from sccalmflow.prompts import build_tokenizer, load_tokenizer

from ._presets import Settings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

logger = logging.getLogger(__name__)

_SIZES = ("backbone", "width", "n_layers", "n_heads", "dropout")


def build_or_load_tokenizer(sentences: Sequence[str], name_or_path: str | None) -> Tokenizer:
    """The tokenizer that was named, or one built from the training prompts."""
    return build_tokenizer(sentences) if name_or_path is None else load_tokenizer(name_or_path)


def build_network(
    settings: Settings, dim: int, tokenizer: Tokenizer, pretrained: str | None, given: dict[str, Any], seed: int
) -> VolterraFlow:
    """Initialise a network; the global random state is left as it was.

    Raises
    ------
    ValueError
        Sizes were given beside a pretrained model, which has its own; it has too few positions or embeddings; or
        settings contradict each other.
    ImportError
        ``lora_rank`` needs peft.
    """
    config = settings.flow_config(dim)
    _check_attention(settings)
    if settings.lora_rank and pretrained is None:
        raise ValueError(
            f"lora_rank={settings.lora_rank} adapts a pretrained language model, and this one starts at random: name "
            "it in pretrained, or leave lora_rank out."
        )
    n_positions = settings.max_prompt_tokens + 1 + settings.n_steps
    with forked_random_state(seed):
        if pretrained is None:
            sizes = backbone_config(
                settings.backbone,
                vocab_size=tokenizer.get_vocab_size(),
                width=settings.width,
                n_layers=settings.n_layers,
                n_heads=settings.n_heads,
                dropout=settings.dropout,
                max_positions=n_positions,
            )
            return VolterraFlow(config, CausalLM.from_config(sizes, settings.attention))
        for name in _SIZES:
            if given.get(name) is not None:
                raise ValueError(f"{name}={given[name]!r} cannot be chosen beside pretrained={pretrained!r}.")
        clm = CausalLM.from_pretrained(pretrained, settings.attention)
        if clm.max_positions < n_positions:
            raise ValueError(
                f"{pretrained!r} has {clm.max_positions} positions, and max_prompt_tokens={settings.max_prompt_tokens} "
                f"with n_steps={settings.n_steps} needs {n_positions}."
            )
        if clm.n_embeddings < tokenizer.get_vocab_size():
            raise ValueError(
                f"The tokenizer has {tokenizer.get_vocab_size()} tokens and {pretrained!r} {clm.n_embeddings} "
                "embeddings: use the tokenizer that the model was trained with."
            )
        if settings.lora_rank:
            clm.add_adapters(settings.lora_rank)
        return VolterraFlow(config, clm)


def with_sizes_of(settings: Settings, clm: CausalLM) -> Settings:
    """The settings with the sizes of a pretrained language model in place of the preset's, which it does not have."""
    config = clm.backbone.config
    dropout = config.resid_pdrop if config.model_type == "gpt2" else config.hidden_dropout
    sizes = (config.model_type, clm.width, config.num_hidden_layers, config.num_attention_heads, dropout)
    return replace(settings, **dict(zip(_SIZES, sizes, strict=True)))


def _check_attention(settings: Settings) -> None:
    if settings.attention == "flash_attention_2":
        from transformers.utils import is_flash_attn_2_available

        if not (torch.cuda.is_available() and is_flash_attn_2_available()):
            raise ValueError(
                'attention="flash_attention_2" needs a CUDA device and the extra: '
                'pip install "sccalmflow[flash-attn]". attention="sdpa" runs everywhere.'
            )
