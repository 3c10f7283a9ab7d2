"""What a query of an owner may be: one statement that reads.

The database itself holds a session to that (a read-only transaction, one statement at a time). This check comes
first, so that a mistake is named in clear words, and so that nothing reaches the server that a read-only
transaction lets through, such as writing a file with SELECT ... INTO OUTFILE.
"""

from __future__ import annotations

import re

from atoll.errors import AtollError

MAX_QUERY = 65_536
_STARTS = {"SELECT", "WITH", "VALUES", "TABLE"}
_QUOTED = {
    "postgresql": r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$",
    "mysql": r"'(?:[^'\\]|''|\\.)*'|\"(?:[^\"\\]|\"\"|\\.)*\"|`(?:[^`]|``)*`",
    "sqlite": r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\[[^\]]*\]",
}
_COMMENTS = {
    "postgresql": r"--[^\n]*|/\*.*?\*/",
    "mysql": r"--(?=\s|$)[^\n]*|\#[^\n]*|/\*.*?\*/",
    "sqlite": r"--[^\n]*|/\*.*?\*/",
}
_TOKENS = {
    dialect: re.compile(
        rf"(?P<quoted>{quoted})|(?P<comment>{_COMMENTS[dialect]})|(?P<word>[^\W\d]\w*)|(?P<mark>[;(])|(?P<other>.)",
        re.DOTALL,
    )
    for dialect, quoted in _QUOTED.items()
}


def _refuse(text: str) -> AtollError:
    return AtollError(
        "E_SOURCE",
        f"{text}.",
        fault="caller",
        cure="Give one SELECT that reads the rows, or the name of a table.",
    )


def check_query(query: str, dialect: str) -> str:
    """`query` if it is one reading statement, without a semicolon at its end.

    Raises:
        AtollError: `E_SOURCE` if it is something else, or longer than 65,536 characters.
    """
    if not isinstance(query, str) or not query.strip() or len(query) > MAX_QUERY or "\0" in query:
        raise _refuse(f"a query has 1 to {MAX_QUERY} characters and no NUL")
    query = query.strip().removesuffix(";").rstrip()
    first = True
    for token in _TOKENS[dialect].finditer(query):
        kind = token.lastgroup if token.lastgroup != "tag" else "quoted"
        text = token[0]
        if kind == "comment":
            if text.startswith(("/*!", "/*M!")):
                raise _refuse("a query has no comment that the server would execute")
            continue
        if kind == "quoted" or text.isspace():
            continue
        word = text.upper()
        if text == ";":
            raise _refuse("a query is a single statement, and this one has a semicolon in it")
        if first and text != "(" and word not in _STARTS:
            raise _refuse(f"a query begins with SELECT or WITH, not with {text[:40]!r}")
        if text != "(":
            first = False
        if kind == "word" and word == "INTO":
            raise _refuse("a query only reads, and this one says INTO")
    if first:
        raise _refuse("the query has no statement in it")
    return query


def table_query(table: str, quote: str) -> str:
    """`SELECT * FROM` a table, its name of one to three parts quoted by the dialect's mark."""
    parts = table.split(".") if isinstance(table, str) else []
    if not 1 <= len(parts) <= 3 or not all(0 < len(p) <= 128 and p.isprintable() for p in parts):
        raise _refuse(f"{table!r:.80} is not a name like schema.table")
    name = ".".join(quote + part.replace(quote, quote * 2) + quote for part in parts)
    return f"SELECT * FROM {name}"  # noqa: S608, the name is quoted
