"""The database that an IdentityProvider's replicas share: its URL, copied from the Secret that the spec names."""

from __future__ import annotations

from tailseal.api import meta
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.reasons import Reason
from tailseal.domain.bundle.model import STATE_CA_FILE, STATE_URL_FILE
from tailseal.reconcile.context import Objects
from tailseal.reconcile.identityprovider.refs import Files, Problem, copied, files_of
from tailseal.state.url import DatabaseURL, URLInvalid

PATH = "spec.storage.postgres.urlSecretRef"

_URL, _CA = "url", "ca.crt"


def shared_state(objects: Objects, namespace: str, provider: str, spec: IdentityProviderSpec) -> Files:
    """Files for the volume `credentials`: URL and authorities of the database; the last good ones where that fails."""
    if spec.storage is None or spec.storage.postgres is None:
        return Files({})
    name = spec.storage.postgres.url_secret_ref.name
    found = copied(objects, namespace, name, (_URL,), PATH, optional=(_CA,))
    if not found.files:
        return Files(_kept(objects, namespace, provider), found.problems)
    url = found.files[_URL].strip()
    try:
        DatabaseURL.parse(url.decode())
    except UnicodeDecodeError:
        problem = Problem(PATH, Reason.REF_INVALID, f"Secret {name}: {_URL} is not UTF-8")
        return Files(_kept(objects, namespace, provider), (problem,))
    except URLInvalid as error:
        problem = Problem(PATH, Reason.REF_INVALID, f"Secret {name}: {_URL} {error}")
        return Files(_kept(objects, namespace, provider), (problem,))
    return Files({STATE_URL_FILE: url} | ({STATE_CA_FILE: found.files[_CA]} if _CA in found.files else {}))


def _kept(objects: Objects, namespace: str, provider: str) -> dict[str, bytes]:
    kept = files_of(objects, namespace, meta.credentials_secret(provider))
    return {file: kept[file] for file in (STATE_URL_FILE, STATE_CA_FILE) if file in kept}
