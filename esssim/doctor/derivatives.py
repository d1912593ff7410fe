"""(p): Hessian–vector products of torch layers against finite differences."""

from __future__ import annotations

from esssim._rows import Row
from esssim.doctor.check import Finding, at_least, at_most, check, exactly, steps

BOUND = 1e-6
PART = ("nn.Tanh", "nn.Conv2d", "nn.LSTM", "nn.MultiheadAttention", "nn.LayerNorm", "weight_norm", "F.dropout")
LEAST = 25


@check(
    key="p",
    title="Hessian–vector products of torch layers are right, or refused",
    seconds=(10.0, 120.0),
    extra="bridge",
)
def derivatives(quick: bool) -> Finding:
    """H v of more than 70 layers and functions in a small network, along three random directions, against differences
    of the gradient. What `TorchProblem` refuses is built once more without its check: the layers whose H v torch gets
    silently wrong (by more than 10⁻³) must be among the refused.
    """
    from esssim.bridge.layer_cases import CASES, product_error, row, unchecked_product_error

    names = PART if quick else tuple(CASES)
    rows, failures, worst = list[Row](), list[str](), 0.0
    accepted = silently_wrong = wrong_and_accepted = 0
    for name in steps(names):
        error, unchecked = product_error(name), unchecked_product_error(name)
        wrong = unchecked is not None and not unchecked <= 1e-3
        silently_wrong += wrong
        if error is None:
            message = str(row(name).get("message", ""))
            rows.append({"layer": name, "verdict": "refused", "torch is silently wrong": wrong, "message": message})
            continue
        accepted += 1
        wrong_and_accepted += wrong
        worst = max(worst, error)
        rows.append({"layer": name, "verdict": "accepted", "torch is silently wrong": wrong, "error": error})
        if not error <= BOUND:
            failures.append(name)
    figure = {
        "largest_error_of_accepted": worst,
        "accepted_although_wrong": wrong_and_accepted,
        "layers_accepted": accepted,
        "layers_refused": len(names) - accepted,
        "layers_that_torch_gets_silently_wrong": silently_wrong,
    }
    wanted = {"largest_error_of_accepted": at_most(BOUND), "accepted_although_wrong": exactly(0)}
    if not quick:
        wanted["layers_accepted"] = at_least(LEAST)
    return Finding(figure, wanted, rows, failures)
