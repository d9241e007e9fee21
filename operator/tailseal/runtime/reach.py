"""The two ways to a worker pod's management port: straight to its address, or through the API server."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import httpx

from tailseal.cluster import kinds
from tailseal.cluster.port import Cluster, Object
from tailseal.domain import poll
from tailseal.domain.render.common import MANAGEMENT_PORT

_TIMEOUT = httpx.Timeout(2.0)


class PodAddress:
    """Asks pods on their own IP addresses. An async context manager."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, follow_redirects=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def ask(self, pod: Object, question: bytes) -> bytes:
        """POST the question; the answer is read up to the size that one may have.

        Raises:
            OSError: no connection, no answer in time, an answer that is too large, or another status than 200.
        """
        try:
            async with self._client.stream("POST", _url(pod), content=question) as response:
                content = bytearray()
                async for chunk in response.aiter_raw():
                    content += chunk
                    if len(content) > poll.MAX_BYTES:
                        raise OSError("the answer is too large")
        except httpx.HTTPError as error:
            raise OSError(type(error).__name__) from error
        if response.status_code != httpx.codes.OK:
            raise OSError(f"status {response.status_code}")
        return bytes(content)


class PodProxy:
    """Asks pods through `pods/proxy`, for an operator that is not on their network."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def ask(self, pod: Object, question: bytes) -> bytes:
        """POST the question.

        Raises:
            ClusterError: the API server or the pod does not answer.
        """
        return await self._cluster.pod_proxy(kinds.ref(pod), MANAGEMENT_PORT, poll.PATH, question)


def _url(pod: Object) -> str:
    address = pod["status"]["podIP"]
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{MANAGEMENT_PORT}{poll.PATH}"
