"""A measurement leaves everything of the training as it was: random numbers, modes of torch, what its module calls."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from esssim.bridge import checks

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def untouched() -> Iterator[None]:
    """Random numbers of torch, numpy and Python as they were before; inside, derivatives are taken in full
    precision.
    """
    cpu, devices = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.set_rng_state(cpu)
        if devices:
            torch.cuda.set_rng_state_all(devices)
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)


def unwrapped(net: nn.Module) -> nn.Module:
    """The module itself behind `torch.compile` and data-parallel training."""
    while True:
        inner = getattr(net, "_orig_mod", None)
        if isinstance(net, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = net.module
        if not isinstance(inner, nn.Module):
            return net
        net = inner


def measured_copy(net: nn.Module, trained: set[int], kind: torch.dtype) -> tuple[nn.Module, list[str]]:
    """A copy in eval mode, without hooks, in which only the parameters of these ids are trained; what to know of it.

    ValueError where a layer in train mode mixes the samples of a batch.
    """
    for name, layer in net.named_modules():
        checks.check_norm(name, layer)
    own, notes = checks.own_copy(net, kind), []
    hooked = [name or "(the module itself)" for name, layer in own.named_modules() if _unhook(layer)]
    if hooked:
        notes.append(f"Hooks are left out of what is measured; they are on {', '.join(hooked)}.")
    chance = [
        name for name, layer in net.named_modules() if isinstance(layer, checks.DROPOUT) and layer.training and layer.p
    ]
    if chance:
        notes.append(f"Dropout is off where the network is measured: {', '.join(chance)}.")
    names = {id(parameter): name for name, parameter in net.named_parameters() if parameter.requires_grad}
    left = [name for key, name in names.items() if key not in trained]
    for name in left:
        own.get_parameter(name).requires_grad_(False)
    if left:
        notes.append(f"The optimiser does not have these parameters, which count as constants: {', '.join(left)}.")
    return own.eval(), notes


def _unhook(layer: nn.Module) -> bool:
    found = [hooks for hooks in (getattr(layer, name, None) for name in HOOKS) if hooks]
    for hooks in found:
        hooks.clear()
    return bool(found)
