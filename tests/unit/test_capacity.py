"""docs/capacity.md: its tables are what its commands print, from the inputs that the page states."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from docs.capacity import DEADLINE, LEAST, Load, Part, jobs, main, steps

from rbr_service.settings import Settings

COMMAND = re.compile(
    r"^\.venv/bin/python docs/capacity\.py ((?:.*\\\n)*.*)\n```\n\n((?:\|.*\n)+)", re.MULTILINE
)
MEASURED = ("--tokens", "1288", "--cpu-ms", "10", "--gpu-tokens-per-second", "20000")


def printed(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs" / "capacity.md").read_text(encoding="utf-8")


def test_the_pages_tables_are_what_its_commands_print(page: str) -> None:
    found = COMMAND.findall(page)
    assert len(found) == page.count("docs/capacity.py --tokens") == 2
    for arguments, table in found:
        result = printed(*shlex.split(arguments.replace("\\\n", " ")))
        assert result.exit_code == 0, result.output
        assert result.output == table


def test_the_commands_inputs_are_what_the_page_and_the_readme_measured(page: str, repository: Path) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    (tokens,) = re.findall(r"^\| `book` \| [\d,]+ \| ([\d,]+) \|$", readme, re.MULTILINE)
    transcripts = re.findall(
        r"grader llm\n.*?^service's CPU +([\d.]+) ms a score$", page, re.MULTILINE | re.DOTALL
    )
    (cpu,) = transcripts
    assert set(re.findall(r"--tokens (\S+)", page)) == {tokens.replace(",", "")}
    assert set(re.findall(r"--cpu-ms (\S+)", page)) == {cpu}


def test_the_deadline_is_the_services() -> None:
    assert Settings().grader_deadline == DEADLINE


def test_the_arithmetic() -> None:
    graders = Part(cost=1288, each=20_000, use=0.7)
    load = Load("a step in a minute", 8192 / 60, 8192)
    assert graders.steady(load) == 13  # 136.5 x 1288 / 14000 = 12.6
    assert graders.at_once(load) == 5  # 8192 x 1288 / (170 x 14000) = 4.4
    assert Part(cost=10, each=1000, use=0.7).steady(load) == LEAST  # 136.5 x 10 / 700 = 1.95


@pytest.mark.parametrize("rate", [1.0, 99.9, 100.0, 100.1, 54321.0])
def test_as_many_as_are_enough_and_no_more(rate: float) -> None:
    part = Part(cost=7, each=50, use=0.5)
    found = part.steady(Load("", rate, 1))
    assert found * 25 >= rate * 7
    assert found == LEAST or (found - 1) * 25 < rate * 7


def test_steps_and_jobs() -> None:
    assert steps(8192, [60, 30]) == [Load("60", 8192 / 60, 8192), Load("30", 8192 / 30, 8192)]
    assert jobs(8192, 600, [8, 1000]) == [
        Load("8", 8192 / 600, 8192), Load("1,000", 1_024_000 / 600, 1_024_000)
    ]  # fmt: skip


def test_a_row_for_each_load_and_a_column_for_each_rate() -> None:
    result = printed(*MEASURED, "--gpu-tokens-per-second", "40000", "--seconds", "60")
    head, *rest = result.output.splitlines()
    assert head.endswith("| service cores | GPUs of 20,000 tokens/s | GPUs of 40,000 tokens/s |")
    assert rest == [
        "|---|---|---|---|---|---|",
        "| 60 | 137 | 175,855 | 2 / 2 | 13 / 5 | 7 / 3 |",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*MEASURED,), "--seconds"),
        ((*MEASURED, "--seconds", "60", "--seconds", "30", "--job-gpus", "8"), "give one --seconds"),
        ((*MEASURED, "--seconds", "0"), "--seconds"),
        ((*MEASURED, "--use", "1.5", "--seconds", "60"), "--use"),
    ],
)
def test_bad_usage(arguments: tuple[str, ...], message: str) -> None:
    result = printed(*arguments)
    assert result.exit_code == 2
    assert message in result.output
