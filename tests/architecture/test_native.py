"""What may be compiled: mypyc takes more than it gets right, and says nothing of the difference."""

import ast
from pathlib import Path

import pytest

from data_plane import native

ROOT = Path(__file__).parents[2]
FOREIGN = {"Struct", "NamedTuple", "TypedDict", "RequestHandler"}


def tree_of(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def bases(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).rpartition(".")[2].partition("[")[0] for base in node.bases}


def classes(module: str) -> list[ast.ClassDef]:
    return [node for node in tree_of(module).body if isinstance(node, ast.ClassDef)]


def test_the_list_is_in_order_and_names_modules() -> None:
    assert list(native.MODULES) == sorted(set(native.MODULES))
    assert [module for module in native.MODULES if not (ROOT / module).is_file()] == []


@pytest.mark.parametrize("module", native.MODULES)
def test_no_compiled_class_needs_what_mypyc_drops(module: str) -> None:
    """The options of a Struct are dropped; a class of aiohttp's has a layout of its own."""
    for node in classes(module):
        assert not bases(node) & FOREIGN, f"{node.name} stands in a module that is compiled"


@pytest.mark.parametrize("module", native.MODULES)
def test_one_name_holds_one_kind_of_error_in_a_function(module: str) -> None:
    """mypyc gives the name the type of the first `except`, and refuses every other one."""
    for function in ast.walk(tree_of(module)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            kinds: dict[str, set[str]] = {}
            for node in ast.walk(function):
                if isinstance(node, ast.ExceptHandler) and node.name and node.type:
                    kinds.setdefault(node.name, set()).add(ast.unparse(node.type))
            for node in ast.walk(function):
                if isinstance(node, ast.arg) and node.arg in kinds:
                    kinds[node.arg].add("an argument")
                is_set = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
                if is_set and node.id in kinds:
                    kinds[node.id].add("a variable")
            assert [name for name, found in kinds.items() if len(found) > 1] == [], function.name


def test_no_interpreted_class_extends_a_compiled_one() -> None:
    compiled = {node.name for module in native.MODULES for node in classes(module)}
    for package in native.PACKAGES:
        for path in (ROOT / package.__name__).rglob("*.py"):
            module = str(path.relative_to(ROOT))
            if module not in native.MODULES:
                imported = {
                    alias.asname or alias.name
                    for node in tree_of(module).body
                    if isinstance(node, ast.ImportFrom)
                    and f"{(node.module or '').replace('.', '/')}.py" in native.MODULES
                    for alias in node.names
                }
                for node in classes(module):
                    assert not bases(node) & compiled & imported, f"{module}: {node.name}"


def test_what_is_read_before_anything_is_compiled_imports_nothing_of_it() -> None:
    for module in ("data_plane/native.py", "shared/environ.py"):
        names = {
            node.module
            for node in ast.walk(tree_of(module))
            if isinstance(node, ast.ImportFrom) and node.module
        }
        ours = {name for name in names if name.partition(".")[0] in {"data_plane", "shared"}}
        assert ours <= {"shared"}, module
