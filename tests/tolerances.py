"""Every tolerance of the tests, with its reason. EPS is the spacing of doubles, 2.2e-16."""

# The same sums in another order: n <= 1e3 additions round to at most n EPS.
ROUNDING = 1e-12

# Least squares by two routes (QR, normal equations, explicit inverses) on designs of condition
# number kappa <= 1e3: coefficients differ by about kappa^2 EPS = 2e-10, variances by a few times
# that.
SOLVE = 1e-8

# Ridge from sums of Gram matrices and from the rows of a cell, relative to the target's standard
# deviation: beyond a condition number of 1e6 the sums are not used, and 1e6 EPS = 2e-10 is the worst
# case, where every rounding error points along the worst direction. The package promises this much.
GRAM_PATHS = 1e-10

# Sums taken for many samples at once and for one at a time, in other orders, then solved at condition
# numbers up to 1e6: 1e6 EPS = 2e-10 at worst, and two digits less for systems met in practice. Half
# of a promise of 1e-10.
BATCHED = 5e-11

# An estimate reached through residualised instruments and one reached from them as regressors
# again: two of the above in a row.
IDENTITY = 1e-9

# A root t of a quadratic (matrix) polynomial carries EPS times its condition number, at most 1e6
# in the cases kept; p-values and statistics at the root inherit it.
ROOT = 1e-7

# Numerical derivative of a quadratic by central differences of step 1e-5: exact but for rounding,
# EPS * loss / step = 1e-9 for a loss of order 1e2.
DERIVATIVE = 1e-6

# LightGBM keeps gradients as 32-bit floats (spacing 6e-8 relative), summed over rows and rounds.
FLOAT32 = 1e-5

# Numbers printed with k decimals: half a unit of the last of them, and a hair for binary rounding.
PRINTED = {
    0: 0.5001,
    1: 0.05001,
    2: 0.005001,
    3: 0.0005001,
    4: 0.00005001,
    6: 0.50001e-6,
    9: 0.50001e-9,
    10: 0.50001e-10,
}

# Backfitting of a linear learner is Gauss-Seidel; it is stopped where fits move by 1e-6 of the
# target's standard deviation, and converges geometrically at rate R^2(W | X) < 1/2 in the design.
BACKFITTING = 1e-5

# ---- maximum likelihood --------------------------------------------------------------------------

# Numerical derivatives of a log-likelihood L of order 1e3 by central differences of step h = 1e-6
# or 1e-5: rounding EPS L / h is at most 2e-7, truncation h^2 times a third derivative of order 1e3.
DIFFERENCE = 1e-5

# BFGS stops at a gradient of 1e-6 of a log-likelihood with curvature of order one (scaled).
OPTIMISER = 1e-4

# Two Newton methods, both settled: the square root of 1e-16 of the log-likelihood, relative.
NEWTON = 1e-6

# Newton on a mixture stops where a step could gain 1e-15 of the log-likelihood L, of order 1e3:
# estimates are within sqrt(2e-12) = 1.4e-6 standard errors, and the last step, which is quadratic,
# does better.
MIXTURE = 1e-6

# Two fits of an individual, both polished by a last Newton step: what is left is rounding times the
# condition of an individual's information (at most 1e6).
POLISHED = 1e-8

# Newton stops where a further step gains 1e-16 of the log-likelihood: theta is then right to about
# the square root of that, relative.
MAXIMUM = 1e-7

# Iteration of quantal response stops where probabilities move by 1e-12 and contracts by a half or
# better.
FIXED_POINT = 1e-11

# ---- language models -----------------------------------------------------------------------------

# Probabilities from logits in float32: logits of order 30 have a spacing of 2e-6, a product over a
# whole prompt and over its last token sums 30 layers in another order, and an absolute error of a
# logit is a relative one of the probability.
FLOAT32_LOGITS = 1e-4

# Probability of a label on a quantised runtime and in float32: .740 to .780 were seen on one prompt
# over runtimes, precisions and prompt caches.
RUNTIMES = 0.04
