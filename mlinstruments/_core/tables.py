"""The one renderer behind every summary: a small table as text, HTML or LaTeX."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from textwrap import wrap

RULE = "="
THIN = "-"
# Notes are wrapped at this or at the table's own width, whichever is more.
WIDTH = 88


@dataclass(frozen=True)
class Table:
    """Rows and columns of finished strings, with facts above and notes below.

    Parameters
    ----------
    title : str
        First line.
    facts : tuple of (name, value) pairs
        Shown above the body, one pair a line.
    columns : tuple of str
        Heads of the body's columns; the first column holds row names.
    rows : tuple of tuples of str
        The body.
    notes : tuple of str
        Lines below the body.

    Examples
    --------
    >>> from mlinstruments._core.tables import Table
    >>> print(Table("A table", columns=("", "b"), rows=(("x", "1.0"),)))
    A table
    =======
          b
    -------
    x   1.0
    =======
    """

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return self.as_text()

    def _repr_html_(self) -> str:
        return self.as_html()

    def as_text(self) -> str:
        """The table for a terminal."""
        body = _text_body(self.columns, self.rows)
        facts = _text_facts(self.facts)
        width = max(map(len, [self.title, *body, *facts]))
        lines = [self.title, RULE * width]
        if facts:
            lines += [*facts, THIN * width if body else RULE * width]
        if body:
            lines += [body[0], THIN * width, *body[1:], RULE * width]
        for note in self.notes:
            lines += wrap(note, max(width, WIDTH), break_long_words=False, break_on_hyphens=False)
        return "\n".join(line.rstrip() for line in lines)

    def as_html(self) -> str:
        """The table for a notebook."""
        cell = html.escape
        out = ["<table>", f"<caption>{cell(self.title)}</caption>"]
        if self.facts:
            width = max(len(self.columns), 2)
            for name, value in self.facts:
                out.append(
                    f"<tr><th scope='row'>{cell(name)}</th>"
                    f"<td colspan='{width - 1}'>{cell(value)}</td></tr>"
                )
        if self.columns:
            heads = "".join(f"<th scope='col'>{cell(c)}</th>" for c in self.columns)
            out.append(f"<tr>{heads}</tr>")
        for row in self.rows:
            cells = "".join(f"<td>{cell(v)}</td>" for v in row[1:])
            out.append(f"<tr><th scope='row'>{cell(row[0])}</th>{cells}</tr>")
        out.append("</table>")
        out += [f"<p>{cell(note)}</p>" for note in self.notes]
        return "\n".join(out)

    def as_latex(self) -> str:
        """The table for a paper, in booktabs style."""
        width = max(len(self.columns), 2)
        out = [rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}", r"\toprule"]
        if self.columns:
            out += [_latex_row(self.columns), r"\midrule"]
        out += [_latex_row(row) for row in self.rows]
        if self.facts:
            out.append(r"\midrule")
            for name, value in self.facts:
                out.append(
                    rf"{_latex(name)} & \multicolumn{{{width - 1}}}{{r}}{{{_latex(value)}}} \\"
                )
        out += [r"\bottomrule", r"\end{tabular}"]
        out += [rf"\par\footnotesize {_latex(note)}" for note in self.notes]
        return "\n".join(out)


class Printed:
    """What has a ``summary``: prints, shows itself in notebooks and goes into papers."""

    @property
    def summary(self) -> Table:
        """The whole table."""
        raise NotImplementedError

    @property
    def _shown(self) -> Table:
        """What printing shows: the summary, unless a class has something shorter."""
        return self.summary

    def as_latex(self) -> str:
        """The summary for a paper."""
        return self.summary.as_latex()

    def __str__(self) -> str:
        return str(self._shown)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self._shown.as_html()


def number(value: float, digits: int = 4) -> str:
    """A number for a table cell: fixed decimals, or scientific where those would mislead.

    Examples
    --------
    >>> number(0.13149), number(123456.7), number(float("nan")), number(0.0)
    ('0.1315', '1.235e+05', '-', '0.0000')
    """
    if value != value:
        return "-"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    size = abs(value)
    if size and (size >= 1e5 or size < 10**-digits):
        return f"{value:.3e}"
    return f"{value:.{digits}f}"


def _text_body(columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> list[str]:
    if not columns:
        return []
    widths = [max(len(row[j]) for row in (columns, *rows)) for j in range(len(columns))]
    lines = []
    for row in (columns, *rows):
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("   ".join([first, *rest]))
    return lines


def _text_facts(facts: tuple[tuple[str, str], ...]) -> list[str]:
    if not facts:
        return []
    name_width = max(len(name) for name, _ in facts) + 1
    return [f"{name + ':':<{name_width}} {value}" for name, value in facts]


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_row(cells: tuple[str, ...]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"
