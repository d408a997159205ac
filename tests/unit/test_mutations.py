"""No mutation of a shipped policy gets past the checks: it is sound, or refused with its place."""

import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from rbr_service.build import rules_folder
from rbr_service.errors import PolicyError
from rbr_service.rbr.policy import Policy, parse

SHIPPED = {
    name: (rules_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    for name in ("safety", "assistant_style")
}
SHIPPED["routing"] = SHIPPED["safety"].replace("unlabelled: out_of_scope", "unlabelled: auto")
VALUES = (
    "5", "null", "[]", "{}", "yes", "2024-01-01", ".nan", "!!int x", "[[1]]", "{a: {b: c}}",
    '"\\ud800"', "*x", "&x y", "|", "!!binary x", "2024-99-99", '""', "~", "1e999", "- a",
)  # fmt: skip
CHARACTERS = ":{}[],&*#?|-<>=!%@`\"'\\\t\x00\x07\ud800\ufeff\u2028\U0001f600"


def any_line(rng: random.Random, lines: list[str]) -> int:
    return rng.choice(
        [i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
    )


def of_lines(change: Callable[[random.Random, list[str], int], None]) -> Callable[[random.Random, str], str]:
    def mutate(rng: random.Random, text: str) -> str:
        lines = text.split("\n")
        change(rng, lines, any_line(rng, lines))
        return "\n".join(lines)

    return mutate


def delete_line(rng: random.Random, lines: list[str], i: int) -> None:
    del lines[i]


def duplicate_line(rng: random.Random, lines: list[str], i: int) -> None:
    lines.insert(i, lines[i])


def swap_lines(rng: random.Random, lines: list[str], i: int) -> None:
    j = any_line(rng, lines)
    lines[i], lines[j] = lines[j], lines[i]


def indent_line(rng: random.Random, lines: list[str], i: int) -> None:
    lines[i] = rng.choice(["  ", " ", "\t", "    "]) + lines[i]


def outdent_line(rng: random.Random, lines: list[str], i: int) -> None:
    lines[i] = lines[i].removeprefix(" ").removeprefix(" ")


def change_value(rng: random.Random, lines: list[str], i: int) -> None:
    lines[i] = lines[i].split(":")[0] + ": " + rng.choice(VALUES)


def anchor_value(rng: random.Random, lines: list[str], i: int) -> None:
    lines[i] = lines[i].replace(": ", ": &anchor ", 1)
    lines.append(f"extra: {rng.choice(['*anchor', '*other', '{<<: *anchor}'])}")


def delete_block(rng: random.Random, lines: list[str], i: int) -> None:
    del lines[i : i + rng.randint(2, 40)]


def insert_character(rng: random.Random, text: str) -> str:
    i = rng.randrange(len(text))
    return text[:i] + rng.choice(CHARACTERS) + text[i:]


def delete_characters(rng: random.Random, text: str) -> str:
    i = rng.randrange(len(text))
    return text[:i] + text[i + rng.randint(1, 9) :]


def truncate(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text))]


def flip_boolean(rng: random.Random, text: str) -> str:
    place = rng.choice([m for m in re.finditer("true|false", text[text.index("\nderived:") :])])
    start = text.index("\nderived:") + place.start()
    flipped = "false" if place.group() == "true" else "true"
    return text[:start] + flipped + text[start + len(place.group()) :]


def rename_word(rng: random.Random, text: str) -> str:
    word = rng.choice(re.findall(r"\b[a-z_]{4,}\b", text))
    return re.sub(rf"\b{word}\b", word + "_x", text, count=1)


def exchange_words(rng: random.Random, text: str) -> str:
    """In the rules, where a word is a name."""
    head, rules = text[: text.index("\nderived:")], text[text.index("\nderived:") :]
    words = rng.sample(re.findall(r"\b[a-z_]{6,}\b", rules), 2)
    return head + re.sub(rf"\b{words[0]}\b", words[1], rules, count=rng.randint(1, 3))


def nodes(tree: Any, found: list[Any]) -> list[Any]:
    """All lists and mappings of a tree."""
    if isinstance(tree, dict | list):
        found.append(tree)
        for child in tree.values() if isinstance(tree, dict) else tree:
            nodes(child, found)
    return found


def of_trees(change: Callable[[random.Random, Any, Any], None]) -> Callable[[random.Random, str], str]:
    def mutate(rng: random.Random, text: str) -> str:
        tree = yaml.safe_load(text)
        inner = rng.choice([node for node in nodes(tree, []) if node])
        change(rng, inner, rng.choice(list(inner) if isinstance(inner, dict) else range(len(inner))))
        return str(yaml.safe_dump(tree, sort_keys=False))

    return mutate


def delete_entry(rng: random.Random, inner: Any, key: Any) -> None:
    del inner[key]


def replace_entry(rng: random.Random, inner: Any, key: Any) -> None:
    inner[key] = rng.choice([5, None, [], {}, True, 1.5, "text", "kind", [[]], {"a": 1}, [{"a": True}]])


def exchange_entries(rng: random.Random, inner: Any, key: Any) -> None:
    other = rng.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
    inner[key], inner[other] = inner[other], inner[key]


def rename_entry(rng: random.Random, inner: Any, key: Any) -> None:
    if isinstance(inner, dict):
        inner[rng.choice([f"{key}_x", str(key).upper(), "", 5, None, True, "a b"])] = inner.pop(key)
    else:
        inner.append(inner[key])


MUTATIONS: tuple[Callable[[random.Random, str], str], ...] = (
    *map(of_lines, (delete_line, duplicate_line, swap_lines, indent_line, outdent_line, change_value,
                    anchor_value, delete_block)),
    insert_character, delete_characters, truncate, flip_boolean, rename_word, exchange_words,
    *map(of_trees, (delete_entry, replace_entry, exchange_entries, rename_entry)),
)  # fmt: skip


def sound(policy: Policy) -> None:
    for kind in policy.response_types.values():
        for p in (0.0, 0.3, 1.0):
            assert sum(kind.diagram.of_row([p] * len(kind.diagram.variables))) == pytest.approx(1.0)
        assert kind.propositions
    if policy.undecided(None):
        best = policy.route([0.0, *[1.0] * (len(policy.categories) - 1)])
        assert best.p == 1.0
        assert best.category in policy.categories


def well_told(error: PolicyError, text: str) -> None:
    lines = text.split("\n")
    place = f"bad.yaml:{error.line}: {error.key}: " if error.key else f"bad.yaml:{error.line}: "
    assert str(error) == place + error.problem
    assert 1 <= error.line <= len(lines)
    assert error.problem.count(" ") >= 1
    last = error.key.rpartition(".")[2]
    if re.fullmatch("[a-z_]{2,}", last):
        assert last in lines[error.line - 1]
    if not error.key:
        syntax = "is not valid YAML|is empty|nested too deeply|a key must be|must be a mapping|lacks the key"
        assert re.match(syntax, error.problem)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("number", range(len(MUTATIONS) * 5))
def test_a_mutated_policy_is_sound_or_refused_with_its_place(name: str, number: int) -> None:
    rng = random.Random(f"{name} {number}")
    text = MUTATIONS[number % len(MUTATIONS)](rng, SHIPPED[name])
    try:
        policy = parse(text, "bad.yaml")
    except PolicyError as error:
        well_told(error, text)
    else:
        sound(policy)
