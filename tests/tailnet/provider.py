"""An identity provider on a node: `provider.py BUNDLE LOCALAPI SOCKET PORT`, behind serve and on loopback.

It runs with the worker, the endpoints and the resolver that a pod has; its decisions go to standard output.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from tailseal.tailnet import LocalApi, Serve
from tailseal.workers.common.bundle.source import DirectorySource
from tailseal.workers.common.http.address import Address, UnixAddress
from tailseal.workers.common.http.serving import Listener
from tailseal.workers.common.worker import Place, Worker
from tailseal.workers.idp.app import of_worker


def started(_public: Listener, _private: Listener) -> None:
    sys.stderr.write("ready\n")


async def main() -> None:
    bundle, localapi, place, port = sys.argv[1:]
    worker = Worker("idp", DirectorySource(Path(bundle)), clock=time.time, polled=False)
    own = of_worker(worker, Serve(LocalApi(localapi, within=5.0)))
    where = Place(Address("127.0.0.1", int(port)), Address("127.0.0.1", 0), tailnet=UnixAddress(place, 0o666))
    await worker.run(
        of_worker(worker, None),
        where,
        over_tailnet=own,
        started=started,
    )


if __name__ == "__main__":
    asyncio.run(main())
