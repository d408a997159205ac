"""`GET /v1/live`: this replica's last scores, as server-sent events.

    connected, or the reward version changed -> hello, baselines, the window as scores
    connected with Last-Event-ID of this run -> baselines, what came after it as scores
    then every TICK seconds                  -> baselines that are whole now, new rows as scores

What a listener is told is looked up at once and made of rows that never change: one who reads slowly holds up
nobody, and gets no mixture of two reward versions.
"""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from fastapi import APIRouter, Depends, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from rbr_service.errors import TooManyListenersError
from rbr_service.recent import BASELINE, WINDOW, Row
from rbr_service.state import State

PATH = "/v1/live"
TICK = 1.0  # seconds
AT_ONCE = 200  # rows of an event
PING = 15.0  # seconds without an event until a comment keeps the connection
LISTENERS = 32
RETRY = 2000  # milliseconds until a browser that lost the stream asks again


class Event(NamedTuple):
    """What goes to a listener; `place`: the id that it may come back with."""

    name: str
    data: dict[str, Any]
    rows: Sequence[Row] | None = None
    place: str | None = None

    def encoded(self) -> bytes:
        """As it is sent, in strict JSON.

        Rows are not made ready before: all of a window's at once would hold up the scoring.
        """
        rows = {} if self.rows is None else {"rows": list(map(_shown, self.rows))}
        text = json.dumps(self.data | rows, allow_nan=False, separators=(",", ":"))
        return format_sse_event(data_str=text, event=self.name, id=self.place, retry=RETRY)


# A connection that carries nothing else afterwards is none that a stopping service has to hear out.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Connection": "close"}
STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


def add_live(routes: APIRouter, state: State) -> None:
    """The route, with room for LISTENERS."""
    listeners = 0

    async def seat() -> AsyncIterator[None]:
        nonlocal listeners
        if listeners >= LISTENERS:
            raise TooManyListenersError(
                f"{LISTENERS} live streams are open, the most there may be: close one"
            )
        listeners += 1
        try:
            yield
        finally:
            listeners -= 1

    @routes.get(
        PATH, response_class=Response, responses=STREAM, dependencies=[Depends(seat)], tags=["operation"]
    )
    async def live(request: Request) -> Response:
        """The last scores of this replica, and its first ones as the baseline, as server-sent events.

        Events: `hello`, `baseline`, `scores`, `version`; see docs/observability.md. An id may come back as
        Last-Event-ID.
        """
        listener = Listener(state, request.headers.get("last-event-id", ""))
        return EventSourceResponse(_stream(state, listener), headers=HEADERS)


async def _stream(state: State, listener: "Listener") -> AsyncIterator[bytes]:
    quiet = 0.0
    while not state.stopping:
        for event in listener.news():
            yield event.encoded()
            quiet = 0.0
            if state.stopping:
                return
        await asyncio.sleep(TICK)
        quiet += TICK
        if quiet >= PING:
            yield KEEPALIVE_COMMENT
            quiet = 0.0


class Listener:
    """What one listener knows: the rows of `_run` up to number `_seen`."""

    def __init__(self, state: State, last_event_id: str = "") -> None:
        """`last_event_id`: where its connection before this one ended, "" if there was none."""
        self._state = state
        self._new = True
        self._run, self._seen = "", 0
        place = re.fullmatch("([0-9a-f]+)-([0-9]{1,15})", last_event_id)
        recent = state.recent
        if place and place[1] == recent.run and recent.first <= int(place[2]) <= recent.last:
            self._run, self._seen = place[1], int(place[2])

    def news(self) -> list[Event]:
        """What is to be told since the last call; at the first, all that the listener lacks."""
        recent, events = self._state.recent, []
        anew = self._run != recent.run
        if anew:
            if not self._new:
                events.append(Event("version", {"reward_version": recent.scorer.reward_version}))
            events.append(Event("hello", _hello(self._state)))
            self._run, self._seen = recent.run, recent.last - len(recent.window)
        everything, self._new = anew or self._new, False
        for kind, rows in recent.baselines.items():
            if everything or (len(rows) == BASELINE and rows[-1].number > self._seen):
                events.append(Event("baseline", {"response_type": kind}, list(rows)))
        return events + list(self._scores(everything=everything))

    def _scores(self, *, everything: bool) -> Iterator[Event]:
        recent = self._state.recent
        rows = recent.after(self._seen)
        step = AT_ONCE if everything else WINDOW
        for part in (rows[i : i + step] for i in range(0, len(rows), step)):
            shown, end = thinned(part, AT_ONCE), part[-1].number
            data = {
                "left_out": end - self._seen - len(shown),
                "total": end - recent.first,
                "texts": {
                    r.number: recent.texts[r.number]._asdict() for r in shown if r.number in recent.texts
                },
            }
            self._seen = end
            yield Event("scores", data, shown, f"{self._run}-{end}")


def thinned(rows: Sequence[Row], most: int) -> list[Row]:
    """At most so many of them, in order: one at random out of each of `most` equal parts.

    Every tenth would be a poor sample where each prompt has ten answers.
    """
    if len(rows) <= most:
        return list(rows)
    edges = [len(rows) * i // most for i in range(most + 1)]
    return [rows[random.randrange(*part)] for part in pairwise(edges)]


def _hello(state: State) -> dict[str, Any]:
    recent = state.recent
    return {
        "policy": recent.scorer.policy.name,
        "reward_version": recent.scorer.reward_version,
        "started": round(recent.started, 3),
        "since": round(recent.since, 3),
        "window": WINDOW,
        "baseline": BASELINE,
        "texts": recent.allows_texts,
        "on_low_mass": state.settings.on_low_mass,
        "columns": Row._fields,
        "response_types": {
            name: {
                "classes": kind.response_type.classes,
                "propositions": kind.propositions,
                "reward_range": {"low": kind.low, "high": kind.high},
            }
            for name, kind in recent.scorer.model.types.items()
        },
    }


def _shown(row: Row) -> list[Any]:
    """A row with no more digits than a picture shows."""
    *rest, p = row
    numbers = [round(value, 6) if isinstance(value, float) else value for value in rest]
    return [*numbers, [round(value, 4) for value in p]]
