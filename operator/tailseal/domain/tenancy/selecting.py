"""Which namespaces the rules of an IdentityProvider select by labels, as names: what selectors mean, and how many fit.

Workers know no labels: they get names, and a namespace whose labels no longer fit is no longer among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tailseal.api.identityprovider.bounds import Bound, LabelSelector, SelectorRequirement

Labels = Mapping[str, str]

MAX_SELECTED: Final = 384 * 1024
"""Bytes of names that all rules of a provider together may select: its settings share a ConfigMap with the manifest."""

NAME_LABEL: Final = "kubernetes.io/metadata.name"
"""What every namespace carries, set by the API server to its name."""


@dataclass(frozen=True, slots=True)
class Selected:
    """What a provider's rules select.

    Args:
        names: by the rule's name, for each that selects; in the order of names.
        left_out: how many there was no room for.
    """

    names: Mapping[str, tuple[str, ...]]
    left_out: int = 0


def select(bounds: Sequence[Bound], namespaces: Mapping[str, Labels]) -> Selected:
    """Resolve all rules that select.

    Args:
        bounds: of an IdentityProvider.
        namespaces: labels by name, eldest first: where there is no room for all, the youngest are left out.
    """
    room, left_out = MAX_SELECTED, 0
    found: dict[str, tuple[str, ...]] = {}
    for bound in bounds:
        if bound.namespaces.selector is None:
            continue
        kept = []
        for name in _matching(bound.namespaces.selector, namespaces):
            room -= len(name) + len('"",')
            if room >= 0:
                kept.append(name)
            else:
                left_out += 1
        found[bound.name] = tuple(sorted(kept))
    return Selected(found, left_out)


def matches(selector: LabelSelector, labels: Labels) -> bool:
    """Whether all parts hold, as Kubernetes understands them: a selector without parts selects everything."""
    return selector.match_labels.items() <= labels.items() and all(
        _holds(requirement, labels) for requirement in selector.match_expressions
    )


def _matching(selector: LabelSelector, namespaces: Mapping[str, Labels]) -> Iterator[str]:
    return (name for name, labels in namespaces.items() if matches(selector, labels))


def _holds(requirement: SelectorRequirement, labels: Labels) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":  # also where there is no such label (apimachinery's labels.Requirement)
            return value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
