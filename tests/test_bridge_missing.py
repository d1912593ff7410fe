"""Without torch the bridge says how to get it, and nothing else needs it."""

from __future__ import annotations

import sys

import pytest


def test_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "torch" or name.startswith(("torch.", "esssim.bridge"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        import esssim.bridge  # noqa: F401
    assert str(caught.value) == "esssim.bridge needs PyTorch, which is not installed: pip install 'esssim[bridge]'"
    assert caught.value.name == "torch"
