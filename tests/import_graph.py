"""Who imports whom, read from the sources: function-level imports count, those under ``TYPE_CHECKING`` do not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

Graph = dict[str, set[str]]


class Package:
    """The modules of the package as it is installed into ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.trees: dict[str, ast.Module] = {}
        self.packages: set[str] = set()
        for path in sorted((folder / "latentedit").rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            self.trees[name] = ast.parse(path.read_text(encoding="utf-8"))
            if parts[-1] == "__init__":
                self.packages.add(name)
        self.homes = {name: dict(_names(self.trees[name], everywhere=True)) for name in self.packages}

    def graph(self) -> Graph:
        """Every module with the modules that it imports; a name that a package passes on counts as its home's."""
        return {name: self._imported(name) - {name} for name in self.trees}

    def _imported(self, module: str) -> set[str]:
        found = set()
        for source, name in _imports(self.trees[module], everywhere=False):
            found |= self._resolve(source, name)
        for prefix in _computed(self.trees[module]):
            found |= {name for name in self.trees if name.startswith(prefix) and name not in self.packages}
        return found & set(self.trees)

    def _resolve(self, source: str, name: str | None) -> set[str]:
        if name is None:
            return {source}
        if f"{source}.{name}" in self.trees:
            return {f"{source}.{name}"}
        home = self.homes.get(source, {}).get(name)
        return {source} if home is None else {source, *self._resolve(home, name)}


def circles(graph: Graph) -> list[list[str]]:
    """Groups of modules of which each leads to all others (Tarjan 1972), sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(found)


def _imports(tree: ast.AST, *, everywhere: bool) -> Iterator[tuple[str, str | None]]:
    """Pairs (module, name or None) of all imports, those for type checkers among them where ``everywhere``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not everywhere:
            for other in node.orelse:
                yield from _imports(other, everywhere=everywhere)
        else:
            yield from _imports(node, everywhere=everywhere)


def _names(tree: ast.AST, *, everywhere: bool) -> Iterator[tuple[str, str]]:
    yield from ((name, source) for source, name in _imports(tree, everywhere=everywhere) if name is not None)


def _computed(tree: ast.AST) -> Iterator[str]:
    """Folders out of which modules are chosen at run time: ``import_module(f"latentedit.x.{name}")``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            first = node.args[0]
            start = first.values[0] if isinstance(first, ast.JoinedStr) else None
            text = str(start.value) if isinstance(start, ast.Constant) else ""
            if text.startswith("latentedit.") and text.count(".") > 1:
                yield text
