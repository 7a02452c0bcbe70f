"""A track of stripes, across or down, made in integer arithmetic."""

import numpy as np

from jembench.data.sets import ASKED, CHAINS, Grid, ImageSet, Severities, Source, Track, chains

PINS = {
    "train": "c27b5cae056fcbcbabb0366e79e860d536aa10820c9d9d9affbeb28089719695",
    "validation": "8a51b675ae32719178d96b3c5e7a9909a275d052a66a45f1333829a802b45aeb",
    "test": "a91aaae3e67caedfd478a424a9c550a928099d01ba2c1b305bba91a3d4e1c920",
    "checks": "3830a87ee044814b61297e15d8bfdf1ae65eff4976604847bf6a41a71997086b",
    CHAINS: "fcfd98faec644c446c6251bb5f4ce1ae5c114bd329a764c198999aa7295ebffa",
}

TRACK = Track(
    "stripes",
    1,
    (1, 8, 8),
    17,
    2,
    60,
    (
        Source("train", "train", 120, PINS["train"]),
        Source("validation", "validation", 40, PINS["validation"]),
        Source("test", "test", 60, PINS["test"]),
        Source("checks", "ood", 60, PINS["checks"], about="a chessboard"),
        Source(CHAINS, "chains", 1000, PINS[CHAINS], about=ASKED),
    ),
    builder="jembench_example.track:build",
    threats=(Grid("linf", (0.1, 0.2), 0.1),),
    shifts=(Severities("noise", (0.1, 0.2)),),
    held_out=(Severities("gamma", (1.5, 3.0)),),
    extractor="pixels",
)
STARTS = {"train": 0, "validation": 120, "test": 160, "checks": 0}


def build(name: str) -> ImageSet:
    """The image set of a name."""
    if name == CHAINS:
        return chains(TRACK)
    n = TRACK.source(name).n
    k = np.arange(STARTS[name], STARTS[name] + n)
    rows, columns = np.mgrid[:8, :8]
    y = k % 2
    place = np.where(y[:, None, None] == 0, rows, columns) + k[:, None, None] // 2
    x = np.where(place % 4 < 2, 12, 2) + (k[:, None, None] * 7 + rows * 5 + columns * 3) % 5 - 2
    if name == "checks":
        x, y = np.where((rows + columns) % 2, 14 - k[:, None, None] % 3, 1), np.full(n, -1)
    return ImageSet(x[:, None].astype(np.uint8), y.astype(np.int64), TRACK.levels)
