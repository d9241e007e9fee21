"""An installation that Argo CD keeps as Git says, on a real node: `make gitops` prints the same story."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailseal_dev.argocd import __main__ as gitops
from tailseal_dev.argocd import server
from tailseal_dev.demo.narrator import Narrator
from tailseal_dev.realnode.packages import why_not

pytestmark = [pytest.mark.node, pytest.mark.helm]

PROMISES = (
    "Application applied → Synced and Healthy",
    "when it first is Healthy, every replica exchanges",
    "for 20 s it stays Synced and Healthy",
    "the operator owns nothing but status of users' objects",
    "what it makes carries no label and no annotation of users' objects",
    "a policy edited in the cluster → put back by Argo CD",
    "a Deployment of the operator's edited → repaired by the operator",
    "it says so in one event",
    "bad policy committed → Degraded",
    "the application has our message",
    "the other policy goes on",
    "commit → policy pruned by Argo CD",
    "policy pruned → refused by every replica",
    "deleted",
    "the CRDs stay, and so may what others have",
    "Application applied again → Synced and Healthy",
    "a token from before verifies, and so does the next one",
    "the same keys and salts",
)


def test_git_decides_and_nobody_s_tokens_die_of_it(tmp_path: Path) -> None:
    if reason := why_not() or server.why_not():
        pytest.skip(reason)
    told = Narrator()
    gitops.tell(told, tmp_path)
    told.summary()
    assert [fact.what for fact in told.facts if not fact.holds] == []
    assert tuple(fact.what for fact in told.facts) == PROMISES
