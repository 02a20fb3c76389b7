"""Arithmetic on labels: what a recipe's target may be besides the name of one.

Parsed with Python's own grammar, of which little is let through: names of labels, numbers and
texts, + - * / **, comparisons (1 where they hold, 0 where not), and `FUNCTIONS`. What is missing stays missing.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eegzarr.errors import RecipeError

FUNCTIONS: dict[str, Callable[[Any], Any]] = {"log": np.log, "log10": np.log10, "sqrt": np.sqrt, "abs": np.abs}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_COMPARISON: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def labels_of(expression: str) -> tuple[str, ...]:
    """Return the names of the labels in an expression, in alphabetical order.

    Raises
    ------
    RecipeError
        If it is none, or holds more than arithmetic.
    """
    tree = _parsed(expression)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - FUNCTIONS.keys()
    evaluate(expression, {name: np.ones(1) for name in names} or {"": np.ones(1)})
    return tuple(sorted(names))


def evaluate(expression: str, labels: Mapping[str, npt.NDArray]) -> npt.NDArray[np.float32]:
    """Return an expression's value for each window; NaN where it has none, as log of 0.

    Parameters
    ----------
    expression : str
        Or a label's name, whatever its spelling.
    labels : mapping of str to array, shape (window,)

    Raises
    ------
    RecipeError
        If it can't be computed on what the labels hold.
    """
    try:
        if expression in labels:
            return labels[expression].astype(np.float32)
        with np.errstate(all="ignore"):
            value = _value(_parsed(expression), expression, lambda name: _wide(labels[name]))
            number = np.broadcast_to(np.asarray(value, np.float64), len(next(iter(labels.values()))))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"target {expression!r} can't be computed: {error}") from error
    return np.where(np.isfinite(number), number, np.nan).astype(np.float32)


def _wide(label: npt.NDArray) -> npt.NDArray:
    return label.astype(np.float64) if label.dtype.kind in "iuf" else label


def _is_missing(value: Any) -> npt.NDArray[np.bool_]:
    """Where a label has no value: nothing that is compared with it is known to hold or not."""
    if not isinstance(value, np.ndarray):
        return np.zeros((), bool)
    return np.isnan(value) if value.dtype.kind == "f" else np.asarray(value == "", bool)


def _parsed(expression: str) -> ast.expr:
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise RecipeError(f"target {expression!r} is neither a label nor an expression of labels") from error


def _value(node: ast.expr, expression: str, label: Callable[[str], Any]) -> Any:
    def of(part: ast.expr) -> Any:
        return _value(part, expression, label)

    match node:
        case ast.Name(id=name):
            return label(name)
        case ast.Constant(value=int() | float() as number):
            return np.float64(number)
        case ast.Constant(value=str() as text):
            return text
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](of(left), of(right))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](of(operand))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISON:
            one, other = of(left), of(right)
            truth = np.asarray(_COMPARISON[type(op)](one, other), np.float64)
            return np.where(_is_missing(one) | _is_missing(other), np.nan, truth)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](of(argument))
    raise RecipeError(
        f"target {expression!r}: {ast.unparse(node)!r} is no label, number, + - * / **, comparison or "
        f"{', '.join(FUNCTIONS)}"
    )
