"""The Liquid our texts are written in: strict, bounded, and careful with values."""

import re
from collections.abc import Mapping
from typing import Any, TextIO

from liquid import BoundTemplate, Environment, RenderContext
from liquid.builtin.expressions import FilteredExpression
from liquid.builtin.output import Output, OutputNode
from liquid.exceptions import LiquidError, UndefinedError
from liquid.stringify import to_liquid_string
from liquid.undefined import FalsyStrictUndefined, is_undefined

from templates.values import SiteAddress, hold

ROOTS = frozenset({"customer", "event", "offer", "visit", "words", "answer", "review", "site", "company", "parameters"})
"""Names a text may use."""

# Nothing that writes values past `_HeldOutputNode` or reads other files.
TAGS = frozenset({"if", "unless", "case", "for", "break", "continue", "assign", "comment", "#"})
PSEUDO_TAGS = frozenset({"content", "output", "illegal"})


class Missing(Exception):
    """A variable has no value where one must be written."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Broken(Exception):
    """A source that is not our Liquid.

    Attributes:
        line: Line in the source, from 1.
        rule: What is wrong with it.
    """

    def __init__(self, line: int, rule: str) -> None:
        super().__init__(f"line {line}: {rule}")
        self.line = line
        self.rule = rule


class _Absent(FalsyStrictUndefined):
    """May be asked for (``{% if %}``) and replaced (``| default:``), nothing else."""

    force_liquid_default = True


class _HeldOutputNode(OutputNode):
    """Writes a placeholder of the value; only the site's address is written as it is."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        try:
            value = self.expression.evaluate(context)
        except UndefinedError:
            raise Missing(self._name()) from None
        if value is None or is_undefined(value):
            raise Missing(self._name())
        if isinstance(value, SiteAddress):
            return buffer.write(value)
        words = to_liquid_string(value, autoescape=False)
        if not words.strip():
            raise Missing(self._name())
        return buffer.write(hold(words))

    def _name(self) -> str:
        expression = self.expression
        return str(expression.left if isinstance(expression, FilteredExpression) else expression)


class _HeldOutput(Output):
    node_class = _HeldOutputNode


class _Language(Environment):
    # Far above any letter; a text that runs into them is broken and must not take the worker with it.
    loop_iteration_limit = 1_000
    local_namespace_limit = 100_000
    output_stream_limit = 200_000

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        self.tags = {name: tag for name, tag in self.tags.items() if name in TAGS | PSEUDO_TAGS}
        self.add_tag(_HeldOutput)


_LANGUAGE = _Language(undefined=_Absent, strict_filters=True)


def parse(source: str, *, line: int = 1, roots: frozenset[str] = ROOTS) -> BoundTemplate:
    """Parse a part of a file.

    Args:
        line: Line of the file at which the part begins.
        roots: Names it may use.

    Raises:
        Broken: With the line in the file.
    """
    padded = "\n" * (line - 1) + source
    try:
        template = _LANGUAGE.from_string(padded)
        analysis = template.analyze()
    except LiquidError as error:
        index = error.token.start_index if error.token else -1
        raise Broken(_line(padded, index if index >= 0 else len(padded)), str(error.message)) from None
    for name, spans in analysis.filters.items():
        if name not in _LANGUAGE.filters:
            raise Broken(_line(padded, spans[0].index), f"unknown filter {name!r}")
    for name, uses in analysis.globals.items():
        if name not in roots:
            known = ", ".join(sorted(roots))
            raise Broken(_line(padded, uses[0].span.index), f"unknown variable {name!r}, there are: {known}")
    return template


def variables(template: BoundTemplate) -> set[str]:
    """Return the names a template uses, such as ``customer.first_name``."""
    return {str(use) for uses in template.analyze().globals.values() for use in uses}


def write(template: BoundTemplate, values: Mapping[str, Any]) -> str:
    """Return the text with placeholders for the values, see `templates.values`.

    Raises:
        Missing: A variable that must be written has no value.
        Broken: It cannot be rendered; the rule is the error's name only, as errors quote values.
    """
    try:
        return template.render(**values).strip()
    except UndefinedError as error:
        name = str(error.message).removesuffix(" is undefined").strip("'")
        # A part worked out from another variable is a value, and no name the author wrote.
        raise Missing(name if name in variables(template) else re.split(r"[.\[]", name)[0]) from None
    except Missing:
        raise
    except Exception as error:
        # Filters also fail with ordinary errors, on values nobody thought of.
        token = error.token if isinstance(error, LiquidError) else None
        line = _line(token.source, token.start_index) if token else 1
        raise Broken(line, type(error).__name__) from None


def _line(source: str, index: int) -> int:
    return source.count("\n", 0, index) + 1
