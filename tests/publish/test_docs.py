"""What docs/publishing.md tells people to write is valid, and nothing in it is left for later."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tailseal.api.parse import parse
from tailseal.api.reasons import Reason
from tailseal.api.unsupported import unsupported
from tailseal.domain.policy.review.lint import lint
from tailseal.domain.publishing.keyset import WRITERS

PAGE = (Path(__file__).parents[2] / "docs" / "publishing.md").read_text()
MANIFESTS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
KEY = {
    "apiVersion": "tailseal.dev/v1alpha1",
    "kind": "SigningKey",
    "metadata": {"name": "corp", "namespace": "identity"},
    "spec": {"algorithm": "ES256"},
}


def test_the_example_is_accepted() -> None:
    (manifest,) = MANIFESTS
    spec = parse("IdentityProvider", manifest)
    assert unsupported(spec) == []
    assert len(spec.publish) == 3
    assert lint([manifest], [KEY], now=0.0) == ()


def test_the_words_on_the_page_are_the_ones_in_the_code() -> None:
    assert f"`{WRITERS}`" in PAGE
    for word in (Reason.KEY_CONFLICT, Reason.DOCUMENT_UNREADABLE):
        assert f"`{word}`" in PAGE


def test_lint_finds_targets_that_could_not_work() -> None:
    (manifest,) = MANIFESTS
    bad = yaml.safe_load(yaml.safe_dump(manifest))
    bad["spec"]["publish"][0]["objectStore"]["bucket"] = "corp.keys"
    bad["spec"]["publish"][1]["objectStore"]["endpoint"] = "https://s3.corp.example/path"
    bad["spec"]["publish"][2]["discovery"] = True
    found = {entry.path: entry.message for entry in lint([bad], [KEY], now=0.0)}
    assert set(found) == {"spec.publish[0].objectStore", "spec.publish[1].objectStore", "spec.publish[2]"}
