"""Volterra flow matching with a causal language model, in pure torch."""

from .clm import AttentionName, BackboneName, CausalLM, backbone_config
from .config import FlowConfig
from .decoders import DecoderName, EnergyDecoder, GaussianDecoder, MixtureDecoder, RegressionDecoder, VariationalDecoder
from .network import VolterraFlow
from .paths import PathName, ResampledPath, StraightPath, pair_by_optimal_transport
from .prefix import Prefix, Prompts, select_prefix
from .rollout import rollout, rollout_uncached

__all__ = [
    "AttentionName",
    "BackboneName",
    "CausalLM",
    "DecoderName",
    "EnergyDecoder",
    "FlowConfig",
    "GaussianDecoder",
    "MixtureDecoder",
    "PathName",
    "Prefix",
    "Prompts",
    "RegressionDecoder",
    "ResampledPath",
    "StraightPath",
    "VariationalDecoder",
    "VolterraFlow",
    "backbone_config",
    "pair_by_optimal_transport",
    "rollout",
    "rollout_uncached",
    "select_prefix",
]
