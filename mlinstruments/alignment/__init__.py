"""From a utility to fine-tuning data, a tuned model, and how far its choices moved."""

from .labels import UTILITIES, Label, best_choice, matrix_kind
from .render import target

__all__ = ["UTILITIES", "Label", "best_choice", "matrix_kind", "target"]
