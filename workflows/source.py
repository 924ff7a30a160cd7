"""A class as its author wrote it: where things stand in the file, and what is known of them without running."""

import ast
import inspect
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

UNKNOWN = object()
"""What an expression comes to is known only when the journey runs."""

VERBS = frozenset(
    {"send", "wait", "wait_until", "wait_since_start", "until_quiet", "wait_for", "cascade", "ask", "reached"}
)
"""What a journey does with time and customers; each is awaited."""


@dataclass(frozen=True)
class Written:
    """A class in its file.

    Attributes:
        tree: The class alone; its line numbers are the file's.
        names: What the module calls by a name.
    """

    file: str
    tree: ast.ClassDef
    names: Mapping[str, Any]

    @staticmethod
    def of(cls: type) -> "Written | None":
        """Read a class; None where its source is not at hand."""
        try:
            file, (_, first) = inspect.getsourcefile(cls), inspect.getsourcelines(cls)
        except (OSError, TypeError):
            return None
        for node in ast.walk(parsed(str(file))):
            if isinstance(node, ast.ClassDef) and _first_line(node) == first:
                return Written(str(file), node, vars(sys.modules[cls.__module__]))
        return None

    def at(self, node: ast.AST) -> str:
        """Return ``file:line`` of a part of it."""
        return f"{self.file}:{getattr(node, 'lineno', self.tree.lineno)}"

    def declared(self, name: str) -> str:
        """Return ``file:line`` of what ``@journey`` is told under a name; of the class if it is not told."""
        for decorator in self.tree.decorator_list:
            for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
                if keyword.arg == name:
                    return self.at(keyword)
        return self.at(self.tree)

    def calls(self, *verbs: str) -> Iterator[ast.Call]:
        """Return the calls of some of a journey's own methods."""
        for node in ast.walk(self.tree):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=verb)) if verb in verbs:
                    yield node

    def value(self, expression: ast.expr) -> Any:
        """Return what an expression of constants comes to; `UNKNOWN` where it depends on the run."""
        names = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
        if any(isinstance(node, ast.Await | ast.NamedExpr | ast.Lambda) for node in ast.walk(expression)) or (
            names & self._local
        ):
            return UNKNOWN
        try:
            return eval(compile(ast.Expression(expression), self.file, "eval"), dict(self.names))
        except Exception:
            return UNKNOWN

    @property
    def _local(self) -> set[str]:
        """Names that mean something else within the class than in its module."""
        return {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name) and _is_stored(node)} | {
            node.arg for node in ast.walk(self.tree) if isinstance(node, ast.arg)
        }


def written_classes(workflow: type) -> list[Written]:
    """Return the author's classes a journey is made of, its own first."""
    ours = ("workflows.journey", "typing", "builtins", "abc")
    found = (Written.of(each) for each in workflow.__mro__ if each.__module__ not in ours)
    return [each for each in found if each]


@lru_cache(maxsize=256)
def parsed(file: str) -> ast.Module:
    """Return the syntax of a file, without reading it twice."""
    return ast.parse("".join(linecache.getlines(file)))


def place_of(thing: type | Callable[..., Any]) -> str:
    """Return ``file:line`` of a class or a function; its module where the source is not at hand."""
    try:
        return f"{inspect.getsourcefile(thing)}:{inspect.getsourcelines(thing)[1]}"
    except (OSError, TypeError):
        return str(getattr(thing, "__module__", thing))


def _is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _first_line(node: ast.ClassDef) -> int:
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])
