"""A network in training, seen as a problem: at each look its parameters are read, and nothing of it is written to."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from esssim import _validate
from esssim._validate import FloatArray
from esssim.bridge import checks
from esssim.bridge.monitor.loss import SampleLoss, sample_loss
from esssim.bridge.monitor.optimiser import Dynamics
from esssim.bridge.monitor.packed import Packed, outputs_of, packed
from esssim.bridge.monitor.probe import Probe
from esssim.bridge.monitor.untouched import measured_copy, unwrapped
from esssim.bridge.problem import Dtype, Loss, TorchProblem


class Subject:
    """problem: a `TorchProblem` of a copy of net in eval mode, θ the parameters that are trained, in their order."""

    def __init__(
        self,
        net: nn.Module,
        samples: Probe,
        loss: object,
        batch_size: int,
        *,
        trained: set[int] | None = None,
        reduction: str | None = None,
        dtype: Dtype = "float64",
    ) -> None:
        if not isinstance(net, nn.Module):
            raise ValueError(f"net must be a torch.nn.Module, got {_validate.shown(net)}")
        self.net = unwrapped(net)
        everyone = {id(parameter) for parameter in self.net.parameters()}
        chosen = everyone if trained is None else trained
        if not chosen & everyone:
            raise ValueError("optimizer must have parameters of net, it has none of them")
        kind = checks.DTYPES[checks.check_dtype(dtype)]
        own, self.notes = measured_copy(self.net, chosen, kind)
        module, x = packed(own, samples.inputs)
        with torch.no_grad():
            found = module(x.to(kind) if x.is_floating_point() else x)
            if not isinstance(found, Tensor):
                module, x = packed(own, (samples.inputs,))
                found = module(x.to(kind) if x.is_floating_point() else x)
        self.loss: SampleLoss = sample_loss(loss, outputs_of(found), samples.targets, batch_size, reduction)
        self.notes += self.loss.notes
        taken: Loss = self.loss.loss
        try:
            self.problem = TorchProblem(module, x, samples.targets, taken, dtype)
        except ValueError as error:
            padded = [
                name for name, layer in self.net.named_modules() if getattr(layer, "padding_idx", None) is not None
            ]
            if "derivatives" not in str(error) or not padded:
                raise
            raise ValueError(
                f"{error}; an embedding with padding_idx ({', '.join(padded)}) gives that row no gradient: mask the "
                "positions that hold it"
            ) from error
        self.notes += self.problem.notes
        self._prefix = "net." if isinstance(module, Packed) else ""
        by_name = dict(self.net.named_parameters())
        self.parameters = [
            by_name[name.removeprefix(self._prefix)] for name, _ in self.problem.module.named_parameters()
        ]

    def look(self) -> FloatArray:
        """θ as it is now, (p,); buffers and frozen parameters of the problem's module are those of net."""
        constants = dict(self.net.named_buffers(remove_duplicate=False)) | dict(
            self.net.named_parameters(remove_duplicate=False)
        )
        for name, buffer in self.problem.module.named_buffers():
            buffer.copy_(constants[name.removeprefix(self._prefix)].detach())
        return torch.cat([part.detach().reshape(-1).cpu().double() for part in self.parameters]).numpy()

    def as_seen_by(self, dynamics: Dynamics, theta: FloatArray) -> tuple[TorchProblem, FloatArray]:
        """The problem and the point in coordinates in which the optimiser's preconditioner is the identity."""
        if dynamics.scale is None:
            return self.problem, theta
        problem, functional = copy.copy(self.problem), copy.copy(self.problem.functional)
        functional.origin = torch.as_tensor(theta, dtype=problem.kind)
        functional.scale = dynamics.scale.to(problem.kind)
        problem.functional = functional
        return problem, 0.0 * theta
