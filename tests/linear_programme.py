"""The exact optimum of a weight fit without L2, by linear programming: what the solver is held against."""

import numpy as np
from scipy.optimize import linprog

from rbr_service.rbr.fit import Problem


def optimum(problem: Problem) -> float:
    """min of the hinge loss within the bounds, by the dual programme (HiGHS).

    max target @ a over 0 <= a <= share, where x.T @ a is 0 in each free parameter, at most 0 in one that
    is held >= 0, at least 0 in one that is held <= 0, and anything in one that is fixed.
    """
    low, high = np.isfinite(problem.bounds.lb), np.isfinite(problem.bounds.ub)
    assert np.all(problem.bounds.lb[low] == 0), "a bound is 0 or none"
    assert np.all(problem.bounds.ub[high] == 0), "a bound is 0 or none"
    columns = problem.x.T
    free, positive, negative = ~low & ~high, low & ~high, high & ~low
    sides = np.vstack([columns[positive], -columns[negative]])
    solved = linprog(
        -problem.target, A_ub=sides, b_ub=np.zeros(len(sides)), A_eq=columns[free],
        b_eq=np.zeros(int(free.sum())), bounds=[(0.0, share) for share in problem.share],
        method="highs",
    )  # fmt: skip
    assert solved.status == 0, solved.message
    return -float(solved.fun or 0.0)
