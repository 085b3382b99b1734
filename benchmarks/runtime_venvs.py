"""TFLite runtimes in virtual environments of their own, made once and kept in the cache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import platformdirs

RUNTIMES = (
    ("tflite-runtime", "2.14.0"),
    ("ai-edge-litert", "1.4.0"),
    ("ai-edge-litert", "2.1.6"),
    ("ai-edge-litert", "2.3.0"),
)


def python_with(name: str, version: str) -> Path:
    """Return the Python of an environment with that runtime; this Python must be one that it has wheels for."""
    folder = Path(platformdirs.user_cache_dir("edgepress")) / "benchmarks" / "runtimes" / f"{name}-{version}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        numpy = "numpy<2" if name == "tflite-runtime" else "numpy"
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", f"{name}=={version}", numpy], check=True)
        (folder / "complete").touch()
    return python
