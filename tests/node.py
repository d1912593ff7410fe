"""The explorer's JavaScript in Node: `run(script, *arguments)` gives what a module prints, read as JSON."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

MODULES = Path(__file__).parents[1] / "esssim" / "explorer" / "js"


def run(script: str, *arguments: object) -> Any:
    """Skipped without Node, and fails where CI is set: .ci/node installs it. `JS` in the script is the modules' folder."""
    node = shutil.which("node")
    if node is None:
        reason = "no Node is installed: run .ci/node, or install the package nodejs"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    script = script.replace("JS/", f"{MODULES.as_uri()}/")
    command = [node, "--input-type=module", "--eval", script, "--", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
