"""Logs of other programs as tables for ``ChoiceData``.

None of these logs holds payoffs, so that each reader takes protocols or requests to join; what a
model wrote is read by a function ``parse`` from text to (status, choice), where status is
``ok``, ``refusal``, ``ambiguous`` or ``parse_error``. A server's error is no answer: such rows are
left out, and a warning counts them.
"""

from .edsl import read_edsl
from .inspect_log import read_inspect
from .openai_batch import read_openai_batch
from .otree import read_otree

__all__ = ["read_edsl", "read_inspect", "read_openai_batch", "read_otree"]
