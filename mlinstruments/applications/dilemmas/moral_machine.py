"""Files of the Moral Machine: read by the columns of their codebook, and summarised.

A scenario is two rows, one an outcome: what happens if the car stays and if it swerves. ``Saved``
says whose lives the respondent spared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlinstruments._core.exceptions import InputError, MissingRowsWarning
from mlinstruments._core.tables import Printed, Table, number
from mlinstruments._core.typing import FloatArray
from mlinstruments._core.warn import warn_user
from mlinstruments.preferences.readers import as_pandas, shown

from ..regression import clustered_ols

COLUMNS = (
    "ResponseID", "UserID", "Intervention", "PedPed", "Barrier", "CrossingSignal",
    "AttributeLevel", "ScenarioTypeStrict", "ScenarioType", "Saved",
)  # fmt: skip
CODES = {"Intervention": (0, 1), "PedPed": (0, 1), "Barrier": (0, 1), "CrossingSignal": (0, 1, 2),
         "Saved": (0, 1)}  # fmt: skip
# Characters whom the codebook leaves out of comparisons of social status.
NEITHER_HIGH_NOR_LOW = ("Criminal", "MaleDoctor", "FemaleDoctor")
STATUS = ("Social Value", "Social Status")
# Attribute: types of scenario, level compared with, level.
CHARACTERS = {
    "gender": (("Gender",), "Male", "Female"),
    "age": (("Age",), "Old", "Young"),
    "fitness": (("Fitness",), "Fat", "Fit"),
    "social status": (STATUS, "Low", "High"),
    "number": (("Utilitarian",), "Less", "More"),
    "species": (("Species",), "Pets", "Hoomans"),
}
WORDS = {
    "Fat": "large", "Hoomans": "humans", "Less": "fewer",
    "Low": "low status", "High": "high status",
}  # fmt: skip
STAY_SWERVE = ("those hit on course", "those hit by a swerve")


def read_moral_machine(source: Any, max_rows: int | None = None) -> pd.DataFrame:
    """Read a file of outcomes, such as ``SharedResponses.csv``, and keep whole scenarios.

    Parameters
    ----------
    source : path, or data frame
        A CSV file, compressed or not, or a table that was read already.
    max_rows : int, optional
        Read so many rows from the top.

    Returns
    -------
    DataFrame
        Two rows a scenario, one of them saved.

    Raises
    ------
    InputError
        Where a column of the codebook is missing or holds a value it cannot, or no scenario is
        whole.

    Warns
    -----
    MissingRowsWarning
        Where rows lack a value, or the other outcome of their scenario; it counts them.

    References
    ----------
    Awad, Dsouza, Kim, Schulz, Henrich, Shariff, Bonnefon, Rahwan (2018),
    doi:10.1038/s41586-018-0637-6.

    Examples
    --------
    >>> import pandas as pd
    >>> from mlinstruments.applications.dilemmas import read_moral_machine
    >>> rows = pd.DataFrame({
    ...     "ResponseID": ["a", "a"], "UserID": [1, 1], "Intervention": [0, 1], "PedPed": [1, 1],
    ...     "Barrier": [0, 0], "CrossingSignal": [1, 2], "AttributeLevel": ["Old", "Young"],
    ...     "ScenarioTypeStrict": ["Age", "Age"], "ScenarioType": ["Age", "Age"],
    ...     "Saved": [0, 1]})
    >>> len(read_moral_machine(rows))
    2
    """
    wanted = {*COLUMNS, *NEITHER_HIGH_NOR_LOW}
    if isinstance(source, str | Path):
        table = pd.read_csv(
            source, usecols=lambda name: name in wanted, nrows=max_rows, low_memory=False
        )
    else:
        table = as_pandas(source, "the table")
        table = table[[name for name in table.columns if name in wanted]].head(max_rows)
    lacking = [name for name in COLUMNS if name not in table.columns]
    if lacking:
        raise InputError(
            f"column {lacking[0]!r} is missing: a file of outcomes of the Moral Machine has"
            f" {', '.join(COLUMNS)}."
        )
    # Early scenarios have no strict type; they count for attributes that every scenario has.
    complete = table.drop(columns=["ScenarioTypeStrict"]).notna().all(axis=1)
    kept = table[complete]
    for name, codes in CODES.items():
        values = pd.to_numeric(kept[name], errors="coerce")
        bad = ~values.isin(codes)
        if bad.any():
            value = shown(kept.loc[bad, name].iloc[0])
            raise InputError(
                f"row {kept.index[bad][0]}: {name} is {value}; it must be one of"
                f" {', '.join(map(str, codes))}."
            )
        kept = kept.assign(**{name: values.astype(np.int64)})
    grouped = kept.groupby("ResponseID")["Saved"]
    whole = (grouped.transform("size") == 2) & (grouped.transform("sum") == 1)
    found = kept[whole].reset_index(drop=True)
    if found.empty:
        raise InputError("no scenario is whole: two rows with one ResponseID, one of them saved.")
    dropped = len(table) - len(found)
    if dropped:
        warn_user(
            f"{dropped} of {len(table)} rows dropped: {int((~complete).sum())} lack a value, the"
            " others the other outcome of their scenario.",
            MissingRowsWarning,
        )
    return found


@dataclass(frozen=True, eq=False, repr=False)
class MarginalEffects(Printed):
    """Average marginal component effects.

    Parameters
    ----------
    table : DataFrame
        By attribute: ``from`` and ``to``, ``effect`` on the probability of being saved,
        ``std_error`` clustered by respondent, ``lower``, ``upper``, ``outcomes``, ``respondents``.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from mlinstruments.applications.dilemmas import marginal_effects
    >>> k = np.arange(400)
    >>> young = np.repeat(k % 4 > 0, 2)  # spared in three of four scenarios
    >>> rows = pd.DataFrame({
    ...     "ResponseID": np.repeat(k, 2), "UserID": np.repeat(k // 10, 2),
    ...     "Intervention": [0, 1] * 400, "PedPed": 1, "Barrier": 0, "CrossingSignal": 0,
    ...     "AttributeLevel": ["Old", "Young"] * 400, "ScenarioTypeStrict": "Age",
    ...     "ScenarioType": "Age", "Saved": (np.tile([0, 1], 400) == young) * 1})
    >>> float(marginal_effects(rows).table.loc["age", "effect"].round(3))
    0.5
    """

    table: pd.DataFrame

    @property
    def summary(self) -> Table:
        """A row an attribute."""
        rows = tuple(
            (
                f"{name}: {row['from']} -> {row['to']}",
                number(row["effect"]),
                number(row["std_error"]),
                number(row["lower"]),
                number(row["upper"]),
                str(int(row["outcomes"])),
                str(int(row["respondents"])),
            )
            for name, row in self.table.iterrows()
        )
        heads = ("", "effect", "se", "[0.025", "0.975]", "outcomes", "respondents")
        note = "Change in the probability of being saved; clustered by respondent."
        return Table("Average marginal component effects", (), heads, rows, (note,))


def marginal_effects(data: Any, clusters: str = "UserID") -> MarginalEffects:
    """Average marginal component effects of the nine attributes, as far as the data have them.

    The difference in the share of outcomes saved between two levels. Levels of the characters are
    drawn independently of everything else. Which outcome needs a swerve, who is in the car and who
    crosses on which light are drawn together: there shares are compared within every combination
    of the others, and averaged over these.

    Parameters
    ----------
    data : DataFrame or path
        As :func:`read_moral_machine` takes it.
    clusters : str
        Column of respondents.

    Returns
    -------
    MarginalEffects

    Raises
    ------
    InputError
        As :func:`read_moral_machine`, and where no attribute has both of its levels.

    References
    ----------
    Hainmueller, Hopkins, Yamamoto (2014), doi:10.1093/pan/mpt024; Awad et al. (2018),
    doi:10.1038/s41586-018-0637-6.
    """
    table = read_moral_machine(data)
    pairs = table[table["PedPed"] == 0]
    lights = table[(table["PedPed"] == 1) & (table["CrossingSignal"] > 0)]
    found = {}
    structure = ["PedPed", "Barrier", "CrossingSignal"]
    for name, rows, treated, code, levels, strata in (
        ("intervention", table, "Intervention", 1, STAY_SWERVE, structure),
        ("relation", pairs, "Barrier", 0, ("passengers", "pedestrians"), ["Intervention"]),
        ("law", lights, "CrossingSignal", 1, ("unlawful", "lawful"), ["Intervention"]),
    ):
        found[name] = _effect(rows, rows[treated] == code, levels, strata, clusters)
    for name, (types, low, high) in CHARACTERS.items():
        rows = table[table["ScenarioType"].isin(types)]
        rows = rows[rows["ScenarioTypeStrict"] == rows["ScenarioType"]]
        if types == STATUS:
            rows = _high_or_low(rows)
        rows = rows[rows["AttributeLevel"].isin([low, high])]
        levels = (WORDS.get(low, low.lower()), WORDS.get(high, high.lower()))
        found[name] = _effect(rows, rows["AttributeLevel"] == high, levels, [], clusters)
    kept = {name: row for name, row in found.items() if row is not None}
    if not kept:
        raise InputError("no attribute has outcomes at both of its levels.")
    return MarginalEffects(pd.DataFrame.from_dict(kept, orient="index").rename_axis("attribute"))


def _high_or_low(rows: pd.DataFrame) -> pd.DataFrame:
    """Without scenarios that have characters the codebook leaves out of this comparison."""
    known = [name for name in NEITHER_HIGH_NOR_LOW if name in rows.columns]
    if not known:
        return rows
    other = rows[known].apply(pd.to_numeric, errors="coerce").fillna(0).gt(0).any(axis=1)
    return rows[~other.groupby(rows["ResponseID"]).transform("any")]


def _effect(
    rows: pd.DataFrame, better: pd.Series, levels: tuple[str, str], strata: list[str], clusters: str
) -> dict[str, Any] | None:
    """Effect of one attribute, or None where a level never occurs."""
    data = rows.assign(treated=better.astype(np.int64))
    weights = _balance(data, strata)
    data, weights = data[weights > 0], weights[weights > 0]
    if data["treated"].nunique() < 2 or data[clusters].nunique() < 2:
        return None
    fit = clustered_ols("Saved ~ treated", data, clusters, weights)
    low, high = fit.conf_int().loc["treated"]
    return {
        "from": levels[0],
        "to": levels[1],
        "effect": float(fit.params["treated"]),
        "std_error": float(fit.std_errors["treated"]),
        "lower": float(low),
        "upper": float(high),
        "outcomes": len(data),
        "respondents": fit.n_clusters,
    }


def _balance(data: pd.DataFrame, strata: list[str]) -> FloatArray:
    """Weights that give both levels the same strata: its size over the level's number in it.

    Zero in strata where one level never occurs, since there is nothing to compare.
    """
    if not strata:
        return np.ones(len(data))
    size = data.groupby(strata)["treated"].transform("size").to_numpy(dtype=np.float64)
    own = data.groupby([*strata, "treated"])["treated"].transform("size").to_numpy()
    return np.where(size > own, size / own, 0.0)
