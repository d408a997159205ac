"""What the service tells Prometheus; one instance and registry per app, labels bounded.

Names follow the Prometheus conventions (base units, _total). Labels hold only names that the
policy or the code knows: nothing of a request's text.
"""

import math
import time
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Summary
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rbr_service.association import Association
from rbr_service.errors import (
    BaseRewardError,
    GraderDeadError,
    GraderError,
    GraderTimeoutError,
    LowLabelMassError,
)

OUT_OF_SCOPE = "out_of_scope"
_REWARDS = (-20, -10, -5, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 5, 10, 20)
_MASSES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 180)
_REACHED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 1)
_CHARACTERS = tuple(2**i for i in range(4, 20))
# Alerts watch these: a count that begins at 0 shows its first rise, one that begins at 1 does not.
_WATCHED = (GraderError, GraderTimeoutError, GraderDeadError, BaseRewardError, LowLabelMassError)


class Metrics:
    """The service's instruments."""

    def __init__(self) -> None:
        """A registry of its own, so that several apps can live in one process."""
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("rbr_requests", "HTTP requests.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "rbr_request_seconds", "Time to answer.", ["route"], buckets=_SECONDS, registry=registry
        )
        self.in_flight = Gauge("rbr_in_flight", "Requests being answered.", registry=registry)
        self.samples = Counter(
            "rbr_samples",
            "Scored samples by most probable class.",
            ["response_type", "class"],
            registry=registry,
        )
        self.propositions = Summary(
            "rbr_proposition_probability",
            "P(yes) by proposition: sum and count.",
            ["response_type", "proposition"],
            registry=registry,
        )
        self.reward = Histogram(
            "rbr_reward", "Total reward of a sample.", buckets=_REWARDS, registry=registry
        )
        # A histogram with buckets below 0 exports no sum, so the mean needs an instrument of its own.
        self.rewards = Summary(
            "rbr_rewards", "Total reward: sum and count.", ["response_type"], registry=registry
        )
        self.reached = Histogram(
            "rbr_reward_reached_ratio", "RBR reward within its reachable range: 0 the least, 1 the greatest.",
            ["response_type"], buckets=_REACHED, registry=registry,
        )  # fmt: skip
        self.characters = Histogram(
            "rbr_completion_characters", "Length of a scored completion.", ["response_type"],
            buckets=_CHARACTERS, registry=registry,
        )  # fmt: skip
        self.length_pull = Gauge(
            "rbr_reward_length_correlation",
            "Correlation of total reward and log length over the last completions; NaN while unknown.",
            ["response_type"], registry=registry,
        )  # fmt: skip
        self.ready = Gauge("rbr_ready", "1 while the service can score.", registry=registry)
        self.serving = Info("rbr_serving", "What rewards are made with now.", registry=registry)
        self.grader_calls = Counter("rbr_grader_calls", "Calls of the grader.", registry=registry)
        self.grader_seconds = Histogram(
            "rbr_grader_seconds", "Time of one grader call.", buckets=_SECONDS, registry=registry
        )
        self.label_mass = Histogram(
            "rbr_label_mass", "Probability the grader put on yes and no together.", buckets=_MASSES,
            registry=registry,
        )  # fmt: skip
        self.low_mass = Counter(
            "rbr_low_label_mass", "Verdicts with low label mass.", ["proposition", "taken_as"],
            registry=registry,
        )  # fmt: skip
        self.cuts = Counter(
            "rbr_conversation_cuts", "Conversations cut to the grader's context.", registry=registry
        )
        self.cut_tokens = Counter(
            "rbr_conversation_cut_tokens", "Tokens left out of conversations.", registry=registry
        )
        self.cached_verdicts = Counter(
            "rbr_cached_verdicts", "Verdicts found in the cache.", registry=registry
        )
        self.cache_faults = Gauge(
            "rbr_cache_faults", "Failed calls of the verdict cache since the start.", registry=registry
        )
        self.graded_verdicts = Counter(
            "rbr_graded_verdicts", "Verdicts made by the grader's engine.", registry=registry
        )
        self.tokens = Counter(
            "rbr_grader_tokens", "Prompt tokens, computed or from the engine's prefix cache.", ["how"],
            registry=registry,
        )  # fmt: skip
        self.failures = Counter(
            "rbr_failures", "Requests not answered with a score.", ["code"], registry=registry
        )
        self.reloads = Counter(
            "rbr_policy_reloads", "Changes of policy that were asked for.", ["outcome"], registry=registry
        )
        for outcome in ("taken", "refused"):
            self.reloads.labels(outcome)  # a rate needs the 0 before the first
        self.logged_rows = Counter(
            "rbr_score_log_rows", "Rows of the score log: written, no_room, not_written.", ["fate"],
            registry=registry,
        )  # fmt: skip
        for error in _WATCHED:
            self.failures.labels(error.code)
        self._kinds: dict[str, _OfType] = {}

    @property
    def computed_tokens(self) -> float:
        """Prompt tokens that the grader's engine has computed so far."""
        return float(self.registry.get_sample_value("rbr_grader_tokens_total", {"how": "computed"}) or 0.0)

    def scored(
        self, reward: float, response_type: str | None, probabilities: Mapping[str, float],
        *, reached: float | None, characters: int,
    ) -> None:  # fmt: skip
        """Count one sample.

        `reached`: its RBR reward within the reachable range, None where there is no range; `characters`
        of its completion.
        """
        best = max(probabilities, key=probabilities.__getitem__) if probabilities else OUT_OF_SCOPE
        self.reward.observe(reward)
        self._kind(response_type or OUT_OF_SCOPE).scored(reward, best, reached, characters)

    def judged(self, response_type: str, verdicts: Iterable[tuple[str, float, float]]) -> None:
        """Count one completion's verdicts: proposition, P(yes), label mass."""
        propositions = self._kind(response_type).propositions
        for name, p, mass in verdicts:
            child = propositions.get(name)
            if child is None:
                child = propositions[name] = self.propositions.labels(response_type, name)
            child.observe(p)
            self.label_mass.observe(mass)

    def _kind(self, name: str) -> "_OfType":
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._kinds[name] = _OfType(self, name)
        return kind


class _OfType:
    """One response type's children of the instruments: looking them up costs more than counting."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self.propositions: dict[str, Summary] = {}
        self._name, self._samples = name, metrics.samples
        self._classes: dict[str, Counter] = {}
        self._rewards = metrics.rewards.labels(name)
        self._reached = metrics.reached.labels(name)
        self._characters = metrics.characters.labels(name)
        self._pull = Association()
        metrics.length_pull.labels(name).set_function(lambda: self._pull.correlation)

    def scored(self, reward: float, best: str, reached: float | None, characters: int) -> None:
        child = self._classes.get(best)
        if child is None:
            child = self._classes[best] = self._samples.labels(self._name, best)
        child.inc()
        self._rewards.observe(reward)
        self._characters.observe(characters)
        self._pull.add(math.log1p(characters), reward)
        if reached is not None:
            self._reached.observe(reached)


class Measured:
    """ASGI middleware: requests, latency and in-flight by route."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, routes: Iterable[str],
        folders: Iterable[str] = (), streams: Iterable[str] = (),
    ) -> None:  # fmt: skip
        """What lies in one of `folders` counts as the folder, paths outside both as "other".

        So callers cannot grow the label set. `streams`: routes that stay open for hours, which is no time to
        answer, and no load.
        """
        self._app, self._metrics, self._routes = app, metrics, frozenset(routes)
        self._folders, self._streams = tuple(folders), frozenset(streams)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, timing it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = "500"

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        route = self._route(scope["path"])
        timed = route not in self._streams
        begin = time.perf_counter()
        self._metrics.in_flight.inc(timed)
        try:
            await self._app(scope, receive, watch)
        finally:
            self._metrics.in_flight.dec(timed)
            self._metrics.requests.labels(route, status).inc()
            if timed:
                self._metrics.seconds.labels(route).observe(time.perf_counter() - begin)

    def _route(self, path: str) -> str:
        if path in self._routes:
            return path
        return next((folder for folder in self._folders if path.startswith(f"{folder}/")), "other")
