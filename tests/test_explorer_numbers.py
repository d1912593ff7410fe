"""The explorer's JavaScript computes what Python computes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from esssim.explorer import golden
from tests import node

CHECK = """
import { readFileSync } from "node:fs";
import { check } from "JS/core/check.mjs";
console.log(JSON.stringify(check(JSON.parse(readFileSync(process.argv[1], "utf8")))));
"""


def test_node_computes_the_golden_vectors(golden_vectors: Path) -> None:
    found = node.run(CHECK, golden_vectors)
    # JSON has no infinity: null stands for it.
    wrong = [each for each in found if each["error"] is None or not each["error"] <= each["tolerance"]]
    assert wrong == []
    assert len(found) > 500
    assert {each["name"].split(":")[0] for each in found} == {
        "random", "records", "weights", "ensemble", "batches", "enumeration", "start", "eigenvalues", "statistics", "perron", "flow", "run",
    }  # fmt: skip
    # Exactly zero everywhere would mean that nothing was compared.
    assert sum(each["error"] > 0 for each in found) > 400


def test_a_wrong_expectation_is_seen(golden_vectors: Path, tmp_path: Path) -> None:
    content = json.loads(golden_vectors.read_text())
    wrong = [vector for vector in content["vectors"] if vector["kind"] == "perron"][:5]
    for vector in wrong:
        vector["expected"]["edge"] *= 1 + 1e-9
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps({**content, "vectors": wrong}))
    assert all(each["error"] > each["tolerance"] for each in node.run(CHECK, path))


def test_the_command_needs_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert golden.main([]) == 2
    assert "usage" in capsys.readouterr().err
