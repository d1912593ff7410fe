"""ES modules joined into one script: each becomes a function, run in the order of its imports."""

from __future__ import annotations

import re
from pathlib import Path

_IMPORT = re.compile(r'^import \{([^}]*)\} from "([^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:const|function|class|let) )", re.MULTILINE)
_NAME = re.compile(r"^export (?:const|function|class|let) (\w+)", re.MULTILINE)
_COMMENT = re.compile(r"^\s*(?://[^\n]*|/\*\*(?:[^*]|\*(?!/))*\*/)\n", re.MULTILINE)


def bundle(entry: Path) -> str:
    """One script of a module and of all that it imports, by `import { … } from "./…";` on one line or several.

    Raises ValueError for a module that exports otherwise than by `export const|function|class|let`, one name each, and
    for an imported name that is not exported.
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
    names, imports = _NAME.findall(text), []
    for listed, source in _IMPORT.findall(text):
        module = (path.parent / source).resolve()
        wanted = [name.strip() for name in listed.split(",") if name.strip()]
        missing = set(wanted) - set(_NAME.findall(module.read_text(encoding="utf-8")))
        if missing:
            raise ValueError(f"{path.name} imports {', '.join(sorted(missing))}, which {module.name} does not export")
        imports.append(f"const {{ {', '.join(wanted)} }} = module{order.index(module)};")
    body = _EXPORT.sub(r"\1", _IMPORT.sub("", text))
    if re.search(r"^(import|export)\b", body, re.MULTILINE):
        raise ValueError(f"{path.name} must import and export by name, at the beginning of a line")
    # Comments are for those who read the modules; the page does without.
    body = _COMMENT.sub("", body)
    exported = f"return {{ {', '.join(names)} }};" if names else ""
    return f"const module{order.index(path)} = (() => {{\n{chr(10).join(imports)}\n{body.strip()}\n{exported}\n}})();\n"
