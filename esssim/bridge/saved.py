"""A saved state of a network: its statistics for several batch sizes, read without running code of the file."""

from __future__ import annotations

import copy
import os
import pickle
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray
from torch import Tensor, nn

from esssim import _validate
from esssim._errors import Undefined
from esssim._progress import Progress, shown
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.bridge.leading import RANK
from esssim.bridge.monitor.enclosure import probed_enclosure
from esssim.bridge.monitor.monitor import RECORD
from esssim.bridge.monitor.probe import probe
from esssim.bridge.monitor.subject import Subject
from esssim.bridge.monitor.untouched import untouched
from esssim.bridge.problem import Dtype, TorchProblem
from esssim.bridge.recording import measure as measure_record
from esssim.sampling import WithoutReplacement
from esssim.simulation.recorder import check_names
from esssim.statistics.table import MEAN_SQUARE

BATCH_SIZES = (1, 2, 4, 8, 16, 32)


def measure(
    net: nn.Module,
    state: Any,
    inputs: Any,
    targets: Any = None,
    *,
    loss: Any,
    batch_sizes: Sequence[int] | None = None,
    record: Sequence[str] = RECORD,
    n_probe: int | None = 512,
    n_batches: int = 32,
    rank: int = RANK,
    reduction: str | None = None,
    dtype: Dtype = "float64",
    seed: int = 0,
    progress: Progress = False,
) -> xarray.Dataset:
    """The statistics of a network in a saved state for each batch size (default 1, 2, 4, …, 32 and n).

    state: a state dict, a module like net, the vector θ of `named_parameters` (p,), a file that `load_state` reads, or
    None for net as it is. The other arguments are those of `Monitor`. Returns a Dataset with dim batch_size and the
    names of records; sampled values with their standard error, Q_b with bounds, and `critical_step_size` = 2/Q_b. net
    itself stays as it is. Raises ValueError for a state that does not fit.
    """
    with untouched(), one_blas_thread():
        samples = probe(inputs, targets, n_probe, _validate.integer("seed", seed, 0))
        n = samples.n_samples
        sizes = sorted({*(b for b in BATCH_SIZES if b < n), n} if batch_sizes is None else set(batch_sizes))
        for b in sizes:
            _validate.integer("batch_sizes", b, 1, n, "the number of samples")
        own = with_state(net, state)
        subject = Subject(own, samples, loss, 1, reduction=reduction, dtype=dtype)
        names = [name for name in check_names(record, subject.problem) if name != "theta"]
        theta = subject.look()
        rows = []
        with shown(progress, len(sizes), "batch sizes") as done:
            for b in sizes:
                if subject.loss.reduction == "sum":  # a sum over a batch grows with it
                    subject = Subject(own, samples, loss, b, reduction=reduction, dtype=dtype)
                rows.append(_row(subject.problem, theta, b, names, n_batches, rank, seed))
                done(1)
    data = {name: ("batch_size", np.array([row[name] for row in rows])) for name in rows[0]}
    described = {
        "n_samples": n, "n_train": samples.n_train, "n_params": subject.problem.n_params, "network": type(net).__name__,
        "n_outputs": subject.problem.n_outputs, "reduction": subject.loss.reduction, "n_batches": n_batches,
        "rank": rank, "seed": seed, "scheme": "WithoutReplacement", "notes": list(subject.notes),
    }  # fmt: skip
    return xarray.Dataset(data, {"batch_size": sizes}, described)


def _row(
    problem: TorchProblem, theta: FloatArray, b: int, names: list[str], n_batches: int, rank: int, seed: int
) -> dict[str, float]:
    sampling, stream = WithoutReplacement(b), np.random.SeedSequence([seed, b])
    row = measure_record(
        problem, theta, sampling, [name for name in names if name != MEAN_SQUARE], n_batches, stream, rank
    )
    if MEAN_SQUARE in names:
        try:
            found = probed_enclosure(problem, theta, sampling, rank)
        except Undefined:
            return row | {MEAN_SQUARE: np.nan}
        row |= {MEAN_SQUARE: found.value, f"{MEAN_SQUARE}_lower": found.lower, f"{MEAN_SQUARE}_upper": found.upper}
        row["critical_step_size"] = 2 / found.value if found.value > 0 else np.inf
    return row


def with_state(net: nn.Module, state: Any) -> nn.Module:
    """A copy of net in a state: a state dict, a module, θ as a vector, a file, or None for its own."""
    _validate.instance("net", net, nn.Module, "nn.Linear(3, 1)")
    own = copy.deepcopy(net)
    if state is None:
        return own
    if isinstance(state, (str, os.PathLike)):
        state = load_state(state)
    if isinstance(state, nn.Module):
        state = state.state_dict()
    if isinstance(state, Mapping):
        try:
            own.load_state_dict(_without_prefix(state, own))
        except RuntimeError as error:
            raise ValueError(f"state must fit net: {' '.join(str(error).split())}") from error
        return own
    vector = torch.as_tensor(state).detach().reshape(-1)
    size = sum(parameter.numel() for parameter in own.parameters())
    if len(vector) != size:
        raise ValueError(f"state must have the {size} numbers of net's parameters, got {len(vector)}")
    torch.nn.utils.vector_to_parameters(vector.to(next(own.parameters())), own.parameters())
    return own


def _without_prefix(state: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The state without the name under which a wrapper held net, such as "model." or "_orig_mod."."""
    names = set(net.state_dict())
    prefixes = {key[: -len(name)] for key in state for name in names if key.endswith(f".{name}")}
    for prefix in sorted(prefixes, key=len):
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if not names & set(state) and set(own) == names:
            return own
    return dict(state)


def load_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The state dict in a file of `torch.save` or safetensors, without running code of the file.

    A checkpoint that holds a state dict under "state_dict" or "model" is taken apart. Raises ValueError for a missing
    file, one that would have to be unpickled, and one without tensors.
    """
    file = _validate.path("path", path)
    if not file.is_file():
        raise ValueError(f"path must name a saved state, there is no file {str(file)!r}")
    if file.suffix == ".safetensors":
        try:
            from safetensors.torch import load_file
        except ModuleNotFoundError as error:
            raise ValueError(
                f"path {str(file)!r} needs a package that is not installed: pip install safetensors"
            ) from error
        try:
            return dict(load_file(file))
        except Exception as error:  # safetensors has errors of its own
            raise ValueError(f"path must name a saved state, {str(file)!r} is none: {error}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with a file is said below
            found = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"path must name a state dict that can be read without running code of the file, got {str(file)!r}: save "
            "net.state_dict() by torch.save, or safetensors"
        ) from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"path must name a state dict, {str(file)!r} holds {type(found).__name__}")
    return dict(found)
