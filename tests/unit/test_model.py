"""The reward is the sum of its terms, and weights refuse to serve what they were not fitted to."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_service.build import rules_folder
from rbr_service.errors import WeightsError
from rbr_service.rbr.calibration import GraderIdentity
from rbr_service.rbr.model import TypeModel, Weights, bind
from rbr_service.rbr.policy import Policy, parse

FILE = rules_folder() / "safety.lexical.json"


@pytest.fixture
def weights() -> Weights:
    return Weights.load(FILE, "rbr fit")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_reward_is_the_sum_of_weight_times_feature(safety: Policy, data: st.DataObject) -> None:
    kind = safety.response_types[data.draw(st.sampled_from(sorted(safety.response_types)))]
    weights = {f: data.draw(st.sampled_from([0.0, -2.5, 0.25, 3.0])) for f in kind.features}
    model = TypeModel(kind, weights)
    p = {name: data.draw(st.floats(0, 1)) for name in kind.propositions}
    scored = model.score([p[name] for name in model.propositions])
    classes = dict(
        zip(kind.classes, kind.diagram.of_row([p[v] for v in kind.diagram.variables]), strict=True)
    )
    phi = {f"p:{n}": p[n] for n in kind.feature_propositions} | {f"class:{c}": v for c, v in classes.items()}
    assert scored.rbr_reward == pytest.approx(sum(w * phi[f] for f, w in weights.items()), abs=1e-9)
    assert sum(scored.contributions.values()) == pytest.approx(scored.rbr_reward, abs=1e-12)
    assert scored.p_best == pytest.approx(classes[kind.classes[0]])


def test_only_rules_and_non_zero_weights_are_graded(safety: Policy) -> None:
    kind = safety.response_types["comply"]
    lone = set(kind.feature_propositions) - set(kind.diagram.variables)
    assert lone, "comply has a feature that none of its rules reads"
    weights = dict.fromkeys(kind.features, 1.0)
    assert lone <= set(TypeModel(kind, weights).propositions)
    assert not lone & set(TypeModel(kind, weights | {f"p:{p}": 0.0 for p in lone}).propositions)


def test_matching_weights_bind(safety: Policy, weights: Weights) -> None:
    model = bind(safety, weights, weights.grader, "none", accept_mismatch=False, remedy="rbr fit")
    assert model.mismatches == ()
    assert set(model.types) == set(safety.response_types)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"grader": GraderIdentity(name="lexical", fingerprint="other")}, "fitted on the grader"),
        ({"base_reward": "given"}, "fitted with base reward 'given'"),
        ({"calibration": "f00"}, "calibration"),
        ({"policy": "tone"}, "fitted to the policy 'tone'"),
        ({"response_types": {}}, "no weights for the response type 'hard_refusal'"),
    ],
)
def test_a_mismatch_refuses_and_says_what_to_run(
    safety: Policy, weights: Weights, change: dict[str, object], said: str
) -> None:
    identity = weights.grader
    other = weights.model_copy(update=change)
    with pytest.raises(WeightsError, match=said) as refusal:
        bind(safety, other, identity, "none", accept_mismatch=False, remedy="rbr fit --policy safety")
    assert "rbr fit --policy safety" in refusal.value.message
    model = bind(safety, other, identity, "none", accept_mismatch=True, remedy="")
    assert any(said in mismatch for mismatch in model.mismatches)


def test_an_edited_rule_voids_its_types_weights(weights: Weights) -> None:
    text = (rules_folder() / "safety.yaml").read_text()
    edited = parse(
        text.replace("    fully_complies: false\n  correct_refusal:", "  correct_refusal:"), "edited"
    )
    with pytest.raises(WeightsError, match="'hard_refusal' has changed since the fit"):
        bind(edited, weights, weights.grader, "none", accept_mismatch=False, remedy="rbr fit")


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no weights there"), ("{", "content"), ("{}", "Field required"), ('{"policy": NaN}', "policy")],
)
def test_a_broken_file_names_itself_and_the_command(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "w.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(WeightsError, match=said) as refusal:
        Weights.load(path, "rbr fit --policy safety")
    assert str(path) in refusal.value.message
    assert "rbr fit --policy safety" in refusal.value.message


@pytest.mark.parametrize("value", ["Infinity", "1e308", "-1e7"])
def test_weights_whose_sum_could_overflow_are_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "w.json"
    text = FILE.read_text()
    number = next(iter(Weights.load(FILE, "").response_types["comply"].weights.values()))
    path.write_text(text.replace(str(number), value, 1))
    with pytest.raises(WeightsError, match=r"finite|1000000"):
        Weights.load(path, "rbr fit")


def test_intervals_are_those_of_the_file_and_none_where_it_has_none(weights: Weights) -> None:
    found = weights.intervals("comply")
    assert found.keys() == weights.response_types["comply"].weights.keys()
    assert all(one.low <= one.high for one in found.values())
    assert weights.intervals("no_such_type") == {}
    older = weights.model_copy(update={"origin": {"command": "rbr fit"}})
    assert older.intervals("comply") == {}
    assert older.version == weights.version


@pytest.mark.parametrize("low", [None, "x", [], float("nan")])
def test_an_interval_that_is_none_is_refused_by_its_place(tmp_path: Path, low: object) -> None:
    content = json.loads(FILE.read_text())
    content["origin"]["response_types"]["comply"]["intervals"]["p:judgement"]["low"] = low
    path = tmp_path / "w.json"
    path.write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=r"origin\.response_types\.comply\.intervals\.p:judgement\.low"):
        Weights.load(path, "rbr fit")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flip_is_a_fresh_score_with_the_other_answer(safety: Policy, data: st.DataObject) -> None:
    kind = safety.response_types[data.draw(st.sampled_from(sorted(safety.response_types)))]
    weights = {f: data.draw(st.sampled_from([0.0, -2.5, 0.25, 3.0])) for f in kind.features}
    model = TypeModel(kind, weights)
    likely = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0]))
    p = [data.draw(likely) for _ in model.propositions]
    flips = model.flips(p)
    assert list(flips) == list(model.propositions)
    for i, name in enumerate(model.propositions):
        other = list(p)
        other[i] = flips[name].p
        assert flips[name].p == float(p[i] < 0.5)
        assert flips[name].scored == model.score(other)
        classes = flips[name].scored.class_probabilities
        assert classes[flips[name].scored.best_class] == max(classes.values())
