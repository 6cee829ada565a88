"""A prompt as one vector, beside the tokens that the language model attends to."""

from __future__ import annotations

from torch import Tensor, nn

from .prefix import Prompts

# Enough to tell the words of a data set apart; a pretrained model's tokenizer has tens of thousands.
_FEATURES = 64


class PooledPrompt(nn.Module):
    """The sum of one learned vector for each token of a prompt, whatever their order, at the language model's width.

    Attention first has to learn where to look, and what it learns of a combination of words need not hold for another.
    A sum passes every word on from the first update, and is made for combinations that training has not read, as far as
    effects add up. Text-to-image models pair attention with such a vector too (Podell et al. 2023, arXiv:2307.01952).
    """

    def __init__(self, n_embeddings: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(n_embeddings, _FEATURES)
        self.project = nn.Linear(_FEATURES, width)

    def forward(self, prompts: Prompts) -> Tensor:
        """Vectors of P distinct prompts, shape (P, width)."""
        is_word = prompts.mask[..., None]
        # Divided by the root of their number, sums of short and of long prompts are of one size.
        return self.project((self.words(prompts.ids) * is_word).sum(1) / is_word.sum(1).sqrt())
