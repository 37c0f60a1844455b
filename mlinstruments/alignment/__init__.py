"""From a utility to fine-tuning data, a tuned model, and how far its choices moved."""

from .dataset import make_dataset
from .evaluate import compare_tuned, evaluate
from .evaluation import Evaluation
from .examples import Cost, Dataset, Example
from .finetune import finetune
from .greedy import GreedyAgent
from .labels import UTILITIES, Label, best_choice, matrix_kind
from .render import target
from .report import plot_accuracy
from .runs import FinetuneResult
from .sampling import affine_key
from .verify import check_target

__all__ = [
    "UTILITIES",
    "Cost",
    "Dataset",
    "Evaluation",
    "Example",
    "FinetuneResult",
    "GreedyAgent",
    "Label",
    "affine_key",
    "best_choice",
    "check_target",
    "compare_tuned",
    "evaluate",
    "finetune",
    "make_dataset",
    "matrix_kind",
    "plot_accuracy",
    "target",
]
