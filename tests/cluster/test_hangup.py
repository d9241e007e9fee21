"""Nothing of a loop's connections outlives it, however slow the other side is."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailseal.cluster.hangup import hang_up
from tailseal_dev.pki import Authority


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The port of a server that shakes hands and says nothing any more, and who vouches for it."""
    authority, ends = Authority(), threading.Event()
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    authority.server().write(tmp_path, "tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")

    def serve() -> None:
        connection, _ = listening.accept()
        with context.wrap_socket(connection, server_side=True):
            ends.wait()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1], tmp_path / "ca.crt"
        ends.set()
        thread.join()


async def test_a_connection_that_waits_for_a_goodbye_is_cut(silent: tuple[int, Path]) -> None:
    port, authority = silent
    trusted = ssl.create_default_context(cafile=str(authority))
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusted)
    connection = writer.get_extra_info("socket")
    writer.close()
    await asyncio.sleep(0.05)
    assert connection.fileno() != -1, "it waits"
    await hang_up()
    assert connection.fileno() == -1
