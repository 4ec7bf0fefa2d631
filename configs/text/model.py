"""Two small character models: (N, T) tokens in, (N, T, vocabulary) logits out."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Causal self-attention with several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.mix = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.mix(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        result: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return result


class Block(nn.Module):
    """Attention, then an MLP, each on a normalised input and added to the stream."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        attention = Attention(width, heads)
        mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.attend = nn.Sequential(nn.LayerNorm(width), attention, nn.Dropout(dropout))
        self.think = nn.Sequential(nn.LayerNorm(width), mlp, nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.attend(x)
        z: Tensor = y + self.think(y)
        return z


class Transformer(nn.Module):
    """A pre-norm decoder whose output projection is its token embedding."""

    def __init__(self, vocabulary: int, width: int, heads: int, layers: int, length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(length, width)
        self.dropout = nn.Dropout(0.1)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout=0.1) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embedding.weight
        for table in (self.embedding, self.position):
            nn.init.normal_(table.weight, std=width**-0.5)  # so that the first logits are moderate

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.dropout(self.embedding(tokens) + self.position(positions))
        logits: Tensor = self.head(self.norm(self.blocks(x)))
        return logits


class LSTM(nn.Module):
    """Embedding, LSTM, linear head."""

    def __init__(self, vocabulary: int, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(tokens))
        logits: Tensor = self.head(states)
        return logits


def transformer(
    vocabulary: int = 96, width: int = 64, heads: int = 4, layers: int = 2, length: int = 128
) -> Transformer:
    return Transformer(vocabulary, width, heads, layers, length)


def lstm(vocabulary: int = 96, width: int = 96, layers: int = 1) -> LSTM:
    return LSTM(vocabulary, width, layers)
