"""Claims about small torch networks: which statistic settles at 2/η in which of them, and where that breaks."""

from __future__ import annotations

from typing import Any

from esssim.claims.claim import Cell, Expectation, Measurement, Outcome, Predicted, Row, around
from esssim.claims.declare import claim
from esssim.claims.levels import decide_level, settles
from esssim.claims.ramp import FAR, from_prototype
from esssim.experiments.networks import RECORDED, TOLERANCE, NetworkExperiment, described, run_network
from esssim.experiments.trajectories import mean_trajectory
from esssim.papers import COHEN, MOMENTUM, OURS
from esssim.settling import MINIMUM_ESS, Level, level
from esssim.statistics.table import MEAN_SQUARE, STATISTICS

EXTRA = "bridge"

# Batch size -> η and steps of the prototypes.
DIGITS = {
    4: (0.15, 40_000),
    8: (0.3, 40_000),
    16: (0.45, 40_000),
    32: (0.5, 30_000),
    64: (0.55, 20_000),
    512: (0.5, 6000),
}
# What those prototypes read near the end of one run; `from_prototype` turns them into predictions.
PROTOTYPES: dict[str, dict[int, float]] = {
    "sharpness": {4: 0.41, 16: 0.80, 32: 0.92, 64: 1.00, 512: 1.01},
    "minibatch_sharpness": {4: 0.96, 16: 1.40, 32: 1.36, 64: 1.28, 512: 1.01},
    "batch_sharpness": {4: 0.65, 16: 0.91, 32: 0.86, 64: 0.89},
    "batch_sharpness_parts": {4: 0.66, 16: 0.91, 32: 0.87, 64: 0.90},
    "interaction_aware_sharpness": {},
    MEAN_SQUARE: {4: 0.70, 16: 0.92, 32: 0.98, 64: 1.02, 512: 1.01},
}
MAIN = "digits-tanh-32"
# One run that is short as it is, and the statistics of which it holds enough independent records.
QUICK = {("digits-gelu-16", 32, name) for name in ("minibatch_sharpness", "interaction_aware_sharpness")}

# Initialisations and records of each. A run that rests on a solution counts once or twice however often it is recorded,
# and the spread between solutions decides: it gets many initialisations and few records. All in all they take 20
# minutes on two cores. They were set from effective samples and widths of intervals, never from levels.
USUAL, MANY, AT_REST = (12, 24), (32, 24), (32, 12)
REPLICAS: dict[tuple[str, int], tuple[int, int]] = {
    ("digits-tanh-32", 4): AT_REST,
    ("digits-tanh-32", 8): (16, 24),
    ("digits-tanh-32", 16): (12, 24),
    ("digits-tanh-32", 32): (8, 48),
    ("digits-tanh-32", 64): (8, 48),
    ("digits-tanh-32", 512): (24, 24),
    ("digits-tanh-16-16", 8): AT_REST,
    ("digits-tanh-16-16", 32): AT_REST,
    ("digits-tanh-16-16", 4): AT_REST,
    ("digits-tanh-16-16", 16): AT_REST,
    ("digits-tanh-16-16", 64): AT_REST,
    ("digits-tanh-16-16", 128): AT_REST,
    ("digits-gelu-16", 8): (16, 24),
    ("digits-gelu-16", 128): MANY,
    ("digits-relu-16", 32): MANY,
    ("digits-relu-16", 128): MANY,
    ("digits-cross-entropy-16", 8): AT_REST,
    ("digits-cross-entropy-16", 32): AT_REST,
    ("digits-cross-entropy-16", 4): AT_REST,
    ("digits-cross-entropy-16", 16): AT_REST,
    ("digits-cross-entropy-16", 64): AT_REST,
    ("digits-cross-entropy-16", 128): AT_REST,
    ("digits-deep-16-16-16-16", 32): AT_REST,
    ("digits-label-noise-16", 32): (16, 24),
    ("digits-ramp-16", 8): AT_REST,
    ("digits-ramp-16", 32): AT_REST,
}

# Networks that rest early.
RESTING = ("digits-tanh-16-16", "digits-deep-16-16-16-16")

# Smaller networks, on a quarter of the samples.
OTHERS: dict[str, dict[str, object]] = {
    "digits-tanh-16-16": {"hidden": (16, 16), "step_size": 0.4},
    "digits-gelu-16": {"activation": "gelu"},
    "digits-relu-16": {"activation": "relu"},
    "digits-cross-entropy-16": {"loss": "cross_entropy", "step_size": 1.0},
    "digits-wide-96": {"hidden": (96,)},
    "digits-deep-16-16-16-16": {"hidden": (16, 16, 16, 16), "gain": 1.0},
    "digits-label-noise-16": {"label_noise": 0.3},
    "digits-ramp-16": {"rise": 1.5},
}
SIZES: dict[str, tuple[int, ...]] = {name: (4, 8, 16, 32, 64, 128) for name in OTHERS} | {
    "digits-wide-96": (32,),
    "digits-deep-16-16-16-16": (32,),
    "digits-label-noise-16": (32,),
    "digits-ramp-16": (8, 32),
}
# At the η of the common rule, or a rise to twice of it, these diverge or never settle.
CHOSEN_LATER = ("digits-tanh-16-16", "digits-cross-entropy-16", "digits-ramp-16")


def _stated(usual: Expectation, **others: Expectation) -> dict[str, Expectation]:
    return dict.fromkeys(RECORDED, usual) | others


# Stated before any of these networks was run, from the main table and from what each paper says.
STATED: dict[int, dict[str, Expectation]] = {
    8: _stated("refuted"),
    32: _stated("refuted", sharpness="open", mean_square_sharpness_gauss_newton="holds"),
    128: _stated("open", sharpness="holds", minibatch_sharpness="holds", mean_square_sharpness_gauss_newton="holds"),
}
# Stated after the sizes above, before any run of these.
STATED |= {
    4: _stated("refuted"),
    16: _stated("refuted", mean_square_sharpness_gauss_newton="open"),
    64: _stated("open", minibatch_sharpness="refuted", mean_square_sharpness_gauss_newton="holds"),
}
STATED_LATER = (4, 16, 64)
NEVER_MEASURED = "no prediction: never measured before"
LEVELS_IN_WORDS: dict[Expectation, str] = {"holds": "1", "refuted": "off the edge by more than 5 %"}


def experiment(setting: str, b: int) -> NetworkExperiment:
    """The run behind the levels of a setting."""
    options: dict[str, Any] = dict(zip(("n_replicas", "n_records"), REPLICAS.get((setting, b), USUAL), strict=True))
    if setting == MAIN:
        eta, n_steps = DIGITS[b]
        return NetworkExperiment(b, eta, n_steps=n_steps, after=n_steps // 4, n_samples=512, hidden=(32,), **options)
    options |= OTHERS[setting]
    # What is at rest stays there: longer runs would only repeat themselves.
    n_steps = 10_000 if "cross-entropy" in setting else 20_000 if b >= 64 else 30_000 if setting in RESTING else 60_000
    options |= {"n_steps": n_steps, "after": n_steps // 4}
    if (setting, b) == ("digits-ramp-16", 8):
        options["rise"] = 1.2
    return NetworkExperiment(b, **options)


def predicted_level(setting: str, b: int, statistic: str) -> Predicted:
    """What we predict of a level, and why."""
    if setting == MAIN:
        return from_prototype(PROTOTYPES[statistic].get(b), far=FAR - 1e-9)
    if setting in CHOSEN_LATER:
        return Predicted.none("no prediction: runs at the step size that was set first diverged or never settled")
    if setting == "digits-label-noise-16":
        return Predicted.refuted("below the edge, stated before the first run of this network")
    expected = STATED[b][statistic]
    if expected == "open":
        return Predicted.none(NEVER_MEASURED)
    what = "at this batch size" if b in STATED_LATER else "of this network"
    return Predicted(expected, f"{LEVELS_IN_WORDS[expected]}, stated before the first run {what}")


def network_level(run: NetworkExperiment, statistic: str, target: float = 1.0) -> Level:
    """Where (η/2)·statistic settles in a run."""
    return level(
        run_network(run), statistic, after=run.after, tolerance=TOLERANCE * target, target=target, replicas_agree=False
    )


def decide(run: NetworkExperiment, statistic: str, target: float = 1.0) -> Measurement:
    """Whether a statistic of a run settles at `target` times 2/η."""
    rows = mean_trajectory(run_network(run), statistic, run.after)
    return decide_level(network_level(run, statistic, target), rows, "runs")


def in_words(run: NetworkExperiment) -> str:
    """What distinguishes the run of a network from others, but for its batch size."""
    noise = f", label noise {run.label_noise:g}" if run.label_noise else ""
    return noise + (f", η rising {run.rise:g}-fold" if run.rise != 1.0 else "")


def cell_of(setting: str, b: int, statistic: str) -> Cell:
    """Where a level of a network stands in the tables."""
    run = experiment(setting, b)
    table = f"{setting}: {described(run)['network']}{in_words(run)}"
    return Cell(table, STATISTICS[statistic].heading, b, b == run.n_samples)


@claim(
    id=lambda setting, b, statistic: f"network-{RECORDED[statistic]}-settles/{setting}/b={b}",
    states=lambda setting, b, statistic: f"{STATISTICS[statistic].heading} settles at 2/η",
    where=lambda setting, b, statistic: (
        f"{described(experiment(setting, b))['network']}, b = {b}{in_words(experiment(setting, b))}"
    ),
    source=lambda setting, b, statistic: STATISTICS[statistic].source,
    source_predicts="(η/2)·statistic = 1",
    we_predict=predicted_level,
    method=lambda setting, b, statistic: described(experiment(setting, b))["protocol"],
    tolerance=TOLERANCE,
    cell=cell_of,
    quick=lambda setting, b, statistic: (setting, b, statistic) in QUICK,
    extra=EXTRA,
    experiment=lambda setting, b, statistic, quick: experiment(setting, b),
    over=[
        {"setting": setting, "b": b, "statistic": statistic}
        for setting, sizes in ({MAIN: tuple(DIGITS)} | SIZES).items()
        for b in sizes
        for statistic in RECORDED
    ],
    formula=lambda setting, b, statistic: settles(statistic),
    accepts=around(1, TOLERANCE),
    about=lambda setting, b, statistic: (statistic,),
    stated=lambda setting, b, statistic: "2026-11-28" if b in STATED_LATER and setting != MAIN else "2026-11-24",
)
def network_statistic_settles(*, setting: str, b: int, statistic: str, quick: bool) -> Measurement:
    return decide(experiment(setting, b), statistic)


@claim(
    id=f"network-below-the-edge/{MAIN}/b=4",
    states="MiniBS reads 1 ± 0.1 in a run that is below every other edge: alone it does not tell the edge",
    where="b = 4, η = 0.15",
    source=OURS,
    source_predicts="MiniBS 0.96, every other statistic at most 0.70",
    we_predict=Predicted.holds("MiniBS 0.96, every other statistic at most 0.70 in prototypes"),
    method=described(experiment(MAIN, 4))["protocol"] + "; every other interval must end below 0.95",
    tolerance=0.1,
    quick=False,
    extra=EXTRA,
    experiment=lambda quick: experiment(MAIN, 4),
    formula=r"\left|\frac{\eta}{2}M_b-1\right|\le 0.1\quad\mathrm{while}\quad\frac{\eta}{2}Q_b<0.95",
    accepts=around(1, 0.1),
    about=tuple(RECORDED),
    stated="2026-11-24",
)
def minibs_alone_does_not_tell(*, quick: bool) -> Measurement:
    run = experiment(MAIN, 4)
    levels = {name: network_level(run, name) for name in RECORDED}
    rows: list[Row] = [
        {"statistic": RECORDED[name], "level": lv.value, "lower": lv.interval[0], "upper": lv.interval[1],
         "ess": lv.ess} for name, lv in levels.items()
    ]  # fmt: skip
    mini, others = (
        levels["minibatch_sharpness"],
        [lv for name, lv in levels.items() if name != "minibatch_sharpness"],
    )
    near = mini.interval[0] >= 0.9 and mini.interval[1] <= 1.1
    off = mini.interval[1] < 0.9 or mini.interval[0] > 1.1
    below = all(lv.interval[1] < 1 - TOLERANCE for lv in others)
    reached = any(lv.interval[0] > 1 - TOLERANCE for lv in others)
    verdict: Outcome = "holds" if near and below else "refuted" if off or reached else "inconclusive"
    words = ", ".join(f"{RECORDED[name]} {lv.value:.2f}" for name, lv in levels.items())
    ess = min(lv.ess for lv in levels.values())
    if few := ess < MINIMUM_ESS:
        verdict, words = "inconclusive", f"fewer than {MINIMUM_ESS:.0f} effective samples; {words}"
    values = {name: lv.value for name, lv in levels.items()}
    return Measurement(verdict, words, mini.value, mini.interval, ess, rows, values, few)


BETA = 0.9


def heavy_ball(b: int, step_size: float) -> NetworkExperiment:
    """The run behind the levels of heavy ball."""
    n_steps, n_replicas = (20_000, 16) if b == 128 else (60_000, 36)
    return NetworkExperiment(
        b, step_size, n_steps=n_steps, after=n_steps // 4, momentum=BETA, n_replicas=n_replicas, n_records=24
    )


@claim(
    id=lambda end, b, step_size, target, statistic: f"network-heavy-ball/{end}-{RECORDED[statistic]}/b={b}",
    states=lambda end, b, step_size, target, statistic: (
        f"With heavy ball, β = 0.9, {STATISTICS[statistic].heading} settles at "
        f"{'2(1+β)/η' if end == 'full-batch' else '2(1−β)/η'}"
    ),
    where=lambda end, b, step_size, target, statistic: f"{described(heavy_ball(b, step_size))['network']}, b = {b}",
    source=lambda end, b, step_size, target, statistic: COHEN if end == "full-batch" else MOMENTUM,
    source_predicts=lambda end, b, step_size, target, statistic: f"(η/2)·statistic = {target:g}",
    we_predict=lambda end, b, step_size, target, statistic: Predicted.none(
        "no prediction: runs at the step size that was set first diverged" if end == "full-batch" else NEVER_MEASURED
    ),
    method=lambda end, b, step_size, target, statistic: (
        described(heavy_ball(b, step_size))["protocol"] + f"; the tolerance is 5 % of {target:g}"
    ),
    tolerance=lambda end, b, step_size, target, statistic: TOLERANCE * target,
    quick=False,
    extra=EXTRA,
    experiment=lambda end, b, step_size, target, statistic, quick: heavy_ball(b, step_size),
    over=[
        {"end": "full-batch", "b": 128, "step_size": 0.4, "target": 1 + BETA, "statistic": "sharpness"},
        *(
            {"end": "small-batch", "b": 8, "step_size": 0.05, "target": 1 - BETA, "statistic": statistic}
            for statistic in ("batch_sharpness", "minibatch_sharpness", MEAN_SQUARE)
        ),
    ],
    formula=lambda end, b, step_size, target, statistic: (
        STATISTICS[statistic].latex
        + (r"\ \to\ \frac{2(1+\beta)}{\eta}" if end == "full-batch" else r"\ \to\ \frac{2(1-\beta)}{\eta}")
    ),
    accepts=lambda end, b, step_size, target, statistic: around(target, TOLERANCE * target),
    about=lambda end, b, step_size, target, statistic: (statistic,),
    stated="2026-11-24",
)
def heavy_ball_settles(
    *, end: str, b: int, step_size: float, target: float, statistic: str, quick: bool
) -> Measurement:
    return decide(heavy_ball(b, step_size), statistic, target)
