"""What our scripts import, by Python's own grammar."""

import ast
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _names(source: Path) -> set[str]:
    """Modules that a file imports, and all that may be a module among what it takes from them."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return _names_in(ast.walk(tree))


def _names_at_import(source: Path) -> set[str]:
    """Those that are imported as soon as the file is, and not for type checkers only."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return _names_in(tree.body)


def _names_in(nodes: Iterable[ast.AST]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def imported(source: Path) -> set[Path]:
    """Our files that a file imports."""
    found = _names(source)
    paths = {ROOT / "bin" / f"{name.replace('.', '/')}.py" for name in found}
    if "c2sflow.__version__" in found:
        paths.add(ROOT / "bin/c2sflow/__init__.py")
    return {path for path in paths if path.exists()}


def closure(source: Path) -> set[Path]:
    """A file and all of ours that it imports, directly or not."""
    seen, todo = {source}, [source]
    while todo:
        current = todo.pop()
        new = imported(current) - seen if current.name != "__init__.py" else set()
        seen |= new
        todo += new
    return seen


# What these import within functions is of the steps that call them, and in their images only.
ON_DEMAND = ("common/threads.py", "model/architectures")


def packages(step: Path) -> set[str]:
    """Top-level modules that a step and our files behind it import, ours among them."""
    found = set()
    for path in closure(step):
        if path.name != "__init__.py":
            on_demand = any(part in str(path) for part in ON_DEMAND)
            found |= _names_at_import(path) if on_demand else _names(path)
    return {name.split(".")[0] for name in found}
