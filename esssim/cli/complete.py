"""What the shell offers after Tab. Nothing that measures is imported."""

from __future__ import annotations

import os


def claims(incomplete: str) -> list[str]:
    """Families, then what follows them: ids one part at a time, so that a list stays short."""
    from esssim.claims import index

    before = _before_the_equals_sign(incomplete)
    word = before + incomplete.lstrip("=") if before else incomplete
    depth = word.count("/") + 1
    known = index.ids(stale=True)
    found = list(dict.fromkeys("/".join(each.split("/")[:depth]) for each in known if each.startswith(word)))
    if len(found) == 1 and found[0] not in known:  # nothing to choose from: on to the next part
        found += [each for each in known if each.startswith(found[0] + "/")]
    return [each.removeprefix(before) for each in found]


def _before_the_equals_sign(incomplete: str) -> str:
    """What bash takes for words of their own in "minibs-settles/diabetes/b=4": the part up to the equals sign."""
    words = os.environ.get("COMP_WORDS", "").split()[: int(os.environ.get("COMP_CWORD") or 0) + 1]
    if incomplete != "=":
        words = words[:-1] if incomplete else words
    return f"{words[-2]}=" if len(words) > 1 and words[-1] == "=" else ""


def figures(incomplete: str) -> list[str]:
    from esssim._scripts import scripts

    return [name for name in scripts().FIGURES if name.startswith(incomplete)]


def tables(incomplete: str) -> list[str]:
    """The bundled tables; files are offered by the shell's own rules where none begins so."""
    from glob import glob

    from esssim.cli.measure import FILES, SIZES

    files = [path for suffix in FILES for path in glob(f"{incomplete}*{suffix}")]
    folders = glob(f"{incomplete}*/") if incomplete else []
    return [name for name in SIZES if name.startswith(incomplete)] + sorted(files) + folders


def configs(incomplete: str) -> list[str]:
    """TOML files, and folders that may hold some."""
    from glob import glob

    return sorted(glob(f"{incomplete}*.toml")) + (glob(f"{incomplete}*/") if incomplete else [])


def models(incomplete: str) -> list[str]:
    from esssim.cli.measure import MODELS

    return [name for name in MODELS if name.startswith(incomplete)]
