"""The shape of the program, read off its source: who may import whom, and where each heavy library lives."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "cryptofeed_cli"
ROOT = Path(__file__).parents[1] / PACKAGE

LAYERS = (
    ("__init__",),
    ("errors", "types", "printable", "ids", "memory"),
    ("clock",),
    ("book", "chain", "gaps", "rejects", "config", "logs", "network", "shards"),
    ("rest",),
    ("exchanges",),
    ("simulation",),
    ("feeds",),
    ("stores",),
    ("asking", "connections"),
    (
        "backfill", "carriers", "coverage", "catalogue", "inquiries", "merging", "past", "reach", "resync", "steps",
        "streams", "symbols",
    ),
    ("completeness", "recovery", "watchdog"),
    ("session",),
    ("parcels", "standing", "taping", "importing", "views"),
    ("deliverer", "spooler"),
    ("writer", "keeping", "certificate", "copying", "lookups", "pruning", "queries", "refill", "status"),
    ("venue_server",),
    ("simulator",),
    ("failover",),
    ("recorder", "retention"),
    ("output", "dashboard", "metrics"),
    ("assembly", "derived", "replayer"),
    ("doctor", "recorded_stage"),
    ("cli",),
    ("__main__",),
)  # fmt: skip
"""A module imports from the layers above its own and from its own package; modules of one layer ignore each other."""

HOMES = {
    "bson": ("stores.mongo",),
    "certifi": ("network",),
    "dns": ("network",),
    "fastapi": ("server",),
    "platformdirs": ("config",),
    "pymongo": ("stores.mongo",),
    "requests": ("rest",),
    "plotext": ("output.plot",),
    "prometheus_client": ("metrics",),
    "pyarrow": ("output.parquet",),
    "rich": ("output", "dashboard", "cli"),
    "setproctitle": ("cli",),
    "socks": ("network",),
    "sqlite3": ("stores.",),
    "typer": ("cli",),
    "urllib3": ("rest",),
    "websocket": ("feeds.",),
    "websockets": ("venue_server",),
}
"""The only modules (by how their names begin) that may know a library."""


@cache
def modules() -> dict[str, ast.Module]:
    """Every module by its name within the package."""
    paths = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in ROOT.rglob("*.py")}
    names = {name if name == "__init__" else name.removesuffix("/__init__"): path for name, path in paths.items()}
    return {name.replace("/", "."): ast.parse(path.read_text()) for name, path in names.items()}


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                assert node.level == 0, "imports are absolute"
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(tree: ast.AST) -> Iterator[str]:
    """The modules of ours that a module imports, by their names within the package."""
    for name in imported(tree):
        if name != PACKAGE and not name.startswith(f"{PACKAGE}."):
            continue
        inner = name.removeprefix(PACKAGE).removeprefix(".")
        while inner not in modules() and inner:
            inner = inner.rpartition(".")[0]
        yield inner or "__init__"


def layer(module: str) -> int:
    top = module.partition(".")[0]
    found = [number for number, names in enumerate(LAYERS) if top in names]
    assert found, f"{module} stands in no layer: say in LAYERS whom it may import"
    return found[0]


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_imports_from_above_or_from_its_own_package(module: str) -> None:
    top = module.partition(".")[0]
    wrong = [
        name for name in ours(modules()[module]) if name.partition(".")[0] != top and layer(name) >= layer(module)
    ]

    assert wrong == []


def test_no_imports_go_in_a_circle() -> None:
    graph = {module: set(ours(tree)) - {module} for module, tree in modules().items()}

    assert set(TopologicalSorter(graph).static_order()) == set(graph)


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_is_known_at_its_home_only(library: str) -> None:
    strangers = [
        module
        for module, tree in modules().items()
        if any(name.partition(".")[0] == library for name in imported(tree)) and not module.startswith(HOMES[library])
    ]

    assert strangers == []


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_begins_with_a_sentence_about_its_job(module: str) -> None:
    docstring = ast.get_docstring(modules()[module]) or ""

    assert docstring.splitlines()[0].endswith((".", ":")) or "\n" in docstring, f"{module}: {docstring!r}"
