"""Answering callers: where we listen and how long we wait for whom, TLS, bare ASGI, and the well-known documents."""
