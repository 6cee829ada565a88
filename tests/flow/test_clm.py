import warnings
from pathlib import Path

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    DynamicCache,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaModel,
)

from sccalmflow.flow import CausalLM, FlowConfig, VolterraFlow, backbone_config, rollout

SIZES = {"vocab_size": 11, "width": 16, "n_layers": 2, "n_heads": 2, "dropout": 0.25, "max_positions": 32}
PRETRAINED = {
    "gpt_neox": lambda: GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=11,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
            bos_token_id=None,
            eos_token_id=None,
        )
    ),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=11, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=None, eos_token_id=None)
    ),
}


@pytest.mark.parametrize("backbone", ["gpt_neox", "gpt2"])
def test_a_configuration_has_the_sizes_that_were_asked_for(backbone: str) -> None:
    clm = CausalLM.from_config(backbone_config(backbone, **SIZES))
    assert (clm.width, clm.max_positions, clm.n_embeddings) == (16, 32, 11)
    assert clm.embed(torch.tensor([[1, 2]])).shape == (1, 2, 16)
    shapes = [tuple(weight.shape) for weight in clm.parameters()]
    # Feed-forward layers four times the width (GPT-2 stores its matrices transposed).
    assert sum(shape in [(64, 16), (16, 64)] for shape in shapes) == 4
    assert {part.p for part in clm.modules() if isinstance(part, torch.nn.Dropout)} == {0.25}


def test_heads_must_share_the_width_equally() -> None:
    with pytest.raises(ValueError, match="width=16 is not a multiple of n_heads=3"):
        backbone_config("gpt2", **{**SIZES, "n_heads": 3})


def test_an_unknown_backbone_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="backbone='gptneox' is not one of 'gpt_neox', 'gpt2'"):
        backbone_config("gptneox", **SIZES)


@pytest.mark.parametrize("backbone", PRETRAINED)
def test_pretrained_weights_come_from_a_local_folder_in_single_precision(tmp_path: Path, backbone: str) -> None:
    torch.manual_seed(0)
    saved = PRETRAINED[backbone]().to(torch.bfloat16)
    saved.save_pretrained(tmp_path)
    clm = CausalLM.from_pretrained(str(tmp_path))
    weights = dict(saved.base_model.named_parameters())
    assert dict(clm.backbone.named_parameters()).keys() == weights.keys()
    for name, value in clm.backbone.named_parameters():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, weights[name].float(), rtol=0, atol=0)
    flow = VolterraFlow(FlowConfig(dim=5, n_hidden=16), clm).eval()
    assert rollout(flow, torch.randn(2, 1, 4, 5), torch.randn(2, 1, 4, 5)).shape == (2, 1, 5, 5)


@pytest.mark.parametrize("backbone", PRETRAINED)
def test_reading_with_a_cache_warns_of_nothing(backbone: str) -> None:
    clm = CausalLM.from_config(backbone_config(backbone, **SIZES))
    cache, blocks = DynamicCache(), torch.tensor([[0, 1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clm(clm.embed(torch.tensor([[3, 1]])), blocks, cache)
        clm(clm.embed(torch.tensor([[4]])), blocks[:, :1] + 2, cache, blocks)
    assert cache.get_seq_length() == 3


@pytest.mark.parametrize("backbone", PRETRAINED)
def test_hidden_states_are_those_that_transformers_computes_from_token_ids(tmp_path: Path, backbone: str) -> None:
    torch.manual_seed(0)
    saved = PRETRAINED[backbone]().eval()
    saved.save_pretrained(tmp_path)
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    expected = saved(ids, output_hidden_states=True).hidden_states[-1]
    clm = CausalLM.from_pretrained(str(tmp_path)).eval()
    torch.testing.assert_close(clm(clm.embed(ids), torch.arange(5)[None]), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (
            lambda: BertModel(
                BertConfig(
                    vocab_size=11, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
                )
            ),
            "bert",
        ),
        (
            lambda: LlamaModel(
                LlamaConfig(
                    vocab_size=11, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
                )
            ),
            "llama",
        ),
    ],
)
def test_other_architectures_are_refused_by_name(tmp_path: Path, model, name: str) -> None:
    saved = model()
    saved.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"'{name}'.*GPT-NeoX.*GPT-2"):
        CausalLM.from_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match=f"'{name}'.*GPT-NeoX.*GPT-2"):
        CausalLM.from_config(saved.config)
