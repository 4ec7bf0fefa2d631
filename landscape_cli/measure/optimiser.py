"""Adam's preconditioner √v̂ + ε, from the optimiser's state that a checkpoint may hold beside the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

MOMENTS = {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}  # of Adam and AdamW, and of no other optimiser
DEPTH = 4  # of tables in tables
MOST = 10_000  # half-finished answers that are followed


@dataclass(frozen=True)
class Adam:
    """√v̂ + ε by parameter name, and β₁. Kingma & Ba 2015, algorithm 1; AMSGrad's v is its maximum."""

    scale: Mapping[str, Tensor]
    beta: float


def adam_in(tree: Any, model: nn.Module) -> tuple[Adam | None, str]:
    """Adam as the checkpoint holds it, or None and why its learning-rate bound cannot be had."""
    found = list(_optimisers(tree))
    if len(found) != 1:
        return None, f"the checkpoint holds {len(found) or 'no'} states of Adam"
    state, groups = found[0]["state"], found[0]["param_groups"]
    if len({(float(g["betas"][0])) for g in groups}) != 1:
        return None, "Adam's groups have different β₁"
    named = _matched(state, groups, model)
    if named is None:
        return None, "Adam's state cannot be matched to the model's parameters without doubt"
    scale = {name: _scale(state[key], group) for name, (key, group) in named.items() if key in state}
    if not all(bool((t.isfinite() & (t > 0)).all()) for t in scale.values()):
        return None, "Adam's √v̂ + ε is not a positive number everywhere"
    return Adam(scale, float(groups[0]["betas"][0])), ""


def _optimisers(tree: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Every state of Adam in what a checkpoint holds."""
    if isinstance(tree, Mapping) and _is_adam(tree):
        yield tree
    elif isinstance(tree, Mapping | list | tuple) and depth < DEPTH:
        for value in tree.values() if isinstance(tree, Mapping) else tree:
            yield from _optimisers(value, depth + 1)


def _is_adam(tree: Mapping[str, Any]) -> bool:
    state, groups = tree.get("state"), tree.get("param_groups")
    if not isinstance(state, Mapping) or not isinstance(groups, list) or not groups or not state:
        return False
    entries = all(isinstance(e, Mapping) and {"step", "exp_avg_sq"} <= e.keys() <= MOMENTS for e in state.values())
    entries = entries and all(_counted(e["step"]) for e in state.values())
    return entries and all(isinstance(g, Mapping) and _is_adam_s(g) for g in groups)


def _counted(step: Any) -> bool:
    """A positive number of steps, as a number or a tensor of one."""
    known = isinstance(step, int | float) or (isinstance(step, Tensor) and step.numel() == 1)
    return known and float(step) > 0


def _is_adam_s(group: Mapping[str, Any]) -> bool:
    """RAdam's moments look the same; its groups know no AMSGrad."""
    betas = group.get("betas")
    numbers = isinstance(betas, tuple | list) and len(betas) == 2 and isinstance(group.get("eps"), float)
    numbers = numbers and all(isinstance(beta, float) and 0 <= beta < 1 for beta in betas or ())
    rectified = "decoupled_weight_decay" in group and "amsgrad" not in group
    keys = group.get("params")
    return numbers and not rectified and isinstance(keys, list) and all(isinstance(key, int | str) for key in keys)


Slot = tuple[Any, Mapping[str, Any]]  # a key of the state, and the group it stands in


def _matched(state: Mapping[Any, Any], groups: Sequence[Mapping[str, Any]], model: nn.Module) -> dict[str, Slot] | None:
    """Which slot of the state is which parameter's, where only one answer fits the order and the shapes.

    An optimiser numbers its parameters group by group; within a group they stand in the model's order, as all or the
    trainable ones of `model.parameters()` do.
    """
    slots = [[(key, group) for key in group["params"]] for group in groups]
    flat = [slot for group in slots for slot in group]
    parameters = dict(model.named_parameters())
    if all(isinstance(group.get("param_names"), list) for group in groups):
        names = [name for group in groups for name in group["param_names"]]
        known = len(names) == len(flat) == len(set(names)) and all(n in parameters for n in names)
        named = dict(zip(names, flat, strict=True)) if known else {}
        fits = all(_fits(slot, parameters[name], state) for name, slot in named.items())
        return named if named and fits else None
    trainable = {name: p for name, p in parameters.items() if p.requires_grad}
    orders = [parameters] if len(trainable) == len(parameters) else [parameters, trainable]
    answers = [answer for order in orders for answer in _interleavings(slots, order, state)]
    return answers[0] if len(answers) == 1 else None


def _interleavings(
    groups: list[list[Slot]], parameters: Mapping[str, Tensor], state: Mapping[Any, Any]
) -> list[dict[str, Slot]]:
    """Up to two ways to deal the parameters, in their order, to the groups."""
    if sum(map(len, groups)) != len(parameters):
        return []
    reached: dict[tuple[int, ...], list[tuple[Any, ...]]] = {(0,) * len(groups): [()]}  # slots taken -> linked answers
    for name, parameter in parameters.items():
        following: dict[tuple[int, ...], list[tuple[Any, ...]]] = {}
        for taken, answers in reached.items():
            for i, slots in enumerate(groups):
                if taken[i] < len(slots) and _fits(slots[taken[i]], parameter, state):
                    after = (*taken[:i], taken[i] + 1, *taken[i + 1 :])
                    longer = [(answer, name, slots[taken[i]]) for answer in answers]
                    following[after] = (following.get(after, []) + longer)[:2]
        reached = following if len(following) <= MOST else {}
    return [dict(_unlinked(answer)) for answers in reached.values() for answer in answers]


def _unlinked(answer: tuple[Any, ...]) -> Iterator[tuple[str, Slot]]:
    while answer:
        answer, name, slot = answer
        yield name, slot


def _fits(slot: Slot, parameter: Tensor, state: Mapping[Any, Any]) -> bool:
    """A parameter that never had a gradient has no state."""
    moment = state[slot[0]]["exp_avg_sq"] if slot[0] in state else parameter
    return isinstance(moment, Tensor) and moment.shape == parameter.shape


def _scale(entry: Mapping[str, Any], group: Mapping[str, Any]) -> Tensor:
    """√(v / (1 - β₂^step)) + ε."""
    moment: Tensor = entry["max_exp_avg_sq" if group.get("amsgrad") and "max_exp_avg_sq" in entry else "exp_avg_sq"]
    corrected = moment.double() / (1 - float(group["betas"][1]) ** float(entry["step"]))
    made: Tensor = corrected.sqrt() + float(group["eps"])
    return made.to(torch.float32)
