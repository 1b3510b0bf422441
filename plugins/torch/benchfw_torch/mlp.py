"""A small multilayer perceptron, for trying things out."""

from __future__ import annotations

from torch import Tensor, nn


class Mlp(nn.Module):
    """Three linear layers with ReLU, 26,122 parameters. Input: float32 [batch, 64]. Output: float32 [batch, 10]."""

    def __init__(self, features: int = 64, width: int = 128, classes: int = 10) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, classes),
        )

    def forward(self, input: Tensor) -> Tensor:
        return self.layers(input)
