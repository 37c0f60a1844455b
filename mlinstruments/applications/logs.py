"""Logs that begin with the settings of their run, so that no other run is mixed into them."""

from __future__ import annotations

from mlinstruments._core.exceptions import InputError
from mlinstruments.agents.journal import Journal, Row
from mlinstruments.preferences.readers import shown


def same_run(journal: Journal, settings: Row, source: str) -> None:
    """Write the settings to a new log; refuse one that has others.

    Parameters
    ----------
    journal : Journal
    settings : dict
        What the answers depend on, as JSON; ``record`` says what the log is of.
    source : str
        What to call the log in errors.

    Raises
    ------
    InputError
        Where the log is of something else, or of another run.
    """
    if not journal.rows:
        journal.write([settings])
        return
    kept = journal.rows[0]
    if kept.get("record") != settings["record"]:
        raise InputError(f"{source} is not a log of {settings['record']}: write to another one.")
    for name in dict.fromkeys([*kept, *settings]):
        if kept.get(name) != settings.get(name):
            raise InputError(
                f"{source} was made with {name} {shown(kept.get(name), 200)}, and this run has"
                f" {shown(settings.get(name), 200)}: write to another log."
            )
