"""Learned instruments for linear IV, and preferences from game choices."""

from .iv.comparators import LIML, OLS, TSLS, Fuller
from .iv.compare import compare
from .iv.confidence_set import ConfidenceSet
from .iv.exclusion_sets import ExclusionBounds
from .iv.explain import FirstStageExplanation, explain_first_stage
from .iv.gmm import GMM
from .iv.jackknife import IJIVE, JIVE, UJIVE
from .iv.mliv import MLIV
from .iv.mliv_results import MLIVResults
from .iv.mte_weights import MTEWeights, mte_weights
from .iv.pliv import PLIV
from .iv.post_lasso import PostLassoIV, PostLassoResults
from .iv.results import IVResults
from .iv.sensitivity import exclusion_bounds
from .iv.specification_tests import SpecificationTests, specification_tests
from .iv.split_sample import SplitSampleIV
from .iv.weak_instrument_tests import WeakInstrumentTests, weak_instrument_tests
from .preferences.choices import AllocationChoices, ChoiceData
from .preferences.logit import PreferenceLogit
from .preferences.results import PreferenceResults

__version__ = "0.1.0"
__all__ = [
    "GMM",
    "IJIVE",
    "JIVE",
    "LIML",
    "MLIV",
    "OLS",
    "PLIV",
    "TSLS",
    "UJIVE",
    "AllocationChoices",
    "ChoiceData",
    "ConfidenceSet",
    "ExclusionBounds",
    "FirstStageExplanation",
    "Fuller",
    "IVResults",
    "MLIVResults",
    "MTEWeights",
    "PostLassoIV",
    "PostLassoResults",
    "PreferenceLogit",
    "PreferenceResults",
    "SpecificationTests",
    "SplitSampleIV",
    "WeakInstrumentTests",
    "compare",
    "exclusion_bounds",
    "explain_first_stage",
    "mte_weights",
    "specification_tests",
    "weak_instrument_tests",
]
