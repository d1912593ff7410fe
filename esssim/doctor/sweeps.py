"""Small sweeps that the checks of files and processes share."""

from __future__ import annotations

CONFIG = """\
[problem]
kind = "diagonal_linear_network"

[data]
kind = "gaussian"
n_samples = 12
n_features = 5
seed = 3
targets = "interpolating"

[sampling]
batch_size = 3

[dynamics]
step_size = {step_size}
n_steps = {n_steps}
n_replicas = 2
label_noise = 1e-3

[records]
statistics = ["loss", "sharpness", "minibatch_sharpness"]
n_records = 13
n_batches = 8

[grid]
"dynamics.seed" = {{ from = 1, to = {n_seeds} }}
"sampling.batch_size" = [1, 2, 3, 6, 12]

[sweep]
measures = {measures}
"""


RAMP = '{ from = 0.8, to = 1.6, unit = "first edge" }'


def small_sweep(
    n_cells: int, n_steps: int = 2000, measures: tuple[str, ...] = ("levels", "records"), step_size: str = RAMP
) -> str:
    """TOML of a sweep of so many cells, a multiple of five."""
    return CONFIG.format(n_seeds=n_cells // 5, n_steps=n_steps, measures=list(measures), step_size=step_size)
