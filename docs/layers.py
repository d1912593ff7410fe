"""Which layers and functions of torch the bridge takes: python docs/layers.py. Needs the extra `bridge`.

It tries each in a small network (esssim/bridge/layer_cases.py) and writes docs/layers.json and .md; `--check` only compares the
page with the numbers in the JSON file.
"""

from __future__ import annotations

import sys

from esssim.bridge.layer_cases import CASES, row, version
from esssim.claims.claim import Row
from esssim.report.pages import keep_measured_page

HEAD = """# Layers and functions of torch

Made by `python docs/layers.py` with torch {version}. Each stands between two linear layers of a small network, 8 samples and squared
error. *Agrees*: every entry of the gradient agrees with differences of the loss, and every entry of the Hessian with differences of
the gradient, near the start; the error is the largest one, of the largest entry. *All at once*: by `torch.func` over all samples;
*one by one*: by plain automatic differentiation for one sample after the other, which is slower. *Refused*: `TorchProblem` says so when
it is built, with the message.

"""


def measure() -> dict[str, list[Row]]:
    return {"torch": [{"version": version()}], "layers": [row(name) for name in CASES]}


def markdown(content: dict[str, list[Row]]) -> str:
    """The whole page. ValueError where the rows are not those of the cases."""
    rows = content["layers"]
    if [found["name"] for found in rows] != list(CASES):
        raise ValueError("the numbers are of other layers")
    lines = ["| layer or function | verdict | route | largest error |", "|---|---|---|---:|"]
    lines += [f"| `{found['name']}` | {found['verdict']} | {found['route']} | ≤ {found['error']:.0e} |" for found in rows
              if found["verdict"] != "refused"]  # fmt: skip
    lines += ["", "Refused:", "", "| layer or function | message |", "|---|---|"]
    lines += [f"| `{found['name']}` | {str(found['message']).replace('|', chr(92) + '|')} |" for found in rows
              if found["verdict"] == "refused"]  # fmt: skip
    return HEAD.format(version=content["torch"][0]["version"]) + "\n".join(lines) + "\n"


def main() -> int:
    return keep_measured_page(__file__, markdown, measure)


if __name__ == "__main__":
    sys.exit(main())
