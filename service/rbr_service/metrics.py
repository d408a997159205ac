"""What the service tells Prometheus; one instance and registry per app, labels bounded.

Names follow the Prometheus conventions (base units, _total). Labels hold only names that the
policy or the code knows: nothing of a request's text.
"""

import time
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OUT_OF_SCOPE = "out_of_scope"
_REWARDS = (-20, -10, -5, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 5, 10, 20)
_MASSES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 180)


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
            ["proposition"],
            registry=registry,
        )
        self.reward = Histogram(
            "rbr_reward", "Total reward of a sample.", buckets=_REWARDS, registry=registry
        )
        # A histogram with buckets below 0 exports no sum, so the mean needs an instrument of its own.
        self.rewards = Summary(
            "rbr_rewards", "Total reward: sum and count.", ["response_type"], registry=registry
        )
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
        self.policy = Gauge(
            "rbr_policy_info", "1 for the policy in force.", ["policy", "reward_version"], registry=registry
        )
        self.logged_rows = Counter(
            "rbr_score_log_rows", "Rows of the score log: written, no_room, not_written.", ["fate"],
            registry=registry,
        )  # fmt: skip
        self._by_proposition: dict[str, Summary] = {}
        self._by_class: dict[tuple[str, str], Counter] = {}

    @property
    def computed_tokens(self) -> float:
        """Prompt tokens that the grader's engine has computed so far."""
        return float(self.registry.get_sample_value("rbr_grader_tokens_total", {"how": "computed"}) or 0.0)

    def in_force(self, policy: str, reward_version: str) -> None:
        """Tell what is served from now on."""
        self.policy.clear()
        self.policy.labels(policy, reward_version).set(1)

    def scored(self, reward: float, response_type: str | None, probabilities: Mapping[str, float]) -> None:
        """Count one sample."""
        best = max(probabilities, key=probabilities.__getitem__) if probabilities else OUT_OF_SCOPE
        key = (response_type or OUT_OF_SCOPE, best)
        child = self._by_class.get(key)
        if child is None:
            child = self._by_class[key] = self.samples.labels(*key)
        child.inc()
        self.reward.observe(reward)
        self.rewards.labels(key[0]).observe(reward)

    def judged(self, verdicts: Iterable[tuple[str, float, float]]) -> None:
        """Count one completion's verdicts: proposition, P(yes), label mass."""
        for name, p, mass in verdicts:
            child = self._by_proposition.get(name)
            if child is None:
                child = self._by_proposition[name] = self.propositions.labels(name)
            child.observe(p)
            self.label_mass.observe(mass)


class Measured:
    """ASGI middleware: requests, latency and in-flight by route."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Iterable[str]) -> None:
        """Paths outside `routes` count as "other", so that callers cannot grow the label set."""
        self._app, self._metrics, self._routes = app, metrics, frozenset(routes)

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

        route = scope["path"] if scope["path"] in self._routes else "other"
        begin = time.perf_counter()
        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, watch)
        finally:
            self._metrics.in_flight.dec()
            self._metrics.requests.labels(route, status).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - begin)
