"""The weight fit at the paper's size: against the exact optimum and against the released training loop.

6,700 prompts x 4 completions x 28 features. The released loop is 1,000 full-batch AdamW steps on the mean
hinge of 95% of the pairs (lr .01, no weight decay) with the loss on the other 5% after each, written anew
here; its search for pairs, which is quadratic, is left out. CPU seconds of one thread.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import click
import torch

from rbr_service.rbr.fit import Objective, fit, problem
from rbr_service.rbr.ranked import Ranked, pairs
from tests import linear_programme, simulated

from .figures import Figure

PROMPTS, STEPS, PASSES = 6700, 1000, 5
TRAINED = 0.95  # of the pairs


def measure() -> list[Figure]:
    """CPU seconds of a fit, the released loop's in multiples of it, the gap to the optimum, pair building."""
    torch.set_num_threads(1)
    ranked = simulated.ranked(simulated.wide_type(), PROMPTS)
    objective = Objective(l2=0.0)
    ours, loops = [], []
    for _ in range(PASSES):  # by turns, so that a slow moment of the machine hits both
        ours.append(_seconds(lambda: fit(ranked, objective)))
        loops.append(_seconds(lambda: released_loop(ranked)))
    found = fit(ranked, objective)
    best = linear_programme.optimum(problem(ranked, ranked.pairs(), objective))
    click.echo(
        f"fit: {found.pairs} pairs, loss {found.loss:.9f}, the linear programme's {best:.9f}, the released "
        f"loop's {released_loop(ranked):.9f}; s: {_shown(ours)}; loop s: {_shown(loops)}"
    )
    return [
        Figure("fit_cpu_seconds", median(ours), 0.5, "CPU s of a fit on 26,800 completions, one thread"),
        Figure(
            "fit_cpu_ratio", median(loops) / median(ours), 5.0, "CPU of the released loop / ours", least=True
        ),
        Figure(
            "fit_objective_gap", (found.loss - best) / best, 1e-6, "loss over the exact optimum, relative"
        ),
        Figure("fit_pairs_ratio", _pairs_ratio(), 12.0, "CPU of pairing 10 x the rows / of the rows"),
    ]


def released_loop(ranked: Ranked) -> float:
    """The released way to fit, without constraints; returns its last loss on the pairs it was fitted to."""
    found = ranked.pairs()
    fitted = round(TRAINED * len(found))
    better, worse = torch.tensor(found.better), torch.tensor(found.worse)
    phi, base = torch.tensor(ranked.phi, dtype=torch.float32), torch.tensor(ranked.base, dtype=torch.float32)
    weights = torch.zeros(phi.shape[1], requires_grad=True)
    steps = torch.optim.AdamW([weights], lr=1e-2, weight_decay=0.0)

    def hinge(pairs: slice) -> torch.Tensor:
        reward = base + phi @ weights
        return torch.relu(1.0 + reward[worse[pairs]] - reward[better[pairs]]).mean()

    losses: list[tuple[float, float]] = []
    for _ in range(STEPS):
        steps.zero_grad()
        loss = hinge(slice(0, fitted))
        loss.backward()
        steps.step()
        losses.append((loss.item(), hinge(slice(fitted, None)).item()))
    return losses[-1][0]


def _pairs_ratio() -> float:
    kind = simulated.wide_type()
    few, many = (simulated.ranked(kind, prompts) for prompts in (PROMPTS, 10 * PROMPTS))
    times = [
        [_seconds(partial(pairs, rows.prompts, rows.ranks)) for _ in range(PASSES)] for rows in (few, many)
    ]
    return median(times[1]) / median(times[0])


def _seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def _shown(times: list[float]) -> str:
    return " ".join(f"{value:.3f}" for value in times)
