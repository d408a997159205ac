"""What the service and its engines counted meanwhile: pages of /metrics before and after.

the service's page, engines' pages -> Counters; after - before -> the run's
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from rbr_service.errors import RBRError

# a field of Counters, the metric, labels that must be as here
_Wanted = tuple[tuple[str, str, Mapping[str, str]], ...]
_SERVICE: _Wanted = (
    ("answered", "rbr_requests_total", {"route": "/score", "status": "200"}),
    ("graded", "rbr_graded_verdicts_total", {}),
    ("found", "rbr_cached_verdicts_total", {}),
    ("cpu", "process_cpu_seconds_total", {}),
    ("computed", "rbr_grader_tokens_total", {"how": "computed"}),
)
_ENGINE: _Wanted = (("engine", "vllm:prompt_tokens_by_source_total", {"source": "local_compute"}),)


@dataclass(frozen=True)
class Counters:
    """Scores answered; verdicts graded, and found in the cache; CPU seconds; prompt tokens computed.

    `computed` is what the service tells, whose engine is in its process; `engine` what vLLM servers tell.
    """

    answered: float = 0.0
    graded: float = 0.0
    found: float = 0.0
    cpu: float = 0.0
    computed: float = 0.0
    engine: float = 0.0

    def __sub__(self, before: "Counters") -> "Counters":
        return Counters(*(a - b for a, b in zip(astuple(self), astuple(before), strict=True)))


def read(service: str, engines: Iterable[str]) -> Counters:
    """From the text of the pages; what a page does not tell counts 0. Raises RBRError for what is no page."""
    sums = dict.fromkeys((name for name, *_ in (*_SERVICE, *_ENGINE)), 0.0)
    for page, wanted in ((service, _SERVICE), *((page, _ENGINE) for page in engines)):
        for sample in _samples(page):
            for field, name, labels in wanted:
                if sample.name == name and labels.items() <= sample.labels.items():
                    sums[field] += sample.value
    return Counters(**sums)


def _samples(page: str) -> Iterable[Sample]:
    try:
        for family in text_string_to_metric_families(page):
            yield from family.samples
    except ValueError as error:
        raise RBRError(f"/metrics answered with what Prometheus could not read: {error}") from error
