"""What `rbr evaluate` and `rbr calibrate` print: their figures as text, at most 100 columns wide."""

from collections.abc import Iterator, Mapping
from typing import Any

from rbr_service.rbr.slices import LEAST_PROMPTS

TOTALS = (
    "proposition_accuracy", "balanced_accuracy", "class_accuracy", "class_macro_recall", "brier", "ece",
    "label_mass_median", "label_mass_low", "tokens_per_completion", "completions_per_second",
)  # fmt: skip
PRINTED = TOTALS[:6]
IN_SAMPLE = "in sample: the calibration was fitted on these very rows"
MEASURES = {
    "class_right": "class right",
    "propositions_right": "propositions right",
    "best_class_error": "P(best) - is best",
}


def side_by_side(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Totals, a column for each of several evaluations."""
    lines = [f"{'':28}" + "".join(f"{name[-22:]:>24}" for name in figures)]
    for key in TOTALS:
        cells = (one[key] for one in figures.values())
        lines.append(f"{key:28}" + "".join(f"{'-' if c is None else format(c, '.4g'):>24}" for c in cells))
    return "\n".join(lines)


def evaluation(figures: Mapping[str, Any]) -> str:
    """One evaluation whole."""
    parts = (_propositions(figures["propositions"]), _classes(figures), _slices(figures["slices"]),
             _totals(figures))  # fmt: skip
    return "\n\n".join("\n".join(part) for part in parts)


def calibration(figures: Mapping[str, Any]) -> str:
    """Before and after by repeated cross-validation, and what was left as it is."""
    before_after = f"{'before':>8}{'after':>8}"
    lines = [f"{'':50}{'ECE':>16}{'Brier':>16}{'accuracy':>16}",
             f"{'proposition':40}{'n':>5}{'yes':>5}{before_after * 3}"]  # fmt: skip
    for name, row in figures["propositions"].items():
        head = f"{_cut(name, 40)}{row['n']:5}{row['positives']:5}"
        after = row.get("calibrated")
        if after is None:
            lines.append(f"{head}  as it was: {row['left_as_is']}")
        else:
            pairs = ((row[key], after[key]) for key in ("ece", "brier", "accuracy"))
            lines.append(head + "".join(f"{a:8.3f}{b:8.3f}" for a, b in pairs))
    lines.append("")
    for key, mean in figures["means"].items():
        lines.append(f"{'mean ' + key:50}{change(mean)}")
    repeats, folds = figures["repeats"], figures["folds"]
    lines.append(f"after: by cross-validation, means over {repeats} x {folds} folds")
    return "\n".join(lines)


def change(mean: Mapping[str, float | None]) -> str:
    """A mean before and after calibration, and the lowest and highest of its repeats where they are known."""
    spread = f"  [{_number(mean['low'])} to {_number(mean['high'])}]" if "low" in mean else ""
    return f"{_number(mean['before']):>8}{_number(mean['after']):>8}{spread}"


def total(figures: Mapping[str, Any], key: str) -> str:
    """One of PRINTED, with its interval where it has one."""
    found = figures["intervals"].get(key)
    return _number(figures[key]) + (f" [{found['low']:.3f}, {found['high']:.3f}]" if found else "")


def _propositions(table: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield f"{'proposition':40} {'n':>5} {'pos':>5}   acc   bal    f1 auroc brier   ece"
    keys = ("accuracy", "balanced_accuracy", "f1", "auroc", "brier", "ece")
    for name, row in table.items():
        cells = " ".join(_number(row[key]) for key in keys)
        yield f"{_cut(name, 40)} {row['n']:5} {row['positives']:5} {cells}"


def _classes(figures: Mapping[str, Any]) -> Iterator[str]:
    """Confusion and recall: a line for each labelled class, a numbered column for each of the grader's."""
    yield f"{'labelled class, and what the grader makes of it':40} {'n':>5}   recall [95%]"
    for kind, cells in figures["cells"].items():
        confusion = figures["response_types"][kind]["confusion"]
        names = confusion["classes"]
        columns = "".join(f"{number:5}" for number in range(1, len(names) + 1))
        yield f"{_cut(kind, 40)} {'':5} {'':22}{columns}"
        for number, (name, counts) in enumerate(zip(names, confusion["counts"], strict=True), 1):
            cell = cells.get(name)
            recall = f"{cell['recall']:.3f} [{cell['low']:.2f}, {cell['high']:.2f}]" if cell else "-"
            counted = "".join(f"{count:5}" for count in counts)
            yield f"{_cut(f'  {number} {name}', 40)} {sum(counts):5}   {recall:20}{counted}"


def _slices(found: Mapping[str, Any]) -> Iterator[str]:
    rows: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for test in found["tests"]:
        rows.setdefault((test["column"], test["value"]), {})[test["measure"]] = test
    heads = "".join(f"{head:>20}" for head in MEASURES.values())
    yield f"{'slice (in brackets: all other rows)':36}{'n':>4}{heads}"
    for (column, value), tests in rows.items():
        size = max(test["n"] for test in tests.values())
        cells = "".join(_slice(tests.get(measure)) for measure in MEASURES)
        yield f"{_cut(f'{column} = {value}', 34)} {size:5}{cells}".rstrip()
    yield (
        f"* {found['differing']} of {found['comparisons']} comparisons differ, p < {found['level']:g} after "
        f"{found['correction']}; groups under {LEAST_PROMPTS} prompts are not tested"
    )


def _slice(test: Mapping[str, Any] | None) -> str:
    if test is None:
        return f"{'-':>19} "
    rest = "" if test["elsewhere"] is None else f" ({test['elsewhere']:.2f})"
    return f"{test['here']:.2f}{rest}".rjust(19) + ("*" if test["differs"] else " ")


def _totals(figures: Mapping[str, Any]) -> Iterator[str]:
    for key in PRINTED:
        yield f"{key:40} {total(figures, key)}"
    if figures["in_sample"]:
        yield f"{IN_SAMPLE}; rbr calibrate shows what it does for others"
    for key, value in figures.get("routing", {}).items():
        yield f"{'routing: ' + key:40} {value if isinstance(value, int) else _number(value)}"


def _number(value: float | None) -> str:
    return "    -" if value is None else f"{value:5.3f}"


def _cut(text: str, width: int) -> str:
    return f"{text if len(text) <= width else text[: width - 1] + '…':{width}}"
