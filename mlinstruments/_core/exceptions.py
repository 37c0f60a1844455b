"""Every error and warning the package raises on purpose."""

from __future__ import annotations


class InputError(ValueError):
    """The input cannot be used: the message says what was given and how to mend it."""


class NotIdentifiedError(ValueError):
    """A number was asked for that the data do not identify."""


class MissingExtraError(ImportError):
    """An optional package is needed for what was asked.

    Parameters
    ----------
    package : str
        Import name of the missing package.
    extra : str
        The extra of this package that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is needed here and is not installed: pip install 'mlinstruments[{extra}]'"
        )


class MissingRowsWarning(UserWarning):
    """Rows with missing values were dropped; the message counts them."""


class AssumptionWarning(UserWarning):
    """What was asked for holds only under an assumption the message names."""


class FallbackWarning(UserWarning):
    """What was asked for cannot be had with these data; the message says what was done instead."""


class SingletonWarning(UserWarning):
    """Rows alone in an absorbed group were dropped; the message counts them."""


class WeakInstrumentWarning(UserWarning):
    """The learned first stage carries no usable signal."""
