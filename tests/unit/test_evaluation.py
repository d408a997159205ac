"""Evaluation figures against values worked out by hand."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from rbr_service.rbr import evaluation
from rbr_service.rbr.policy import Policy
from rbr_service.rbr.ranked import Ints

NAN = float("nan")


def test_figures_of_one_proposition() -> None:
    p = np.array([0.9, 0.6, 0.4, 0.2, 0.7])
    labels = np.array([1.0, 0.0, 1.0, 0.0, NAN])
    found = evaluation.proposition(p, labels)
    assert {
        key: found[key] for key in ("n", "positives", "accuracy", "balanced_accuracy", "f1", "auroc")
    } == {
        "n": 4,
        "positives": 2,
        "accuracy": 0.5,
        "balanced_accuracy": 0.5,
        "f1": 0.5,
        "auroc": 0.75,
    }
    assert found["brier"] == pytest.approx((0.1**2 + 0.6**2 + 0.6**2 + 0.2**2) / 4)
    assert found["ece"] == pytest.approx((0.1 + 0.6 + 0.6 + 0.2) / 4)


def test_undefined_is_none_not_a_number() -> None:
    found = evaluation.proposition(np.array([0.1, 0.2]), np.array([0.0, 0.0]))
    assert found["auroc"] is None
    assert found["balanced_accuracy"] is None
    assert found["f1"] is None
    assert evaluation.proposition(np.array([0.5]), np.array([NAN]))["accuracy"] is None


def test_auroc_counts_ties_half() -> None:
    assert evaluation.auroc(np.array([0.5, 0.5]), np.array([True, False])) == pytest.approx(0.5)


def labelled(policy: Policy, yes: dict[str, float]) -> list[float]:
    return [yes.get(name, 0.0) for name in policy.file.propositions]


def test_classes_macro_recall_over_large_cells_only(safety: Policy) -> None:
    ideal = labelled(safety, {"apology": 1, "inability_to_comply": 1})
    refused_badly = labelled(safety, {"inability_to_comply": 1})
    rare = labelled(safety, {"disallowed_content": 1})
    labels = np.array([ideal] * 12 + [refused_badly] * 10 + [rare] * 9)
    said = np.array([ideal] * 12 + [ideal] * 5 + [refused_badly] * 5 + [ideal] * 9)
    found = evaluation.evaluate(safety, ["hard_refusal"] * 31, said, labels, np.arange(31))
    cells = found["cells"]["hard_refusal"]
    assert {name: (cell["n"], cell["recall"]) for name, cell in cells.items()} == {
        "ideal": (12, 1.0),
        "unacceptable": (10, 0.5),
        "disallowed": (9, 0.0),
    }
    # Wilson's interval of 5 in 10 (Wilson 1927)
    assert (cells["unacceptable"]["low"], cells["unacceptable"]["high"]) == pytest.approx(
        (0.2366, 0.7634), abs=1e-4
    )
    assert found["class_accuracy"] == pytest.approx(17 / 31)
    assert found["class_macro_recall"] == pytest.approx(0.75)
    assert found["response_types"]["hard_refusal"]["confusion"] == {
        "classes": ["ideal", "minimum_acceptable", "unacceptable", "illogical", "disallowed"],
        "counts": [[12, 0, 0, 0, 0], [0] * 5, [5, 0, 5, 0, 0], [0] * 5, [9, 0, 0, 0, 0]],
    }


def test_rows_without_a_rules_label_or_type_have_no_class(safety: Policy) -> None:
    row = np.array([labelled(safety, {})])
    unknown = row.copy()
    unknown[0, list(safety.file.propositions).index("apology")] = NAN
    for kind, labels in (("hard_refusal", unknown), (None, row)):
        found = evaluation.evaluate(safety, [kind], row, labels, np.zeros(1, np.intp))
        assert found["class_accuracy"] is None
        assert found["cells"] == found["response_types"] == {}
        assert "class_accuracy" not in found["intervals"]


def test_whole_report(safety: Policy) -> None:
    labels = np.array([labelled(safety, {"apology": i % 2}) for i in range(40)])
    found = evaluation.evaluate(safety, ["comply"] * 40, labels, labels, np.arange(40))
    assert found["proposition_accuracy"] == 1.0
    assert found["balanced_accuracy"] == 1.0
    assert found["brier"] == found["ece"] == 0.0
    assert found["rows"] == 40
    assert found["intervals"]["class_accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert json.loads(json.dumps(found)) == found


def test_brier_and_ece_are_means_over_frequent_propositions(safety: Policy) -> None:
    names = list(safety.file.propositions)
    labels = np.full((30, len(names)), NAN)
    p = np.full(labels.shape, 0.5)
    frequent, rare = names.index("apology"), names.index("judgement")
    labels[:, frequent] = np.repeat([1.0, 0.0], [15, 15])
    labels[:, rare] = np.repeat([1.0, 0.0], [14, 16])
    p[:, frequent] = 0.7
    found = evaluation.evaluate(safety, [None] * 30, p, labels, np.arange(30))
    assert found["brier"] == pytest.approx((0.3**2 + 0.7**2) / 2)
    assert found["ece"] == pytest.approx(0.2)
    assert found["balanced_accuracy"] == 0.5
    assert found["proposition_accuracy"] == pytest.approx((15 / 30 + 14 / 30) / 2)


def test_balanced_accuracy_needs_a_labelled_no(safety: Policy) -> None:
    names = list(safety.file.propositions)
    labels, p = np.full((40, len(names)), NAN), np.full((40, len(names)), 0.9)
    both, always = names.index("apology"), names.index("judgement")
    labels[:, both], labels[:, always] = np.repeat([1.0, 0.0], [20, 20]), 1.0
    found = evaluation.evaluate(safety, [None] * 40, p, labels, np.arange(40))
    assert found["balanced_accuracy"] == found["propositions"]["apology"]["balanced_accuracy"] == 0.5


def one_proposition(
    safety: Policy, right: NDArray[np.bool_], prompts: Ints, seed: int = 0
) -> dict[str, float]:
    """The interval of proposition accuracy for rows that are right or wrong."""
    labels = np.full((len(right), len(safety.file.propositions)), NAN)
    labels[:, 0] = 1
    p = np.where(right[:, None], 0.9, 0.1) * np.ones(labels.shape)
    found = evaluation.evaluate(safety, [None] * len(right), p, labels, prompts, seed)
    interval: dict[str, float] = found["intervals"]["proposition_accuracy"]
    return interval


def test_intervals_are_over_prompts(safety: Policy) -> None:
    right = np.random.default_rng(0).random(100) < 0.7
    rows = one_proposition(safety, right, np.arange(100))
    p = rows["value"]
    error = np.sqrt(p * (1 - p) / 100)
    assert (rows["low"], rows["high"]) == pytest.approx((p - 1.96 * error, p + 1.96 * error), abs=0.02)
    # Four equal answers to each prompt say no more than one does.
    copied = one_proposition(safety, np.tile(right, 4), np.tile(np.arange(100), 4))
    assert copied == pytest.approx(rows)
    assert one_proposition(safety, right, np.arange(100)) == rows
    assert one_proposition(safety, right, np.arange(100), seed=1) != rows


def test_outcomes_of_rows(safety: Policy) -> None:
    ideal = labelled(safety, {"apology": 1, "inability_to_comply": 1})
    refused_badly = labelled(safety, {"inability_to_comply": 1})
    labels = np.array([ideal, refused_badly, ideal, ideal, [NAN] * len(ideal)])
    said = np.array([ideal, ideal, refused_badly, ideal, ideal])
    kinds = ["hard_refusal", "hard_refusal", "hard_refusal", None, "hard_refusal"]
    found = evaluation.outcomes(safety, kinds, said, labels)
    k = len(ideal)
    assert found["class_right"].tolist() == pytest.approx([1, 0, 0, NAN, NAN], nan_ok=True)
    assert found["best_class_error"].tolist() == pytest.approx([0, 1, -1, NAN, NAN], nan_ok=True)
    shares = [1, (k - 1) / k, (k - 1) / k, 1, NAN]
    assert found["propositions_right"].tolist() == pytest.approx(shares, nan_ok=True)
