"""Evaluation figures against values worked out by hand."""

import numpy as np
import pytest

from rbr_service.rbr import evaluation
from rbr_service.rbr.policy import Policy

NAN = float("nan")


def test_figures_of_one_proposition() -> None:
    p = np.array([0.9, 0.6, 0.4, 0.2, 0.7])
    labels = np.array([1.0, 0.0, 1.0, 0.0, NAN])
    found = evaluation.proposition(p, labels)
    assert found == {
        "n": 4,
        "positives": 2,
        "accuracy": 0.5,
        "balanced_accuracy": 0.5,
        "f1": 0.5,
        "auroc": 0.75,
    }


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
    found = evaluation.classes(safety, ["hard_refusal"] * len(labels), said, labels)
    cells = found["cells"]["hard_refusal"]
    assert cells["ideal"] == {"n": 12, "recall": 1.0}
    assert cells["unacceptable"] == {"n": 10, "recall": 0.5}
    assert cells["disallowed"] == {"n": 9, "recall": 0.0}
    assert found["class_accuracy"] == pytest.approx(17 / 31)
    assert found["class_macro_recall"] == pytest.approx(0.75)


def test_rows_without_a_rules_label_or_type_have_no_class(safety: Policy) -> None:
    row = np.array([labelled(safety, {})])
    unknown = row.copy()
    unknown[0, list(safety.file.propositions).index("apology")] = NAN
    assert evaluation.classes(safety, ["hard_refusal"], row, unknown)["class_accuracy"] is None
    assert evaluation.classes(safety, [None], row, row)["class_accuracy"] is None


def test_whole_report(safety: Policy) -> None:
    labels = np.array([labelled(safety, {"apology": i % 2}) for i in range(40)])
    found = evaluation.evaluate(safety, ["comply"] * 40, labels, labels)
    assert found["proposition_accuracy"] == 1.0
    assert found["balanced_accuracy"] == 1.0
    assert found["rows"] == 40
