"""ES modules joined into one script: each becomes a function, run in the order of its imports."""

from __future__ import annotations

import re
from pathlib import Path

_IMPORT = re.compile(r'^import \{([^}]*)\} from "([^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:const|function|class|let) )", re.MULTILINE)
_NAME = re.compile(r"^export (?:const|function|class|let) (\w+)([^;\n]*)", re.MULTILINE)
_COMMENT = re.compile(r"^\s*(?://[^\n]*|/\*\*(?:[^*]|\*(?!/))*\*/)\n", re.MULTILINE)
_SECOND_NAME = re.compile(r", ([A-Z_]+) =")


def bundle(entry: Path) -> str:
    """One script of a module and of all that it imports, by `import { … } from "./…";` on one line or several.

    Raises ValueError for a module that exports otherwise than `export const|function|class|let`.
    """
    order: list[Path] = []
    _collect(entry.resolve(), order, ())
    return "\n".join(_wrapped(path, order) for path in order)


def _collect(path: Path, order: list[Path], above: tuple[Path, ...]) -> None:
    if path in above:
        raise ValueError(f"modules must not import each other in a circle: {path.name}")
    if path not in order:
        for imported in _imports(path):
            _collect(imported, order, (*above, path))
        order.append(path)


def _imports(path: Path) -> list[Path]:
    return [(path.parent / name).resolve() for _, name in _IMPORT.findall(path.read_text(encoding="utf-8"))]


def _wrapped(path: Path, order: list[Path]) -> str:
    text = path.read_text(encoding="utf-8")
    names = [name for found in _NAME.finditer(text) for name in (found[1], *_SECOND_NAME.findall(found[2]))]
    imports = [
        f"const {{{' '.join(names.split())}}} = module{order.index((path.parent / source).resolve())};"
        for names, source in _IMPORT.findall(text)
    ]
    body = _EXPORT.sub(r"\1", _IMPORT.sub("", text))
    if re.search(r"^(import|export)\b", body, re.MULTILINE):
        raise ValueError(f"{path.name} must import and export by name, at the beginning of a line")
    # Comments are for those who read the modules; the page does without.
    body = _COMMENT.sub("", body)
    exported = f"return {{ {', '.join(names)} }};" if names else ""
    return f"const module{order.index(path)} = (() => {{\n{chr(10).join(imports)}\n{body.strip()}\n{exported}\n}})();\n"
