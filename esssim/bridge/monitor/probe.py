"""The samples that a monitor measures on, from tensors, a Dataset or a DataLoader, without disturbing any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate

from esssim import _validate

LABELS = ("labels", "label", "targets", "target", "y")


@dataclass(frozen=True)
class Probe:
    """Inputs and targets of n samples, chosen among n_train; batch_size: that of the DataLoader, where there was
    one.
    """

    inputs: Any
    targets: Tensor
    n_train: int
    batch_size: int | None = None

    @property
    def n_samples(self) -> int:
        """n."""
        return len(self.targets)


def probe(inputs: Any, targets: Any, n_probe: int | None, seed: int) -> Probe:
    """n_probe samples drawn from `seed`, all of them for None or where there are no more.

    inputs: a tensor or an array (n, ...), a tuple or a dict of them, each with targets (n, ...); or a Dataset or
    DataLoader of (inputs, targets) or of dicts with labels, without targets. A DataLoader is asked for its Dataset
    only: iterating it would draw random numbers of the training.
    """
    if targets is None:
        return _of_dataset(inputs, n_probe, seed)
    own = _tensors(inputs)
    labels = torch.as_tensor(targets).detach().cpu()
    lengths = {
        len(part) for part in (own.values() if isinstance(own, dict) else own if isinstance(own, tuple) else [own])
    }
    if labels.ndim == 0 or lengths != {len(labels)}:
        raise ValueError(
            f"inputs and targets must have a row for each sample, got {sorted(lengths)} rows of inputs and "
            f"targets of shape {tuple(labels.shape)}"
        )
    rows = torch.as_tensor(_chosen(len(labels), n_probe, seed))
    return Probe(_mapped(own, lambda part: part[rows]), labels[rows], len(labels))


def _of_dataset(source: Any, n_probe: int | None, seed: int) -> Probe:
    collate: Callable[[list[Any]], Any] = default_collate
    dataset, batch_size = source, None
    if isinstance(source, DataLoader):
        dataset, batch_size = source.dataset, source.batch_size
        collate = source.collate_fn
    if isinstance(dataset, (Tensor, np.ndarray)):
        raise ValueError("targets must be given where inputs are a tensor or an array, got none")
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise ValueError(
            "inputs must be tensors, a Dataset with a length, or a DataLoader of one, got "
            f"{type(dataset).__name__}, which can only be read once: give some of its samples as tensors"
        )
    rows = _chosen(len(dataset), n_probe, seed)
    found = collate([dataset[int(row)] for row in rows])
    if isinstance(found, Mapping):
        name = next((name for name in LABELS if name in found), None)
        if name is None:
            raise ValueError(
                f"inputs must be samples with one of {', '.join(LABELS)}, got {', '.join(map(str, found))}"
            )
        rest = {key: value for key, value in found.items() if key != name}
        return Probe(_tensors(rest), found[name].detach().cpu(), len(dataset), batch_size)
    if not isinstance(found, Sequence) or len(found) != 2:
        raise ValueError(f"inputs must be samples of the form (inputs, target), got {_validate.shown(found)}")
    return Probe(_tensors(found[0]), found[1].detach().cpu(), len(dataset), batch_size)


def _chosen(n: int, n_probe: int | None, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    if n_probe is None or _validate.integer("n_probe", n_probe, 2) >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).permutation(n)[:n_probe])


def _tensors(inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return {key: torch.as_tensor(value).detach().cpu() for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)) and any(isinstance(part, (Tensor, np.ndarray)) for part in inputs):
        return tuple(torch.as_tensor(part).detach().cpu() for part in inputs)
    return torch.as_tensor(np.asarray(inputs) if not isinstance(inputs, Tensor) else inputs).detach().cpu()


def _mapped(inputs: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(inputs, dict):
        return {key: function(value) for key, value in inputs.items()}
    return tuple(map(function, inputs)) if isinstance(inputs, tuple) else function(inputs)
