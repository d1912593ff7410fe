"""Our sentences in LaTeX: formulas in math mode, all of it in ASCII, so that every engine and font can set it."""

from __future__ import annotations

import re

_MATH = {
    "α": r"\alpha", "β": r"\beta", "δ": r"\delta", "ε": r"\varepsilon", "η": r"\eta", "θ": r"\theta", "κ": r"\kappa",
    "λ": r"\lambda", "ξ": r"\xi", "ρ": r"\rho", "σ": r"\sigma", "Δ": r"\Delta", "Σ": r"\sum", "·": r"\cdot",
    "×": r"\times", "±": r"\pm", "∓": r"\mp", "−": "-", "≤": r"\leq", "≥": r"\geq", "←": r"\leftarrow", "→": r"\to",
    "√": r"\surd", "∝": r"\propto", "∘": r"\circ", "⊗": r"\otimes", "‖": r"\|", "½": r"\tfrac12", "∞": r"\infty",
    "²": "^2", "³": "^3", "ᵀ": r"^\top", "⁺": "^+", "₀": "_0", "₁": "_1", "₂": "_2", "ᵢ": "_i",
}  # fmt: skip
_TEXT = {"%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "_": r"\_", "{": r"\{", "}": r"\}", "<": "$<$", ">": "$>$",
         "|": "$|$", "“": "``", "”": "''", "–": "--", "—": "---", "’": "'", "…": r"\dots{}", "~": r"\textasciitilde{}",
         "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}  # fmt: skip
# λ_max(H_B) and ηQ_b are formulas; burst_correction is a name.
_FORMULA = re.compile(f"[⁻{''.join(_MATH)}]|(?<![a-z])[A-Za-z]_[A-Za-z{{]")
_PART = re.compile(r"_(?P<index>max|\{[^}]*\}|[A-Za-z0-9])|⁻(?P<inverse>¹)|(?P<name>[A-Z]?[a-z]{2,}[A-Z]*)|(?P<sign>.)")


def latex(words: str) -> str:
    r"""For one, "5 % of (η/2)·λ_max(H_B)." as r"5 \% of $(\eta/2)\cdot\lambda_{\mathrm{max}}(H_{B})$."."""
    return " ".join(map(_word, words.split(" ")))


def _word(word: str) -> str:
    if not _FORMULA.search(word):
        return "".join(_TEXT.get(sign, sign) for sign in word)
    before, formula, after = re.fullmatch(r"(“?)(.*?)([.,;:”]*)", word).groups()  # type: ignore[union-attr]
    # A space ends the name of a sign before a letter, and is not needed elsewhere.
    formula = re.sub(r" (?![A-Za-z])", "", _PART.sub(_in_math, formula))
    return f"{_word(before)}${formula}${_word(after)}"


def _in_math(part: re.Match[str]) -> str:
    if part["index"]:
        inside = part["index"].strip("{}")
        return "_{" + (rf"\mathrm{{{inside}}}" if len(inside) > 1 and inside.isalpha() else inside) + "}"
    if part["inverse"]:
        return "^{-1}"
    if part["name"]:
        return rf"\mathrm{{{part['name']}}}"
    sign = part["sign"]
    if sign in _MATH:
        return _MATH[sign] + (" " if _MATH[sign][-1].isalpha() else "")
    return _TEXT[sign] if sign in "%&#${}" else sign
