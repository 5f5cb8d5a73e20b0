"""Imports point one way: from a layer to those below it, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[2] / "pyparrot"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "progress", "single_flight", "parallel", "core", "_core"),
    ("cache",),
    ("transport",),
    ("config",),
    ("tree",),
    ("sources",),
    ("libc",),
    ("run.engines",),
    ("run",),
    ("repository",),
    ("publish",),
    ("serve",),
    ("cli", "__main__"),
)
"""From the bottom to the top. A layer is what its members' names begin with, the longest first."""

MAY_NOT_USE: dict[str, tuple[str, ...]] = {
    "cache": ("transport", "config"),
    "transport": ("cache", "config"),
    "config": ("cache", "transport"),
    "tree": ("transport", "config"),
    "run.engines": ("cache", "transport", "config", "sources"),
    "repository": ("libc", "run"),
    "publish": ("libc", "run", "repository"),
    "serve": ("cache", "tree", "libc", "run", "repository", "publish"),
}
"""What stands beside a layer, or below but is none of its business."""

EXCEPTIONS: frozenset[tuple[str, str]] = frozenset()
"""Imports (importer, imported) that point the wrong way and are still there."""

CIRCLES: frozenset[frozenset[str]] = frozenset()
"""Circles of modules that are still there."""


class Import(NamedTuple):
    """Module *importer* imports module *imported*; *for_types* if only type checkers see it."""

    importer: str
    imported: str
    for_types: bool


def module_name(file: Path) -> str:
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in sorted(SOURCE.rglob("*.py"))}


def imports_of(module: str) -> Iterator[Import]:
    """All imports in a module of others here, late ones and those for type checkers, too."""
    tree = ast.parse(MODULES[module].read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        for name in names_in(node, module):
            if name in MODULES and name != module and name:
                yield Import(module, name, id(node) in for_types)


def names_in(node: ast.AST, module: str) -> Iterator[str]:
    """The names in this package that a node imports: modules, or what may be in them."""
    if isinstance(node, ast.Import):
        whole = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{module}: a relative import"
        whole = []
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            whole.append(name if name.partition(".")[2] in MODULES else str(node.module))
    else:
        return
    for name in whole:
        top, _, inside = name.partition(".")
        if top == "pyparrot":
            yield inside


def layer_of(module: str) -> str:
    fitting = [name for layer in LAYERS for name in layer if f"{module}.".startswith(f"{name}.")]
    assert fitting, f"{module} is in no layer"
    return max(fitting, key=len)


def level(layer: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if layer in names)


def points_down(each: Import) -> bool:
    importer, imported = layer_of(each.importer), layer_of(each.imported)
    if importer == imported or LAYERS[level(importer)] == LAYERS[level(imported)]:
        return True
    return level(imported) < level(importer) and imported not in MAY_NOT_USE.get(importer, ())


IMPORTS = sorted({each for module in MODULES if module for each in imports_of(module)})


def circles(imports: list[Import]) -> set[frozenset[str]]:
    """The modules that reach each other by imports that are made when programs run."""
    below: dict[str, set[str]] = {module: set() for module in MODULES}
    for each in imports:
        if not each.for_types:
            below[each.importer].add(each.imported)

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        pending = [start]
        while pending:
            new = below[pending.pop()] - found
            found |= new
            pending += new
        return found

    reach = {module: reached(module) for module in MODULES}
    return {
        frozenset(other for other in reach[module] if module in reach[other])
        for module in MODULES
        if module in reach[module]
    }


def test_imports_point_down() -> None:
    wrong = {(each.importer, each.imported) for each in IMPORTS if not points_down(each)}
    assert wrong - EXCEPTIONS == set()


def test_every_exception_is_needed() -> None:
    wrong = {(each.importer, each.imported) for each in IMPORTS if not points_down(each)}
    assert EXCEPTIONS - wrong == set()
    assert CIRCLES - circles(IMPORTS) == set()


def test_there_are_no_circles() -> None:
    assert {tuple(sorted(circle)) for circle in circles(IMPORTS) - CIRCLES} == set()


@pytest.mark.parametrize(
    ("importer", "imported", "down"),
    [
        ("cache.store", "cache.names", True),
        ("cache.store", "errors", True),
        ("cache.store", "tree.index", False),
        ("cache.store", "transport.client", False),
        ("transport.client", "cache.store", False),
        ("tree.base", "cache.store", True),
        ("tree.base", "sources.cvmfs.remote", False),
        ("run.engines.notify", "run.fetcher", False),
        ("run.fetcher", "run.engines.notify", True),
        ("cli.run", "run.session", True),
        ("serve.site", "cache.store", False),
        ("errors", "progress", True),
        ("errors", "cache", False),
    ],
)
def test_the_rule(importer: str, imported: str, down: bool) -> None:
    assert points_down(Import(importer, imported, False)) == down
    assert points_down(Import(importer, imported, True)) == down


def test_circles_are_found() -> None:
    pairs = [("cache.store", "cache.views"), ("cache.views", "errors"), ("errors", "cache.store")]
    imports = [Import(a, b, False) for a, b in pairs]
    assert circles(imports) == {frozenset({"cache.store", "cache.views", "errors"})}
    assert circles([imports[0], imports[1], imports[2]._replace(for_types=True)]) == set()
    assert circles([Import("errors", "errors", False)]) == {frozenset({"errors"})}


def test_late_imports_and_those_for_types_are_seen() -> None:
    found = {each.imported: each.for_types for each in IMPORTS if each.importer == "cache.store"}
    assert found["cache.pins"] in (True, False)
    seen = {(each.importer, each.imported, each.for_types) for each in IMPORTS}
    assert ("cache.store", "cache.pins", False) in seen
    assert ("cache.store", "cache.pins", True) in seen
    assert ("cache.usage", "cache.ledger", False) in seen
