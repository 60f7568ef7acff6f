"""What our scripts import, by Python's own grammar."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _names(source: Path) -> set[str]:
    """Modules that a file imports, and all that may be a module among what it takes from them."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
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


def packages(script: Path) -> set[str]:
    """Top-level modules that a script and our files behind it import, ours among them."""
    files = {path for path in closure(script) if path.name != "__init__.py"}
    return {name.split(".")[0] for path in files for name in _names(path)}
