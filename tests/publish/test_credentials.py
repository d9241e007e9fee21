"""What buckets are asked with: only what was opened to us, and never said."""

from __future__ import annotations

import json

from fakes.provider import NS, secret
from fakes.publishing import line, place, published
from tailseal.cluster import kinds
from tailseal.domain.publishing.store import StoreError, StoreReason
from tailseal.reconcile.context import OperatorSettings


async def test_the_operators_own_identity_is_nobodys_unless_the_installation_says_so() -> None:
    own = place()
    del own["objectStore"]["credentialsSecretRef"]
    seen, buckets = published(own)
    await seen.run_for(60)
    assert line(seen)["reason"] == "RefNotPermitted"
    assert buckets.calls == []
    seen, buckets = published(own, settings=OperatorSettings(ambient_credentials=(NS,)))
    await seen.run_for(60)
    assert line(seen)["status"] == "True"
    assert buckets.credentials[-1].credentials is None


async def test_credentials_must_be_opened_to_us() -> None:
    seen, buckets = published(place())
    seen.cluster.user_apply(secret("store", allowed=False, access_key_id="a", secret_access_key="b"))
    await seen.run_for(60)
    assert line(seen)["reason"] in {"RefNotFound", "RefNotPermitted"}
    assert buckets.calls == []


async def test_credentials_that_no_request_can_carry_are_said_and_not_tried() -> None:
    seen, buckets = published(place())
    seen.cluster.user_apply(secret("store", access_key_id="a\x01b", secret_access_key="hunter2hunter2"))
    await seen.run_for(60)
    assert line(seen)["reason"] == "RefInvalid"
    assert "access_key_id must have visible ASCII" in line(seen)["message"]
    assert buckets.calls == []


async def test_no_credential_is_said_anywhere() -> None:
    seen, buckets = published(place())

    def refuse(what: str, where: str) -> None:
        raise StoreError(StoreReason.DENIED, "bucket keys refuses the credentials")

    buckets.trouble = refuse
    await seen.run_for(60)
    said = json.dumps([obj.get("status") for obj in seen.cluster.all(kinds.IDENTITY_PROVIDER)])
    assert "hunter2" not in said + repr(buckets.credentials) + repr(seen.recorder.events)
