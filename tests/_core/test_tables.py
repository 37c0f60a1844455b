"""The renderer behind every summary: text that lines up, HTML and LaTeX that are escaped."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from mlinstruments._core.tables import Table, number

AWKWARD = r"x_1 & <b>50%</b> $#{~^}\ "
TABLE = Table(
    title=f"Title {AWKWARD}",
    facts=(("Observations", "3010"), ("Set", AWKWARD)),
    columns=("", "Estimate", "[0.025"),
    rows=(("educ", "0.1315", "-1.0000"), (AWKWARD, "-", "inf")),
    notes=(f"A note {AWKWARD}",),
)

NUMBERS = {
    0.0: "0.0000",
    -0.13149: "-0.1315",
    99999.0: "99999.0000",
    100000.0: "1.000e+05",
    -2.5e7: "-2.500e+07",
    0.0001: "0.0001",
    0.00009: "9.000e-05",
    float("inf"): "inf",
    float("-inf"): "-inf",
}


@pytest.mark.parametrize("value", NUMBERS)
def test_number(value):
    assert number(value) == NUMBERS[value]


def test_number_of_digits_and_of_nothing():
    assert number(float("nan")) == "-"
    assert number(13.256, 2) == "13.26"
    assert number(0.009, 2) == "9.000e-03"  # 0.01 would be a tenth off


def test_text_lines_up():
    lines = str(TABLE).splitlines()
    assert lines[0].startswith("Title")
    head, first, second = (
        next(line for line in lines if line.startswith(start))
        for start in ("   ", "educ", AWKWARD.rstrip())
    )
    assert head.index("Estimate") + len("Estimate") == first.index("0.1315") + len("0.1315")
    assert len(head) == len(first) == len(second)
    assert "Observations: 3010" in lines
    assert f"Set:          {AWKWARD}".rstrip() in lines
    assert lines[-1] == f"A note {AWKWARD}".rstrip()
    rules = [line for line in lines if set(line) <= {"=", "-"}]
    assert len(rules) == 4
    assert {len(rule) for rule in rules} == {max(len(TABLE.title), *map(len, lines[1:-1]))}
    assert all(line == line.rstrip() for line in lines)


def test_text_of_a_title_alone_and_of_facts_alone():
    assert str(Table("Only this")).splitlines() == ["Only this", "========="]
    assert str(Table("T", facts=(("a", "b"),))).splitlines() == ["T", "====", "a: b", "===="]


class Reader(HTMLParser):
    """Collects text by cell and insists that tags close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.rows = [], [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += int(dict(attrs).get("colspan", 1))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.cells.append((self.open[-1], data))


def test_html_is_well_formed_and_escaped():
    reader = Reader()
    reader.feed(TABLE.as_html())
    assert reader.open == []
    assert set(reader.rows) == {3}
    assert ("caption", TABLE.title) in reader.cells
    for row in (*TABLE.rows, *TABLE.facts):
        assert ("th", row[0]) in reader.cells
        for cell in row[1:]:
            assert ("td", cell) in reader.cells
    assert ("p", TABLE.notes[0]) in reader.cells
    assert TABLE._repr_html_() == TABLE.as_html()


def test_latex_is_balanced_and_escaped():
    text = TABLE.as_latex()
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    for command in ("toprule", "midrule", "bottomrule"):
        assert rf"\{command}" in text
    assert text.count(r"\begin{tabular}{lrr}") == text.count(r"\end{tabular}") == 1
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    escaped = r"x\_1 \& <b>50\%</b> \$\#\{\textasciitilde{}\textasciicircum{}\}\textbackslash{} "
    assert body.count(escaped) == 2  # a row name and a fact
    for line in body.splitlines():
        if line.endswith(r"\\"):
            columns = line.replace(r"\&", "").count("&") + 1
            assert columns == (2 if "multicolumn" in line else 3)
    assert rf"A note {escaped}" in text
