"""The fingerprint of a journey: its code without everything a run under way does not mind."""

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any

from tests.histories.recordings import HISTORIES
from workflows.journey import Journey

# Of the declaration, a run itself goes by these; by all others it was begun, or is ended from outside.
HEEDED = {"restarts_on", "listens_to"}

# How long a wait is, and what only `deliver` reads: the commands are the same with any value.
FREE = {"within", "useful_for", "transactional"}
WAITS = {"wait", "wait_until", "wait_since_start", "until_quiet"}


def fingerprint(journey: type[Journey[Any]]) -> str:
    """Return the code that decides which commands a run gives, in which order.

    It stands beside the recordings because they know only the ways somebody has walked: this one
    changes also with a condition that no recording meets on its edge.
    """
    source = ast.parse(textwrap.dedent(inspect.getsource(journey)))
    return ast.unparse(_Commands().visit(source)) + "\n"


def kept(journey: type[Journey[Any]]) -> Path:
    """Return the file that keeps a journey's fingerprint."""
    return HISTORIES / journey.__name__ / "fingerprint.txt"


def differs(journey: type[Journey[Any]]) -> bool:
    """Whether a journey's code is not what was kept; how it is laid out does not matter."""
    if not kept(journey).exists():
        return True
    return ast.dump(ast.parse(kept(journey).read_text())) != ast.dump(ast.parse(fingerprint(journey)))


class _Commands(ast.NodeTransformer):
    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = _without_docstring(node.body)
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call):
                decorator.keywords = [each for each in decorator.keywords if each.arg in HEEDED]
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body = _without_docstring(node.body)
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.body = _without_docstring(node.body)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.keywords = [each for each in node.keywords if each.arg not in FREE]
        if isinstance(node.func, ast.Attribute) and node.func.attr in WAITS:
            node.args, node.keywords = [], []
        return self.generic_visit(node)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest or [ast.Pass()]
        case _:
            return body
