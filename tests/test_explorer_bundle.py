"""The bundler joins modules in the order of their imports, and refuses what it does not understand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from esssim import explorer
from esssim.explorer.bundle import bundle
from tests import node

MODULES = sorted((Path(explorer.__file__).parent / "js").rglob("*.mjs"))


def write(folder: Path, **modules: str) -> Path:
    for name, text in modules.items():
        (folder / f"{name}.mjs").write_text(text, encoding="utf-8")
    return folder / "main.mjs"


def test_modules_are_joined_in_the_order_of_their_imports(tmp_path: Path) -> None:
    entry = write(
        tmp_path,
        one="// a comment\nexport const ONE = 1;\nexport const TWO = 2;\n",
        two='import { ONE } from "./one.mjs";\n/** Doubles. */\nexport function double(x) {\n  return 2 * x * ONE;\n}\n',
        main='import { TWO } from "./one.mjs";\nimport { double } from "./two.mjs";\nconsole.log(JSON.stringify(double(TWO)));\n',
    )
    script = bundle(entry)
    assert "comment" not in script
    assert "Doubles" not in script
    assert node.run(script) == 4


def test_a_circle_and_a_default_export_are_refused(tmp_path: Path) -> None:
    circle = write(
        tmp_path, main='import { a } from "./a.mjs";\n', a='import { b } from "./b.mjs";\nexport const a = 1;\n',
        b='import { a } from "./a.mjs";\nexport const b = 1;\n',
    )  # fmt: skip
    with pytest.raises(ValueError, match="circle"):
        bundle(circle)
    with pytest.raises(ValueError, match=r"main\.mjs imports b, which a\.mjs does not export"):
        bundle(write(tmp_path, main='import { b } from "./a.mjs";\n', a="export const a = 1,\n  b = 2;\n"))
    with pytest.raises(ValueError, match="by name"):
        bundle(write(tmp_path, main="export default 1;\n"))


def test_every_module_is_in_the_page_and_needs_nothing_from_elsewhere() -> None:
    names = {path.name for path in MODULES}
    imported = {
        Path(found).name
        for path in MODULES
        for found in re.findall(r'from "([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert names - {"main.mjs"} == imported
    assert all(len(line) <= 120 for path in MODULES for line in path.read_text(encoding="utf-8").splitlines())
