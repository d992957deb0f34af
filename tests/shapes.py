"""Shapes that annotations promise, checked while tests run: ``Float[Tensor, "batch 3 height width"]`` and its kind.

For users such an annotation is a string that nothing reads: the modules import jaxtyping for the type checker only. Here an
import hook puts jaxtyping's check, by beartype, behind every function, method and data class that promises a shape, beneath
decorators and the doors of a system, so that what those refuse with a sentence never gets to it.

jaxtyping's own hook is not used: it looks for its names in the modules, which do not have them, passes over an annotation that it
cannot read, and wraps every function, nested ones anew at each call.
"""

from __future__ import annotations

import ast
import doctest
import importlib.abc
import importlib.machinery
import inspect
import re
import sys
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import jaxtyped

KINDS = {name: getattr(jaxtyping, name) for name in ("Bool", "Complex", "Float", "Float64", "Int", "Integer", "Num", "UInt8")}
PROMISE = re.compile(rf"\b({'|'.join(KINDS)})\[")
DECORATOR = "__check_shapes__"
OFTEN = {"complex_normal", "_gains"}
"""Called for every image of a batch of thousands; checks on them took a third of the time of the channels' tests. What they make
ends in the fields of a Draw, and those are checked."""

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int will do for a float


def check(own: Any) -> Any:
    """The function with its promises of shapes checked, and nothing else; a data class with those of its fields."""
    if isinstance(own, type):
        if "__init__" in vars(own) and "check" not in vars(own):  # what judges its fields itself has a sentence for each
            own.__init__ = check(own.__init__)
        return own
    written = own.__annotations__
    promises = {name: text for name, text in written.items() if PROMISE.search(str(text))}
    own.__annotations__ = {name: eval(text, own.__globals__) for name, text in promises.items()}
    made = jaxtyped(own, typechecker=typechecker)
    own.__annotations__ = made.__annotations__ = written
    return made


class Mark(ast.NodeTransformer):
    """Puts the check behind what promises a shape, at the top of a module or of a class."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        named = [each.annotation for each in ast.walk(node.args) if isinstance(each, ast.arg) and each.annotation]
        if node.name not in OFTEN and any(PROMISE.search(ast.unparse(each)) for each in (*named, node.returns) if each):
            node.decorator_list.append(self.decorator(node))
        return node  # not what is in it: that would be wrapped anew at every call

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        if any("dataclass" in ast.unparse(each) for each in node.decorator_list):
            fields = [each.annotation for each in node.body if isinstance(each, ast.AnnAssign)]
            if any(PROMISE.search(ast.unparse(each)) for each in fields):
                node.decorator_list.insert(0, self.decorator(node))
        self.generic_visit(node)
        return node

    def decorator(self, node: ast.stmt) -> ast.expr:
        return ast.copy_location(ast.Name(DECORATOR, ast.Load()), node)


class Loader(importlib.machinery.SourceFileLoader):
    """Compiles a module with its checks; no byte code of it is kept."""

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        return compile(Mark().visit(ast.parse(self.get_data(path), path)), path, "exec", dont_inherit=True)

    def exec_module(self, module: Any) -> None:
        vars(module).update(KINDS, **{DECORATOR: check})
        super().exec_module(module)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of semcast that promise shapes."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if not fullname.startswith("semcast."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or type(spec.loader) is not importlib.machinery.SourceFileLoader:
            return None
        if b"from jaxtyping import" not in spec.loader.get_data(spec.loader.path):
            return None
        spec.loader = Loader(fullname, spec.loader.path)
        return spec


def install() -> None:
    """From now on modules of semcast are imported with their checks."""
    early = [name for name, module in sys.modules.items() if name.startswith("semcast.") and hasattr(module, "__file__")]
    assert not early, f"imported before shapes are checked: {early}"
    sys.meta_path.insert(0, Finder())
    from_module = doctest.DocTestFinder._from_module  # a function behind a check is still its module's own
    doctest.DocTestFinder._from_module = lambda self, module, thing: from_module(self, module, inspect.unwrap(thing))
