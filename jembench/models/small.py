"""The small convolutional network of the digits track: 3x3 convolutions without normalisation layers.

JEM needs a network whose input gradient is that of one image alone, so there is no batch norm, and a smooth one for
its SGLD chains, so the activation is SiLU.
"""

from __future__ import annotations

from torch import Tensor, nn


class SmallNet(nn.Module):
    """Four convolutions, two of them with stride 2, then a linear layer.

    Args:
        shape: (C, H, W) of an image, H and W divisible by 4.
        classes: number of logits K.
        width: number of channels of the first layer; the others have twice as many.
    """

    def __init__(self, *, shape: tuple[int, int, int], classes: int, width: int) -> None:
        super().__init__()
        channels, height, breadth = shape
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1, stride=2),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, stride=2),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.head = nn.Linear(2 * width * (height // 4) * (breadth // 4), classes)

    def stem(self, x: Tensor) -> Tensor:
        """The first convolution and its activation, ``(B, width, H, W)``."""
        hidden: Tensor = self.features[:2](x)
        return hidden

    def trunk(self, hidden: Tensor) -> Tensor:
        """The logits from the stem's output."""
        logits: Tensor = self.head(self.features[2:](hidden))
        return logits

    @property
    def readout(self) -> nn.Linear:
        """The layer that gives the logits."""
        return self.head

    def penultimate(self, x: Tensor) -> Tensor:
        """What enters it, ``(B, F)``, of normalised images."""
        hidden: Tensor = self.features(x)
        return hidden

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)`` of normalised images ``(B, C, H, W)``."""
        return self.trunk(self.stem(x))
