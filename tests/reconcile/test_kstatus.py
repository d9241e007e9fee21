"""What kstatus, and so Flux, makes of our objects: in progress while a change is, failed when a person must act."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tailseal.api.conditions import Condition
from tailseal.api.kinds import KINDS
from tailseal.cluster.port import Object
from tailseal.reconcile.conditions import Fact, next_status, summarise
from tailseal_dev.kstatus import kstatus

ROOT = Path(__file__).parents[2]
SHOWN = sorted(ROOT.glob("deploy/argocd/resource_customizations/tailseal.dev/*/testdata/*.yaml"))
"""An object of each kind in each state, as the operator leaves it."""

DONE = Fact("Accepted", status=True, reason="Accepted")
WAITS = Fact("Programmed", status=False, reason="WaitingForReplicas", message="one lags")
STUCK = Fact("Accepted", status=False, reason="InvalidSpec", message="no", stalled=True)
ROTATING = Fact("Rotating", status=True, reason="Rotating", message="k2 is to sign next")


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
    obj = {"apiVersion": "tailseal.dev/v1alpha1", "kind": "TrustPolicy", "metadata": {"name": "x", "generation": 3}}
    status = next_status(obj, facts, {}, 1.0)
    assert [Condition.model_validate(entry) for entry in status["conditions"]]
    changed = obj | {"metadata": {"name": "x", "generation": 4}}
    assert kstatus(obj | {"status": status}, changed | {"status": status}) == [said, "InProgress"], (
        "nobody has looked at the change yet"
    )


def test_kstatus_and_argo_cd_think_the_same_of_every_kind() -> None:
    wanted = {"healthy": "Current", "progressing": "InProgress", "degraded": "Failed"}
    assert kstatus(*map(_as_stored, SHOWN)) == [wanted[path.stem.partition("_")[0]] for path in SHOWN]
    assert len({path.parts[-3] for path in SHOWN}) == 4


def _as_stored(path: Path) -> Object:
    """With the status that the API server gives an object that nobody has looked at."""
    obj = yaml.safe_load(path.read_text())
    crd = yaml.safe_load((ROOT / "crds" / f"tailseal.dev_{KINDS[obj['kind']].plural}.yaml").read_text())
    schema: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    obj.setdefault("status", schema["properties"]["status"]["default"])
    return dict(obj)
