"""What the figures were taken on: machine, Python and libraries; measures nothing."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("cryptofeed-cli", "cryptofeed", "msgspec", "yapic.json", "pymongo")


def describe() -> list[str]:
    """Return some lines of text."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    libraries = [f"{name} {_version(name)}" for name in _PACKAGES]
    return [
        f"{os.cpu_count()} x {_processor()}, {platform.system()} {platform.release()}, load {load}",
        f"{platform.python_implementation()} {platform.python_version()}, {', '.join(libraries)}, "
        f"SQLite {sqlite3.sqlite_version}",
    ]


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"
