"""What kstatus, and so Flux, makes of our conditions: in progress while a change is, failed when a person must act."""

from __future__ import annotations

import pytest

from tailseal.api.conditions import Condition
from tailseal.cluster.port import Object
from tailseal.reconcile.conditions import Fact, next_status, summarise

DONE = Fact("Accepted", status=True, reason="Accepted")
WAITS = Fact("Programmed", status=False, reason="WaitingForReplicas", message="one lags")
STUCK = Fact("Accepted", status=False, reason="InvalidSpec", message="no", stalled=True)
ROTATING = Fact("Rotating", status=True, reason="Rotating", message="k2 is to sign next")


def kstatus(generation: int, status: Object) -> str:
    """The rules of sigs.k8s.io/cli-utils/pkg/kstatus for kinds that it does not know, as its README has them."""
    if status.get("observedGeneration", generation) != generation:
        return "InProgress"
    conditions = {entry["type"]: entry["status"] for entry in status.get("conditions", ())}
    if conditions.get("Stalled") == "True":
        return "Failed"
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if "Ready" in conditions and conditions["Ready"] != "True":
        return "InProgress"
    return "Current"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (summarise([DONE]), "Current"),
        (summarise([DONE, WAITS]), "InProgress"),
        (summarise([STUCK, WAITS]), "Failed"),
        ((*summarise([DONE]), ROTATING), "Current"),
    ],
    ids=["works", "waits", "stuck", "rotates"],
)
def test_kstatus_says_of_an_object_what_is_so(facts: tuple[Fact, ...], said: str) -> None:
    obj = {"metadata": {"generation": 3}}
    status = next_status(obj, facts, {}, 1.0)
    assert [Condition.model_validate(entry) for entry in status["conditions"]]
    assert kstatus(3, status) == said
    assert kstatus(4, status) == "InProgress", "nobody has looked at the change yet"
