"""linearmodels' formulas, ``"y ~ 1 + x + [d ~ z1 + z2]"``: parsed, checked, turned into frames."""

from __future__ import annotations

import ast
import builtins
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.exceptions import InputError

EXAMPLE = "'lwage ~ 1 + exper + [educ ~ nearc2 + nearc4]'"
_SHAPE = re.compile(
    r"(?P<dependent>[^~\[\]]+)~(?P<before>[^~\[\]]*)"
    r"\[(?P<endog>[^~\[\]]+)~(?P<instruments>[^~\[\]]+)\](?P<after>[^~\[\]]*)"
)


@dataclass(frozen=True)
class IVFormula:
    """The four parts of an instrumental-variable formula.

    Parameters
    ----------
    dependent, exog, endog, instruments : str
        Formulas of one side each; ``exog`` may be empty. No constant is implied.

    Examples
    --------
    >>> IVFormula.parse("y ~ 1 + x + [d ~ z]")
    IVFormula(dependent='y', exog='1 + x', endog='d', instruments='z')
    """

    dependent: str
    exog: str
    endog: str
    instruments: str

    @classmethod
    def parse(cls, formula: str) -> IVFormula:
        """Split a formula into its parts, or raise an InputError that shows an example."""
        match = _SHAPE.fullmatch(str(formula))
        if match is None:
            raise InputError(f"formula {formula!r} is not understood: {_complaint(str(formula))}")
        sides = [match[key].strip().strip("+").strip() for key in ("before", "after")]
        exog = " + ".join(side for side in sides if side).replace("+ -", "-")
        names = ("dependent", "endog", "instruments")
        return cls(exog=exog, **{name: match[name].strip() for name in names})

    def variables(
        self, columns: Iterable[str], context: Mapping[str, Any]
    ) -> dict[str, tuple[str, ...]]:
        """Columns of the data each part needs; names that are nowhere raise an InputError."""
        listed = list(columns)
        parts = vars(self).items()
        return {role: _variables(text, role, listed, context) for role, text in parts}

    def frames(self, data: pd.DataFrame, context: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
        """Evaluate every part.

        Parameters
        ----------
        data : DataFrame, n rows
            No entry may be missing but in columns that only the instruments use.
        context : mapping
            Functions and values a formula may use, beside numpy as ``np``.

        Returns
        -------
        dict of DataFrame, n rows each
            By part. Instruments that are plain columns stay as they are; transformed ones are
            missing wherever a column they use is.
        """
        tidy = data.apply(_tidy)
        exog = _matrix(self.exog, "exog", tidy, context)
        # Next to a constant a categorical treatment needs a base level, as in exog.
        constant = "1 + " if "Intercept" in exog else ""
        return {
            "dependent": _matrix(self.dependent, "dependent", tidy, context),
            "exog": exog,
            "endog": _without_intercept(_matrix(constant + self.endog, "endog", tidy, context)),
            "instruments": _instruments(self.instruments, data, tidy, context),
        }


def unknown_column(name: str, columns: Iterable[Any], where: str) -> InputError:
    """The error for a name that is not a column of the data, with close matches.

    Examples
    --------
    >>> print(unknown_column("educ2", ["educ", "wage"], "endog"))
    'educ2' (in endog) is not a column of data. Did you mean 'educ'?
    """
    listed = [str(column) for column in columns]
    near = difflib.get_close_matches(name, listed, n=3, cutoff=0.5)
    guess = " or ".join(map(repr, near))
    hint = f"Did you mean {guess}?" if near else f"Its columns are {', '.join(listed[:10])}."
    return InputError(f"{name!r} (in {where}) is not a column of data. {hint}")


def _complaint(formula: str) -> str:
    brackets = formula.count("[")
    if brackets == 0:
        problem = "it has no [endogenous ~ instruments] block"
    elif brackets > 1:
        problem = "it has more than one [...] block"
    elif "~" not in formula.partition("[")[2].partition("]")[0]:
        problem = "the [...] block needs a ~ between endogenous variables and instruments"
    else:
        problem = "it needs one dependent variable, a ~, and one [endogenous ~ instruments] block"
    return f"{problem}. Write it like {EXAMPLE}."


def _parsed(terms: Any, role: str) -> Any:
    from formulaic import Formula, SimpleFormula
    from formulaic.errors import FormulaicError
    from formulaic.parser import DefaultFormulaParser

    parser = DefaultFormulaParser(include_intercept=False)
    try:
        parsed = Formula(terms, _parser=parser)
    except (FormulaicError, KeyError) as error:  # KeyError: the wildcard "."
        raise _not_understood(terms, role, error) from None
    if not isinstance(parsed, SimpleFormula):
        raise InputError(f"{terms!r} (in {role}) has more than one part: join terms with +.")
    return parsed


def _not_understood(terms: Any, role: str, error: Exception) -> InputError:
    text = terms if isinstance(terms, str) else " + ".join(map(str, terms))
    reason = re.sub(r"\W?\x1b?\[[\d;]*m\W?", "", str(error)).split("\n")[0]
    return InputError(
        f"{text!r} (in {role}) cannot be evaluated: {reason} Write it like {EXAMPLE}."
    )


def _variables(
    terms: Any, role: str, columns: list[str], context: Mapping[str, Any]
) -> tuple[str, ...]:
    """Columns in ``terms``; formulaic's own list omits the arguments of stateful functions."""
    from formulaic.transforms import TRANSFORMS

    if not terms:
        return ()
    factors = [factor for term in _parsed(terms, role) for factor in term.factors]
    found = {name for factor in factors for name in _names(factor)} - set(dir(builtins))
    for name in sorted(found - set(columns) - set(context) - set(TRANSFORMS)):
        raise unknown_column(name, columns, role)
    return tuple(sorted(found & set(columns), key=columns.index))


def _names(factor: Any) -> set[str]:
    """Names in a factor, but for functions called by name."""
    if factor.eval_method.value == "lookup":
        return {factor.expr}
    quoted = re.findall("`([^`]+)`", factor.expr)
    try:
        nodes = list(ast.walk(ast.parse(re.sub("`[^`]+`", "None", factor.expr), mode="eval")))
    except SyntaxError:
        return set(quoted)  # formulaic will say what is wrong with it
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    return {n.id for n in nodes if isinstance(n, ast.Name) and id(n) not in called} | set(quoted)


def _matrix(terms: Any, role: str, data: pd.DataFrame, context: Mapping[str, Any]) -> pd.DataFrame:
    if not terms:
        return pd.DataFrame(index=data.index)
    from formulaic.errors import FormulaicError

    try:
        # formulaic would drop missing rows in silence; "ignore" leaves them to be counted.
        matrix: pd.DataFrame = _parsed(terms, role).get_model_matrix(
            data, context=dict(context), na_action="ignore", output="pandas"
        )
        return matrix
    except (FormulaicError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise _not_understood(terms, role, error) from error


def _without_intercept(matrix: pd.DataFrame) -> pd.DataFrame:
    return matrix.drop(columns="Intercept", errors="ignore")


def _instruments(
    text: str, raw: pd.DataFrame, tidy: pd.DataFrame, context: Mapping[str, Any]
) -> pd.DataFrame:
    terms = [term for term in _parsed(text, "instruments") if str(term) != "1"]
    derived = [term for term in terms if not _is_column(term, raw)]
    matrix = _matrix(["1", *derived] if derived else "", "instruments", tidy, context)
    pieces = []
    for term in terms:
        if _is_column(term, raw):
            pieces.append(raw[[term.factors[0].expr]])
        else:
            columns = matrix.iloc[:, matrix.model_spec.term_indices[term]]
            pieces.append(_blank_missing(columns, term, raw, context))
    return pd.concat(pieces, axis=1) if pieces else pd.DataFrame(index=raw.index)


def _is_column(term: Any, data: pd.DataFrame) -> bool:
    factors = term.factors
    return (
        len(factors) == 1
        and factors[0].eval_method.value == "lookup"
        and factors[0].expr in data.columns
    )


def _blank_missing(
    columns: pd.DataFrame, term: Any, data: pd.DataFrame, context: Mapping[str, Any]
) -> pd.DataFrame:
    """Missing where a variable is: dummies of a missing category would read as the base level."""
    needed = list(_variables([term], "instruments", list(data.columns), context))
    missing = data[needed].isna().any(axis=1).to_numpy()
    values = np.array(columns, dtype=np.float64)
    values[missing] = np.nan
    return pd.DataFrame(values, columns.index, columns.columns)


def _tidy(column: pd.Series) -> pd.Series:
    """A column as formulaic should see it: numbers as numbers, only categories that occur."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.remove_unused_categories()
    if column.dtype == object:
        column = _from_objects(column)
    if pd.api.types.is_bool_dtype(column.dtype) and not column.isna().any():
        return column.astype(np.int64)
    if pd.api.types.is_numeric_dtype(column.dtype) and not isinstance(column.dtype, np.dtype):
        return _from_extension(column)
    return column


def _from_objects(column: pd.Series) -> pd.Series:
    # formulaic takes any object column for a category, numbers stored as objects too.
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in ("decimal", "floating", "mixed-integer-float", "integer"):
        return pd.to_numeric(column.astype(np.float64) if kind == "decimal" else column)
    return column.infer_objects()


def _from_extension(column: pd.Series) -> pd.Series:
    whole = pd.api.types.is_integer_dtype(column.dtype) and not column.isna().any()
    if whole:
        return column.astype(np.int64)
    return pd.Series(column.to_numpy(np.float64, na_value=np.nan), column.index, name=column.name)
