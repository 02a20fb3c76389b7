"""Arithmetic on labels, and conditions on columns: what a recipe's target and its ``where`` may be.

Parsed with Python's own grammar, of which only little is allowed: names of labels, numbers and
texts, + - * / **, comparisons (1 where they hold, 0 where not), and, or, not, in, and `FUNCTIONS`. A name that Python
couldn't have is put between backticks, as in pandas' queries. What is missing stays missing, unless the rest
decides: false and missing is false, true or missing is true.
"""

from __future__ import annotations

import ast
import operator
import re
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
_LITERALS = (ast.Constant, ast.List, ast.Tuple)
_ELSEWHERE = (
    (r"(?<![=<>!])=(?!=)", "Equal is =="),
    (r"<>", "Unequal is !="),
    (r"[&|]", "Conditions are joined by and, or"),
    (r"!(?!=)|~", "The opposite of a condition is not"),
)
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|`([^`]+)`""")


def labels_of(expression: str) -> tuple[str, ...]:
    """Return the names of the labels in an expression, in alphabetical order.

    Raises
    ------
    RecipeError
        If it is none, or holds more than arithmetic.
    """
    tree = _parsed(expression)
    names = _names_in(tree)
    evaluate(expression, {name: _stand_in(name, tree) for name in names} or {"": np.ones(1)})
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


def check_condition(condition: str) -> tuple[str, ...]:
    """Return the names of the columns that a condition compares.

    Raises
    ------
    RecipeError
        If it is none.
    """
    try:
        tree = _parsed(condition)
        names = _names_in(tree)
        _value(tree, condition, lambda name: _stand_in(name, tree))
    except (RecipeError, TypeError, ValueError) as error:
        told = str(error).removeprefix(f"target {condition!r}").removeprefix(": ").removeprefix(" ")
        raise RecipeError(f"where = {condition!r}: {told}") from error
    if not names:
        raise RecipeError(f"where = {condition!r} names no column of events.tsv")
    return tuple(sorted(names))


def holds(
    condition: str,
    column: Callable[[str, bool], npt.NDArray],
    has_numbers: Callable[[str], bool],
    count: int,
) -> npt.NDArray[np.bool_]:
    """Return in which rows a condition is known to hold, (row,).

    Parameters
    ----------
    condition : str
    column : callable
        Returns a column by its name, (row,): texts, "" where missing, if its second argument is true, else numbers.
        It is asked for texts where the condition compares the column with texts, or with a column of texts.
    has_numbers : callable
        Says whether all that a column of this name holds are numbers. It is asked for columns that are compared with
        each other.
    count : int
        Rows.
    """
    tree = _parsed(condition)
    as_texts = _texts_in(tree, has_numbers)
    with np.errstate(all="ignore"):
        value = _value(tree, condition, lambda name: column(name, name in as_texts))
    truth = np.broadcast_to(np.asarray(value, np.float64), count)
    return np.asarray((truth != 0) & ~np.isnan(truth))


def _names_in(tree: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - FUNCTIONS.keys()


def _stand_in(name: str, tree: ast.expr) -> npt.NDArray:
    """Return a value to try an expression with before there is any: text, if it is compared with one."""
    return np.array(["1"], object) if name in _texts_in(tree, lambda _: True) else np.ones(1)


def _texts_in(tree: ast.expr, has_numbers: Callable[[str], bool]) -> set[str]:
    """Return the names that are compared with texts, or with columns that hold or are compared with texts."""
    found: set[str] = set()
    together: list[set[str]] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        names = {side.id for side in sides if isinstance(side, ast.Name)}
        constants = [part for side in sides if isinstance(side, _LITERALS) for part in ast.walk(side)]
        if any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in constants):
            found |= names
        elif len(names) > 1:
            together.append(names)
    found |= {name for names in together for name in names if not has_numbers(name)}
    while reached := [names for names in together if names & found and not names <= found]:
        found.update(*reached)
    return found


def _wide(label: npt.NDArray) -> npt.NDArray:
    return label.astype(np.float64) if label.dtype.kind in "iuf" else label


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, np.ndarray) and value.dtype.kind in "OUST")


def _is_missing(value: Any) -> npt.NDArray[np.bool_]:
    """Where a label has no value: nothing that is compared with it is known to hold or not."""
    if not isinstance(value, np.ndarray):
        return np.zeros((), bool)
    return np.isnan(value) if value.dtype.kind == "f" else np.asarray(value == "", bool)


def _parsed(expression: str) -> ast.expr:
    """Return the tree of an expression, with names between backticks unchanged."""
    quoted: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        word = f"_quoted_{len(quoted)}"
        quoted[word] = match[1].strip()
        return word

    try:
        tree = ast.parse(_QUOTED.sub(stand_in, expression.strip()), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise RecipeError(
            f"target {expression!r} is neither a label nor an expression of labels; a name that isn't one word, or "
            f"that Python keeps for itself, stands between backticks, such as `response time` or `class`"
            f"{_of_other_languages(expression)}"
        ) from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = quoted.get(node.id, node.id)
    return tree


def _of_other_languages(expression: str) -> str:
    """Return how to write here what other languages write otherwise, for a message; "" for nothing."""
    plain = _QUOTED.sub("", expression)
    return next((f". {here}" for there, here in _ELSEWHERE if re.search(there, plain)), "")


def _value(node: ast.expr, expression: str, label: Callable[[str], Any]) -> Any:
    def of(part: ast.expr) -> Any:
        return _value(part, expression, label)

    def number_of(part: ast.expr) -> Any:
        if _is_text(value := of(part)):
            raise TypeError(f"{ast.unparse(part)} is text: it can be compared with text, but not be computed with")
        return value

    def alike(one: ast.expr, other: ast.expr) -> tuple[Any, Any]:
        values = of(one), of(other)
        if _is_text(values[0]) != _is_text(values[1]):
            text, number = (one, other) if _is_text(values[0]) else (other, one)
            raise TypeError(f"{ast.unparse(text)} is text, {ast.unparse(number)} is a number: they can't be compared")
        return values

    match node:
        case ast.Name(id=name):
            return label(name)
        case ast.Constant(value=int() | float() as number):
            return np.float64(number)
        case ast.Constant(value=str() as text):
            return text
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](number_of(left), number_of(right))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](number_of(operand))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISON:
            one, other = alike(left, right)
            truth = np.asarray(_COMPARISON[type(op)](one, other), np.float64)
            return np.where(_is_missing(one) | _is_missing(other), np.nan, truth)
        case ast.Compare(left=left, ops=[op, *ops], comparators=[right, *others]) if ops:
            links = [ast.Compare(left, [op], [right]), ast.Compare(right, ops, others)]
            return _joined([of(link) for link in links], every=True)
        case ast.Compare(
            left=left, ops=[ast.In() | ast.NotIn() as op], comparators=[ast.List() | ast.Tuple() as listed]
        ):
            many = [alike(left, part)[1] for part in listed.elts]
            return _is_in(of(left), many, negated=isinstance(op, ast.NotIn))
        case ast.BoolOp(op=op, values=parts):
            return _joined([number_of(part) for part in parts], every=isinstance(op, ast.And))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return 1 - _truth(number_of(operand))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](number_of(argument))
    raise RecipeError(
        f"target {expression!r}: {ast.unparse(node)!r} isn't a label, number, text, + - * / **, comparison, "
        f"and, or, not, in […] or {', '.join(FUNCTIONS)}{_of_other_languages(expression)}"
    )


def _truth(value: Any) -> npt.NDArray[np.float64]:
    """Return 1 where something holds, 0 where not, NaN where that isn't known."""
    number = np.asarray(value, np.float64)
    return np.where(np.isnan(number), np.nan, number != 0)


def _joined(values: list[Any], *, every: bool) -> npt.NDArray[np.float64]:
    """Return "and" or "or" of values; one that decides does so beside others that are missing."""
    truths = np.broadcast_arrays(*map(_truth, values))
    decides = 0.0 if every else 1.0
    known = [np.where(np.isnan(truth), 1 - decides, truth) for truth in truths]
    joined = np.min(known, axis=0) if every else np.max(known, axis=0)
    unknown = np.any(np.isnan(truths), axis=0) & (joined != decides)
    return np.where(unknown, np.nan, joined)


def _is_in(value: Any, listed: list[Any], *, negated: bool) -> npt.NDArray[np.float64]:
    found = np.any([np.asarray(value == one, bool) for one in listed], axis=0) if listed else np.zeros(np.shape(value))
    return np.where(_is_missing(value), np.nan, found != negated)
