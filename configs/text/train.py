"""Train a character model: python train.py TEXT transformer -o transformer.pt"""

import argparse
import time
from collections.abc import Callable

import torch
from data import load, sequences, windows
from model import lstm, transformer
from torch import Tensor, nn
from torch.nn import functional as F

MODELS: dict[str, Callable[[], nn.Module]] = {"transformer": transformer, "lstm": lstm}
LENGTH, BATCH, RATE = 128, 32, 6e-3


def loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


def train(model: nn.Module, tokens: Tensor, seconds: float, steps: float) -> int:
    """Take steps, at a rate falling to zero, until either limit is reached; return their number."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    begun, step = time.monotonic(), 0
    model.train()
    while step < steps and (spent := time.monotonic() - begun) < seconds:
        optimizer.param_groups[0]["lr"] = RATE * (1 - max(step / steps, spent / seconds))
        starts = torch.randint(len(tokens) - LENGTH, (BATCH,))
        optimizer.zero_grad()
        torch.autograd.backward(loss(model, *windows(tokens, starts, LENGTH)))
        optimizer.step()
        step += 1
    return step


@torch.no_grad()
def evaluate(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    model.eval()
    return loss(model, inputs, targets).item()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a character model on a text file.")
    parser.add_argument("text", help="any text file of a few kilobytes or more")
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("-o", "--output", required=True, help="the checkpoint to write")
    parser.add_argument("--minutes", type=float, default=1.5, help="stop after this time (1.5)")
    parser.add_argument("--steps", type=int, default=float("inf"), help="or after this many steps")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.manual_seed(args.seed)
    model = MODELS[args.model]()
    seen, held = sequences(args.text, 0.0, 0.9, LENGTH), sequences(args.text, 0.9, 1.0, LENGTH)
    step = train(model, load(args.text, 0.0, 0.9), 60 * args.minutes, args.steps)
    print(f"{args.model}: {step} steps,", end=" ")
    print(f"train loss {evaluate(model, *seen):.4f}, held-out loss {evaluate(model, *held):.4f}")
    torch.save({"model": model.state_dict(), "step": step}, args.output)


if __name__ == "__main__":
    main()
