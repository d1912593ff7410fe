"""`esssim measure-network`: the statistics of a saved network of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from esssim.cli.common import AsJson, OutFolder, prepare_folder, print_json
from esssim.cli.measure import _sizes as batch_sizes_of

HELP = """Sharpness, Q_b and critical step size of a saved network of your own.

MODULE:FACTORY is a function of yours without arguments, in a module that Python finds from here. It returns net,
inputs, targets and loss, as a tuple or as a dict with these names: the network, its samples, and the loss of a batch,
such as torch.nn.CrossEntropyLoss(). FILE is a state dict of torch.save or safetensors; no code of it is run.

Extra: esssim[bridge].

Examples:

    esssim measure-network train:build --state model.pt

    esssim measure-network train:build --state model.safetensors --batch-size 8,32 --samples 256 --json"""


def measure_network(
    factory: Annotated[str, typer.Argument(metavar="MODULE:FACTORY", help="A function that makes the network.")],
    state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The saved state; without it the network is measured as made.")
    ] = None,
    batch_size: Annotated[
        list[str] | None,
        typer.Option(metavar="B[,B…]", help="Several with commas, or repeated.", show_default=False),
    ] = None,
    samples: Annotated[int, typer.Option(help="How many samples to measure on.")] = 512,
    batches: Annotated[int, typer.Option(help="How many batches to sample where all are too many.")] = 32,
    rank: Annotated[int, typer.Option(help="Leading directions of Q_b where the exact one is too expensive.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the samples and batches.")] = 0,
    as_json: AsJson = False,
    out: OutFolder = None,
) -> None:
    sizes = batch_sizes_of(batch_size)
    made = _made(factory)
    if out is not None:
        prepare_folder(out)
    from esssim import bridge, store
    from esssim.report.network import as_dict, show_network
    from esssim.report.progress import run_progress

    net, inputs, targets, loss = made
    with run_progress(f"{factory}") as tell:
        found = bridge.measure(
            net, state, inputs, targets, loss=loss, batch_sizes=sizes, n_probe=samples, n_batches=batches, rank=rank,
            seed=seed, progress=tell,
        )  # fmt: skip
    if out is not None:
        store.save(found, out / "network.nc")
        print(f"wrote {out / 'network.nc'}", file=sys.stderr)
    if as_json:
        print_json(as_dict(found))
    else:
        show_network(found)


def _made(factory: str) -> tuple[Any, Any, Any, Any]:
    """What MODULE:FACTORY returns: net, inputs, targets, loss."""
    import importlib

    module, _, name = factory.partition(":")
    if not module or not name:
        raise ValueError(f"factory must be of the form module:function, got {factory!r}")
    sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise
        raise ValueError(f"factory must be in a module that Python finds from here, there is no {module!r}") from error
    except AttributeError as error:
        raise ValueError(f"factory must be a function of {module!r}, it has no {name!r}") from error
    finally:
        sys.path.pop(0)
    found = function()
    if isinstance(found, dict):
        missing = [key for key in ("net", "inputs", "loss") if key not in found]
        if missing:
            raise ValueError(f"factory must return a dict with net, inputs, targets and loss, it lacks {missing[0]!r}")
        return found["net"], found["inputs"], found.get("targets"), found["loss"]
    if not isinstance(found, tuple) or len(found) != 4:
        raise ValueError("factory must return (net, inputs, targets, loss), or a dict with these names")
    return found
