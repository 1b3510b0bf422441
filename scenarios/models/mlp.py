"""A model of one's own, for custom_python.toml: any callable that returns an nn.Module will do."""

from __future__ import annotations

from torch import Tensor, nn


class Embedder(nn.Module):
    """Mean of word vectors, then a linear layer. Inputs: int64 [batch, words], float32 [batch, words]."""

    def __init__(self, vocabulary: int = 1000, width: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        self.head = nn.Linear(width, classes)

    def forward(self, ids: Tensor, weights: Tensor) -> Tensor:
        vectors = self.table(ids) * weights.unsqueeze(-1)
        scores: Tensor = self.head(vectors.mean(dim=1))
        return scores


def make() -> nn.Module:
    return Embedder()
