"""What vLLM itself counts, from its Prometheus page: the prompt tokens that it computed or had cached."""

import urllib.request
from dataclasses import dataclass

from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

_SOURCES = ("local_compute", "local_cache_hit")


@dataclass(frozen=True)
class Count:
    """Prompt tokens since the engine began."""

    computed: float
    cached: float

    def __sub__(self, before: "Count") -> "Count":
        return Count(self.computed - before.computed, self.cached - before.cached)


def in_process() -> Count:
    """Of the engine in this process."""
    return _count(generate_latest(REGISTRY).decode())


def of_server(url: str) -> Count:
    """Of the server at `url`."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as page:
        return _count(page.read().decode())


def _count(page: str) -> Count:
    found = dict.fromkeys(_SOURCES, 0.0)
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == "vllm:prompt_tokens_by_source_total" and sample.labels["source"] in found:
                found[sample.labels["source"]] += sample.value
    return Count(*(found[source] for source in _SOURCES))
