"""The settings in which SGD and the stochastic central flow are compared."""

from __future__ import annotations

from esssim.experiments.flow import FlowExperiment

GRID = [FlowExperiment("gaussian-40x20", b, noise) for noise in (0.01, 0.03, 0.1) for b in (1, 2, 8, 40)]
OTHERS = [
    FlowExperiment("gaussian-20x40", 4, 0.03),
    FlowExperiment("spiked-20x40", 4, 0.03),
    FlowExperiment("two-clusters-20x40", 4, 0.03),
    FlowExperiment("gaussian-20x40", 4, 0.03, depth=3),
    FlowExperiment("gaussian-20x40", 4, 0.03, depth=4),
    FlowExperiment("diabetes", 16, 0.03),
    FlowExperiment("noisy-40x20", 8, 0.0, own_targets=True),
]
WIDER = [
    *(FlowExperiment("gaussian-40x20", b, 0.03) for b in (4, 16)),
    *(FlowExperiment("gaussian-40x20", b, 0.003, n_replicas=16) for b in (4, 16, 40)),
    *(FlowExperiment("gaussian-20x40", b, 0.03) for b in (1, 2, 8, 16, 20)),
    FlowExperiment("spiked-40x20", 8, 0.1),
    FlowExperiment("two-clusters-40x20", 8, 0.03),
    FlowExperiment("gaussian-40x20", 2, 0.03, depth=3),
    FlowExperiment("gaussian-40x20", 8, 0.03, depth=4),
    *(FlowExperiment("diabetes", b, 0.03) for b in (1, 64)),
]
# Compared with the next order, which perceptrons need.
PERCEPTRON = FlowExperiment("tanh-30x5", 4, 0.03, follow="mean")
PERCEPTRONS = [
    PERCEPTRON,
    FlowExperiment("tanh-30x5", 1, 0.03, follow="mean", n_replicas=16),
    FlowExperiment("tanh-30x5", 4, 0.003, follow="mean"),
    FlowExperiment("tanh-30x5", 8, 0.1, follow="mean", n_replicas=16, n_steps=100_000),
    FlowExperiment("tanh-30x5", 30, 0.03, follow="mean", n_steps=60_000),
    FlowExperiment("gelu-30x5", 2, 0.01, follow="mean"),
    FlowExperiment("gelu-30x5", 4, 0.03, follow="mean"),
    FlowExperiment("gelu-30x5", 16, 0.03, follow="mean", n_steps=100_000),
]
HEAVY_BALL = [
    FlowExperiment("gaussian-40x20", 2, 0.03, momentum=0.9),
    FlowExperiment("gaussian-20x40", 4, 0.03, depth=3, momentum=0.5),
    FlowExperiment("tanh-30x5", 4, 0.03, momentum=0.9, follow="mean"),
]
# Where eight runs of another seed left open whether the batch sharpness is within 2 %.
UNDECIDED = (FlowExperiment("spiked-40x20", 8, 0.1), PERCEPTRONS[3])
QUICK = {FlowExperiment("gaussian-40x20", 2, 0.03), FlowExperiment("gaussian-20x40", 4, 0.03)}
STRONG = FlowExperiment("gaussian-40x20", 2, 0.2)
WEAK = FlowExperiment("gaussian-40x20", 2, 0.001, n_replicas=48)
# Within 3 % of the wall all the way up; within 1 % on a steeper ramp, 6 % away from it on a slower one.
AT_THE_WALL = FlowExperiment("spiked-40x20", 8, 0.03, n_replicas=16)
STEEPER = FlowExperiment("spiked-40x20", 8, 0.03, n_replicas=16, n_steps=100_000)
SLOWER = FlowExperiment("spiked-40x20", 8, 0.03, n_steps=900_000)
# For the bursts: close to the wall, and in no other claim.
NEAR = [
    *(FlowExperiment("spiked-40x20", b, noise, n_replicas=16) for b, noise in ((2, 0.01), (8, 0.02), (20, 0.03))),
    FlowExperiment("two-clusters-40x20", 8, 0.005, n_replicas=16),
    FlowExperiment("gaussian-20x40", 4, 0.003, n_replicas=16),
    FlowExperiment("spiked-20x40", 4, 0.003, n_replicas=16),
]
DIABETES = FlowExperiment("diabetes", 1, 0.0, own_targets=True)
DIABETES_MEAN = [FlowExperiment("diabetes", b, 0.0, own_targets=True, follow="mean") for b in (64, 1)]
WALL = FlowExperiment("gaussian-40x20", 8, 0.01)
BIAS = FlowExperiment("gaussian-20x40", 4, 0.03)
