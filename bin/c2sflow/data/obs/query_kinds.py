"""What the columns of a query hold, and whether comparing them means the same in every step.

A column is stored in other types from step to step: text as categories, strings or objects. What
pandas answers alike for all of them passes, everything else is refused before it is evaluated.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from c2sflow.common.errors import UserError
from c2sflow.data.obs.query_text import Query

TEXT, NUMBER, BOOLEAN, MISSING = "text", "numbers", "booleans", "no value"
COLUMN, LABELS, VALUE, LIST, MADE = "column", "labels", "value", "list", "made"
CONSTANTS = {str: TEXT, bool: BOOLEAN, int: NUMBER, float: NUMBER}
INFERRED = {
    "string": TEXT, "boolean": BOOLEAN, "integer": NUMBER, "floating": NUMBER,
    "mixed-integer-float": NUMBER, "empty": MISSING,
}  # fmt: skip
LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Operand:
    """A side of a comparison.

    Attributes
    ----------
    kind
        text, numbers, booleans, or no value: of a column without any.
    form
        column; labels: a column of text or of categories, which has no arithmetic; value; list;
        or made of columns by operators.
    name
        As messages call it.
    """

    kind: str
    form: str
    name: str


def column_operand(column: pd.Series, name: str) -> Operand:
    """What a column of obs holds.

    Raises
    ------
    UserError
        If it holds neither text nor numbers nor booleans.
    """
    shown, dtype = f"obs[{name!r}]", column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return Operand(_inferred(dtype.categories, shown), LABELS, shown)
    if pd.api.types.is_object_dtype(dtype) or pd.api.types.is_string_dtype(dtype):
        return Operand(_inferred(column, shown), LABELS, shown)
    if pd.api.types.is_bool_dtype(dtype):
        return Operand(BOOLEAN, COLUMN, shown)
    if isinstance(dtype, np.dtype) and dtype.kind == "f" and column.isna().all():
        return Operand(MISSING, COLUMN, shown)
    is_nullable = pd.api.types.is_integer_dtype(dtype)  # Float64 has NaN and NA
    if is_nullable or (isinstance(dtype, np.dtype) and dtype.kind == "f"):
        return Operand(NUMBER, COLUMN, shown)
    raise UserError(f"{shown} holds {dtype}; a query compares text, numbers and booleans")


def _inferred(values: pd.Series | pd.Index, shown: str) -> str:
    found = pd.api.types.infer_dtype(values, skipna=True)
    if found not in INFERRED:
        raise UserError(
            f"{shown} holds {found} values; a query compares text, numbers and booleans"
        )
    return INFERRED[found]


def check_kinds(query: Query, columns: Mapping[str, Operand]) -> None:
    """Check that each comparison is one of like with like, and that it gives a yes or no per cell.

    Parameters
    ----------
    columns
        Plain name to what the column holds.

    Raises
    ------
    UserError
        If not.
    """
    _Check(columns).check_condition(query.tree)


class _Check:
    def __init__(self, columns: Mapping[str, Operand]):
        self._columns = columns

    def check_condition(self, node: ast.expr) -> None:
        """Whether this is a yes or no of each cell."""
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                self.check_condition(value)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
            self.check_condition(node.operand)
        elif isinstance(node, ast.Compare):
            self._check_comparison(node)
        else:
            found = self._operand(node)
            if (found.kind, found.form) != (BOOLEAN, COLUMN):
                raise UserError(f"{found.name} gives no yes or no per cell; compare it with ==")

    def _check_comparison(self, node: ast.Compare) -> None:
        operands = [self._operand(part) for part in (node.left, *node.comparators)]
        for op, left, right in zip(node.ops, operands, operands[1:], strict=False):
            _check_pair(op, left, right)

    def _operand(self, node: ast.expr) -> Operand:
        if isinstance(node, ast.Name):
            return self._columns[node.id]
        if isinstance(node, ast.Constant):
            return _constant(node.value)
        if isinstance(node, ast.List | ast.Tuple):
            return self._list(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            return self._number([node.operand])
        if isinstance(node, ast.BinOp):
            return self._number([node.left, node.right])
        self.check_condition(node)
        return Operand(BOOLEAN, MADE, "a comparison")

    def _number(self, parts: list[ast.expr]) -> Operand:
        """Arithmetic: of numbers, so that no text or list can grow without bounds."""
        operands = [self._operand(part) for part in parts]
        for found in operands:
            if found.kind not in (NUMBER, MISSING) or found.form in (LABELS, LIST):
                raise UserError(f"arithmetic with {found.name}, which is no column of numbers")
        values = all(found.form == VALUE for found in operands)
        return Operand(NUMBER, VALUE if values else MADE, "an arithmetic expression")

    def _list(self, node: ast.List | ast.Tuple) -> Operand:
        values = [self._operand(part) for part in node.elts]
        if any(value.form != VALUE for value in values):
            raise UserError("a list holds other things than text, numbers or booleans")
        kinds = {value.kind for value in values}
        if len(kinds) > 1:
            raise UserError(f"a list holds {' and '.join(sorted(kinds))}; only one of them")
        return Operand(kinds.pop() if kinds else MISSING, LIST, "a list")


def _constant(value: object) -> Operand:
    kind = CONSTANTS.get(type(value))
    if kind is None:
        hint = "; missing values are what no list of values selects" if value is None else ""
        raise UserError(f"compares with {value!r}; only text, numbers, True and False{hint}")
    if type(value) is int and value > LARGEST:
        raise UserError(f"holds a number above {LARGEST}")
    return Operand(kind, VALUE, repr(value))


def _check_pair(op: ast.cmpop, left: Operand, right: Operand) -> None:
    """Raise unless pandas answers alike however the columns are stored."""
    names = f"{left.name} and {right.name}"
    forms = {left.form, right.form}
    if not forms & {COLUMN, LABELS, MADE}:
        raise UserError(f"compares {names}, which gives no yes or no per cell; name a column")
    is_in = isinstance(op, ast.In | ast.NotIn)
    if is_in and not (LIST in forms or (VALUE in forms and TEXT in (left.kind, right.kind))):
        raise UserError("in needs a list of values: COLUMN in ['A', 'B']")
    is_equal = is_in or isinstance(op, ast.Eq | ast.NotEq)
    if LIST in forms and not (is_in or (forms & {COLUMN, LABELS} and is_equal)):
        raise UserError(f"compares {names}; write COLUMN in ['A', 'B']")
    if MISSING not in (left.kind, right.kind):
        _check_like(left, right, names)
    is_labels = LABELS in forms or TEXT in (left.kind, right.kind)
    if is_labels and not (is_equal and forms & {VALUE, LIST}):
        raise UserError(f"compares {names}; text and categories are compared with values by ==, in")
    if not is_equal and BOOLEAN in (left.kind, right.kind):
        raise UserError(f"compares {names} by < or >; booleans are compared by ==")


def _check_like(left: Operand, right: Operand, names: str) -> None:
    if left.kind == right.kind:
        return
    # 0 and 1 are False and True to all.
    is_flag = {left.kind, right.kind} == {NUMBER, BOOLEAN}
    if is_flag and {left.form, right.form} == {COLUMN, VALUE}:
        return
    for side, other in ((left, right), (right, left)):
        if side.form in (COLUMN, LABELS):
            like = ", such as 'A'" if side.kind == TEXT else ""
            raise UserError(f"{side.name} holds {side.kind}: compare it with {side.kind}{like}, "
                            f"not with {other.name}")  # fmt: skip
    raise UserError(f"compares {names}: {left.kind} and {right.kind}")
