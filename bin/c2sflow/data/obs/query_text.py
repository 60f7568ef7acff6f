"""The text of a query on obs: what it names, and the same text with plain names for pandas.

Only words of the text are replaced, so that pandas reads the precedence that the user wrote:
parsing and printing it anew would be Python's precedence, which is another for ``&`` and ``|``.
"""

from __future__ import annotations

import ast
import keyword
import re
import unicodedata
import warnings
from dataclasses import dataclass

from c2sflow.common.errors import UserError

MAX_BYTES = 100_000  # a query is one word of a step's command line; Linux takes 128 KiB
MAX_OPERATORS = 100  # far below Python's limit of recursion, which pandas meets in `a or b or …`
OWN_OPERATORS = 2  # step_options.py adds `or c2s_split != "test"` to what VALIDATE has seen

TOKEN = re.compile(
    r"""
    (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |`(?P<quoted>[^`]*)`
    |(?P<number>\.?\d(?:[eE][+-]|[\w.])*)
    |(?P<word>\w+)
    |(?P<sign>[^\w'"`])
    """,
    re.VERBOSE,
)
# As pandas reads them: they bind like the words.
SIGNS = {"&": " and ", "|": " or "}
# What a query may be made of: nothing that calls, reaches into an object or indexes.
NODES = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.boolop, ast.unaryop,
    ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.In, ast.NotIn,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod,
    ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple,
)  # fmt: skip
OPERATORS = (ast.operator, ast.unaryop, ast.cmpop)


@dataclass(frozen=True)
class Query:
    """A query that pandas can evaluate.

    Attributes
    ----------
    text
        For `pandas.DataFrame.eval`, with a plain name for each column.
    names
        Plain name to the column of obs that it stands for.
    tree
        What `text` is.
    """

    text: str
    names: dict[str, str]
    tree: ast.expr


def parse_query(query: str, where: str, most: int = MAX_OPERATORS + OWN_OPERATORS) -> Query:
    """Read a query.

    Parameters
    ----------
    query
        As the user wrote it.
    where
        What messages call it.
    most
        Operators that it may have, chained comparisons counted as often as pandas evaluates them.

    Raises
    ------
    UserError
        If it is no single expression, holds what may run code, or is too large.
    """
    if len(query.encode(errors="replace")) > MAX_BYTES:
        raise UserError(f"{where}: longer than {MAX_BYTES:,} bytes; add a column to obs instead")
    plain: dict[str, str] = {}
    text = "".join(_pieces(query.strip(), plain, where)).strip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" and the like
            tree = ast.parse(text, mode="eval").body
        n_operators = _count(tree)
    except (SyntaxError, ValueError):
        raise UserError(f"{where}: not a query; {_hint(query)}") from None
    except (RecursionError, MemoryError):
        n_operators = most + 1
    if n_operators > most:
        raise UserError(
            f"{where}: more than {MAX_OPERATORS} operators; compare with a list (COLUMN in "
            "['A', 'B']), or add a column to obs"
        )
    for node in ast.walk(tree):
        if not isinstance(node, NODES) or (isinstance(node, ast.Name) and node.id not in plain):
            raise UserError(
                f"{where}: a query may not hold this ({type(node).__name__}); use comparisons, "
                "in, not in, and, or, not"
            )
    return Query(text, plain, tree)


def _pieces(query: str, plain: dict[str, str], where: str) -> list[str]:
    """Tokens of the text as pandas is to read them; `plain` gets the names."""
    stand_ins: dict[str, str] = {}

    def stand_in(name: str) -> str:
        key = stand_ins.setdefault(name, f"column_{len(stand_ins)}")
        plain[key] = name
        return key

    pieces, place = [], 0
    for match in TOKEN.finditer(query):
        if match.start() != place:
            break
        place = match.end()
        if (name := match["quoted"]) is not None:
            pieces.append(stand_in(name))
        elif (word := match["word"]) and not keyword.iskeyword(word):
            _check_word(word, where)
            pieces.append(stand_in(word))
        else:
            pieces.append(SIGNS.get(match[0], match[0]))
        if (match["sign"] or "") in "#;\r\n\f\v\0" and match["sign"]:
            found = "a comment" if match["sign"] == "#" else "a line break or ;"
            raise UserError(f"{where}: a query is one expression; {found} is not allowed in it")
    if place != len(query):
        raise UserError(f"{where}: not a query; a quote or backtick is not closed")
    return pieces


def _check_word(word: str, where: str) -> None:
    """Python reads some words as others, pandas reads inf as infinity."""
    usual = word.isidentifier() and unicodedata.normalize("NFKC", word) == word
    if not usual or word in ("inf", "Inf"):
        raise UserError(f"{where}: {word} is no plain name; put column names in `backticks`")


def _hint(query: str) -> str:
    if re.search(r"[^=<>!]=[^=]", query):
        return "compare with =="
    if "&&" in query or "||" in query:
        return "use and, or"
    return "put text in quotes, and column names with spaces in `backticks`"


def _count(node: ast.AST) -> int:
    """Operators, as often as pandas evaluates them: in a < b < c it evaluates b twice."""
    children = [*ast.iter_child_nodes(node)]
    if isinstance(node, ast.Compare):
        children += node.comparators[:-1]
    own = isinstance(node, OPERATORS) + isinstance(node, ast.BoolOp) * (len(children) - 2)
    # A list cannot hold operators but signs; its values are many.
    return own + sum(map(_count, children))
