"""A text file as windows of character tokens."""

from pathlib import Path

import torch
from torch import Tensor


def encode(text: bytes) -> Tensor:
    """Printable ASCII becomes 0..94; a newline, and anything else, becomes 95."""
    codes = torch.tensor(list(text), dtype=torch.int64) - 32
    return torch.where((codes >= 0) & (codes < 95), codes, 95)


def load(path: str | Path, start: float = 0.0, stop: float = 1.0) -> Tensor:
    """The tokens of the text between two fractions of its size."""
    text = Path(path).read_bytes()
    return encode(text[round(start * len(text)) : round(stop * len(text))])


def windows(tokens: Tensor, starts: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The window at each start, and the same windows one character later."""
    rows = tokens[starts[:, None] + torch.arange(length + 1)]
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def sequences(
    path: str | Path, start: float = 0.0, stop: float = 1.0, length: int = 128, count: int = 256
) -> tuple[Tensor, Tensor]:
    """Inputs and targets: `count` windows spread evenly over a part of the text."""
    tokens = load(path, start, stop)
    last = len(tokens) - length - 1
    if last < 0:
        raise ValueError(f"{path}: {len(tokens)} characters are too few for a window of {length} + 1")
    starts = torch.linspace(0, last, count, dtype=torch.float64).long()
    return windows(tokens, starts, length)
