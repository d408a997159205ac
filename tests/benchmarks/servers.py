"""`python -m tests.benchmarks.servers real|bare`: the two servers that the front door compares.

Both run under the project's own server module and answer the same bodies with answers of the same
shape and size. `real` is the whole app with all its metrics, over a grader that looks its answers
up; `bare` is one FastAPI route with a pydantic model in and one out, and checks nothing.
"""

import sys
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from rbr_service.app import create_app
from rbr_service.build import make_scorer
from rbr_service.graders.fixed import FixedGrader
from rbr_service.metrics import Metrics
from rbr_service.server import serve
from rbr_service.settings import Settings
from rbr_service.state import State


class Body(BaseModel):
    """OpenRLHF's request."""

    query: list[str]
    prompts: list[str]
    labels: list[Any]


class Logs(BaseModel):
    """The curves of an answer."""

    rbr_reward: list[float]
    rbr_base: list[float]
    rbr_p_best: list[float]
    rbr_in_scope: list[float]
    rbr_label_mass_min: list[float]


class Answer(BaseModel):
    """OpenRLHF's answer."""

    rewards: list[float]
    scores: list[float]
    extra_logs: Logs
    reward_version: str
    accepted_mismatches: list[str]


def bare(version: str, mismatches: list[str]) -> FastAPI:
    """One route that answers constants."""
    app = FastAPI()

    @app.post("/score")
    async def score(body: Body) -> Answer:
        some, none, whole = ([value] * len(body.query) for value in (0.1234567890123456, 0.0, 1.0))
        return Answer(
            rewards=some,
            scores=some,
            extra_logs=Logs(
                rbr_reward=some,
                rbr_base=none,
                rbr_p_best=some,
                rbr_in_scope=whole,
                rbr_label_mass_min=whole,
            ),
            reward_version=version,
            accepted_mismatches=mismatches,
        )

    return app


def main(name: str) -> None:
    """Serve on a free port until told to stop."""
    settings = Settings(port=0, accept_mismatch=True)
    metrics = Metrics()
    grader = FixedGrader({"apology": 0.9731234567890123}, default=0.1234567890123456)
    state = State(settings, metrics, make_scorer(settings, metrics, grader))
    scorer = state.scorer
    plain = bare(scorer.reward_version, list(scorer.model.mismatches))
    serve(create_app(state) if name == "real" else plain, settings, state)


if __name__ == "__main__":
    main(sys.argv[1])
