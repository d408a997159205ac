"""What makes a policy file valid, each fault told with file, line, key and what to do.

Document -> check(shape, names, derivations, rules) -> PolicyFile, or the first PolicyError
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain

from rbr_service.rbr import proofs
from rbr_service.rbr.diagram import Conditions
from rbr_service.rbr.document import Document, Key, shaped
from rbr_service.rbr.schema import AUTO, OUT_OF_SCOPE, Auto, PolicyFile

Fold = Callable[[str], str]


def check(source: Document, fold: Fold) -> PolicyFile:
    """The file's content if every rule about policy files holds. Raises PolicyError."""
    file = shaped(source, PolicyFile)
    _distinct(source, file)
    _labels(source, file, fold)
    _unlabelled(source, file)
    _types(source, file)
    _conditions(source, file)
    proofs.derivations(source, file)
    _metrics(source, file)
    proofs.rules(source, file)
    _all_used(source, file)
    return file


def _distinct(source: Document, file: PolicyFile) -> None:
    for i, name in enumerate(file.classes):
        if name in file.classes[:i]:
            raise source.error(("classes", i), f"{name!r} stands twice: remove one")
    for name in file.derived:
        if name in file.propositions:
            raise source.error(("derived", name), "is also a proposition: give the derived one another name")


def _labels(source: Document, file: PolicyFile, fold: Fold) -> None:
    """Types, aliases and categories share one namespace, since a label may be any of them."""
    taken: dict[str, str] = {}

    def take(label: str, key: Key, owner: str) -> None:
        folded = fold(label)
        if not folded:
            raise source.error(key, "is empty: a label needs a name")
        if folded in (OUT_OF_SCOPE, "error", AUTO):
            raise source.error(key, f"the label {label!r} is reserved: choose another")
        if taken.setdefault(folded, owner) != owner:
            raise source.error(
                key,
                f"the label {label!r} already means {taken[folded]}: labels must be distinct "
                "(case, spaces, '_' and '-' do not count)",
            )

    for name, spec in file.response_types.items():
        take(name, ("response_types", name), f"the response type {name!r}")
        for i, alias in enumerate(spec.aliases):
            place = ("response_types", name, "aliases", i)
            take(alias, place, f"the alias {alias!r} of {name!r}")
    for category, entry in file.content_policy.items():
        take(category, ("content_policy", category), f"the category {category!r}")
        if entry.response_type != OUT_OF_SCOPE:
            source.require(
                ("content_policy", category, "response_type"),
                entry.response_type,
                file.response_types,
                "response type",
            )


def _unlabelled(source: Document, file: PolicyFile) -> None:
    if file.auto is not None:
        _auto(source, file, file.auto)
    elif file.unlabelled == AUTO:
        order = ", ".join(file.response_types)
        raise source.error(
            ("unlabelled",),
            "is auto, and nothing says how a type is chosen: add the key `auto: {threshold: 0.5, "
            f"strictest_first: [{order}]}}` with the strictest type first",
        )
    if file.unlabelled not in (OUT_OF_SCOPE, "error", AUTO):
        source.require(("unlabelled",), file.unlabelled, file.response_types, "response type")


def _auto(source: Document, file: PolicyFile, auto: Auto) -> None:
    if not 0 < auto.threshold <= 1:
        raise source.error(("auto", "threshold"), "must be over 0 and at most 1, such as 0.5")
    if not file.content_policy:
        raise source.error(
            ("auto",), "needs categories to choose from: add them under content_policy, or remove it"
        )
    order: Key = ("auto", "strictest_first")
    for i, name in enumerate(auto.strictest_first):
        source.require((*order, i), name, file.response_types, "response type")
        if name in auto.strictest_first[:i]:
            raise source.error((*order, i), f"{name!r} stands twice: remove one")
    for name in file.response_types:
        if name not in auto.strictest_first:
            raise source.error(order, f"lacks the response type {name!r}: put it in its place by strictness")


def _types(source: Document, file: PolicyFile) -> None:
    for name, spec in file.response_types.items():
        lists: dict[tuple[str, ...], list[str]] = {
            ("good",): spec.good,
            ("bad",): spec.bad,
            ("features", "propositions"): spec.features.propositions,
        }
        for key, entries in lists.items():
            for i, entry in enumerate(entries):
                place: Key = ("response_types", name, *key, i)
                source.require(place, entry, file.propositions, "proposition")
                if entry in entries[:i]:
                    raise source.error(place, f"{entry!r} stands twice: remove one")
        both = set(spec.good) & set(spec.bad)
        if both:
            raise source.error(
                ("response_types", name, "bad"),
                f"{min(both)!r} is also a good trait: a trait is one or the other",
            )
        if not spec.features.propositions and not spec.features.classes:
            raise source.error(
                ("response_types", name, "features"),
                "has no feature at all: name propositions or set classes: true",
            )
        if name not in file.rules:
            raise source.error(("rules",), f"has no rules for the response type {name!r}: add them")


def _conditions(source: Document, file: PolicyFile) -> None:
    names = {**file.propositions, **file.derived}
    for derived, condition in file.derived.items():
        _condition(source, ("derived", derived), condition, names)
    for response_type, rules in file.rules.items():
        source.require(("rules", response_type), response_type, file.response_types, "response type")
        for name, condition in rules.items():
            source.require(("rules", response_type, name), name, file.classes, "class")
            _condition(source, ("rules", response_type, name), condition, names)


def _condition(source: Document, key: Key, condition: Conditions, names: Iterable[str]) -> None:
    if isinstance(condition, Mapping):
        for name in condition:
            source.require((*key, name), name, names, "proposition or derived proposition")
    else:
        for i, part in enumerate(condition):
            _condition(source, (*key, i), part, names)


def _metrics(source: Document, file: PolicyFile) -> None:
    for metric, table in (
        ("unsafe", file.metrics.unsafe),
        ("overrefusal", file.metrics.overrefusal),
    ):
        for response_type, classes in table.items():
            key = ("metrics", metric, response_type)
            source.require(key, response_type, file.response_types, "response type")
            for i, name in enumerate(classes):
                source.require(
                    (*key, i),
                    name,
                    file.rules[response_type],
                    f"class of {response_type!r}",
                )


def _all_used(source: Document, file: PolicyFile) -> None:
    """What nothing reads is a mistake: a proposition that feeds no class and no feature."""
    conditions = chain(file.derived.values(), *(rules.values() for rules in file.rules.values()))
    used = set(chain.from_iterable(map(proofs.mentions, conditions)))
    used |= set(chain.from_iterable(t.features.propositions for t in file.response_types.values()))
    for section, names in (("propositions", file.propositions), ("derived", file.derived)):
        for name in names:
            if name not in used:
                raise source.error((section, name), "is used by no rule and no feature: use or remove it")
