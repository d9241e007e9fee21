"""The database that a provider of the folder names, and the file that serves in its place where it names none.

One process serves the folder, and a lock sees to that: so a file of its own remembers as well as a database that many
share. It outlives the process, or a restart would let every token count again.
"""

from __future__ import annotations

from collections.abc import Mapping

from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.meta import ALLOW_LABEL
from tailseal.domain.bundle.model import STATE_CA_FILE, STATE_URL_FILE, Settings
from tailseal.state.url import DatabaseURL, URLInvalid

PATH = "spec.storage.postgres.urlSecretRef"


def with_state(settings: Settings) -> Settings:
    """The settings, under which what counts once is remembered in any case."""
    return settings if settings.state is not None else settings.model_copy(update={"state": "SQLite"})


def needed_secret(spec: IdentityProviderSpec) -> str | None:
    """The Secret that holds the database's URL."""
    named = spec.storage is not None and spec.storage.postgres is not None
    return spec.storage.postgres.url_secret_ref.name if named and spec.storage and spec.storage.postgres else None


def state_files(name: str, data: Mapping[str, bytes]) -> dict[str, bytes] | str:
    """Files for the volume `credentials`, or what is wrong with the Secret.

    Args:
        name: of the Secret.
        data: its content; empty where it is not there.
    """
    url = data.get("url", b"").strip()
    if not url:
        return f'a Secret {name} with the label {ALLOW_LABEL}: "true" and with url is needed'
    try:
        DatabaseURL.parse(url.decode())
    except UnicodeDecodeError:
        return f"Secret {name}: url is not UTF-8"
    except URLInvalid as error:
        return f"Secret {name}: url {error}"
    return {STATE_URL_FILE: url} | ({STATE_CA_FILE: data["ca.crt"]} if data.get("ca.crt") else {})
