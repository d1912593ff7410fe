"""Small torch networks as problems: every statistic, edge and flow of esssim on an `nn.Module`. Extra:
esssim[bridge].
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "esssim.bridge needs PyTorch, which is not installed: pip install 'esssim[bridge]'", name="torch"
    ) from None

from esssim.bridge import data, networks
from esssim.bridge.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from esssim.bridge.gram.enclosure import NetworkEnclosure, mean_square_enclosure
from esssim.bridge.monitor import Monitor
from esssim.bridge.networks import mlp
from esssim.bridge.problem import TorchProblem
from esssim.bridge.saved import load_state, measure
from esssim.bridge.schedule import Piecewise
from esssim.bridge.stability_map import stability_map
from esssim.bridge.subspace import SubspaceSharpness, mean_square_sharpness_in_subspace
from esssim.bridge.train import train

__all__ = [
    "Checkpoint",
    "Monitor",
    "NetworkEnclosure",
    "Piecewise",
    "SubspaceSharpness",
    "TorchProblem",
    "data",
    "load_checkpoint",
    "load_state",
    "mean_square_enclosure",
    "mean_square_sharpness_in_subspace",
    "measure",
    "mlp",
    "networks",
    "save_checkpoint",
    "stability_map",
    "train",
]
