"""Grading a whole file's worth, with a bar on the terminal."""

import sys
from collections.abc import Sequence

import click

from rbr_service.errors import whole
from rbr_service.graders.base import Grade, Grader, GradeRequest

CHUNK = 128  # texts in one grade call


async def grades(grader: Grader, requests: Sequence[GradeRequest], label: str) -> list[Grade]:
    """All grades, in order. Raises GraderError, or the RequestError of a text that cannot be graded."""
    found: list[Grade] = []
    with click.progressbar(length=len(requests), label=label, file=sys.stderr) as bar:
        for begin in range(0, len(requests), CHUNK):
            chunk = requests[begin : begin + CHUNK]
            found += whole(await grader.grade(chunk), begin)
            bar.update(len(chunk))
    return found
