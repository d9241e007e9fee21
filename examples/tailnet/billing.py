"""A service that machines call with tokens for it alone, and that knows nothing of the tailnet.

pip install tailseal && uvicorn --app-dir examples/tailnet --port 9100 billing:app
"""
# ruff: noqa: INP001 - a program of its own

from __future__ import annotations

import os

import jwt
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

ISSUER = os.environ.get("ISSUER", "https://login.corp.example:8444")
KEYS = jwt.PyJWKClient(os.environ.get("JWKS", f"{ISSUER}/.well-known/jwks.json"))
AUDIENCE = "https://billing.corp.example"


def caller(authorization: str) -> str:
    """Who calls.

    Args:
        authorization: header of the request.

    Raises:
        jwt.PyJWTError: no token, or none for us.
    """
    token = authorization.removeprefix("Bearer ")
    key = KEYS.get_signing_key_from_jwt(token)
    claims = jwt.decode(token, key, algorithms=["RS256", "ES256"], issuer=ISSUER, audience=AUDIENCE)
    return f"{claims['node']} {' '.join(claims['tags'])}" if "tags" in claims else str(claims["sub"])


async def invoices(request: Request) -> PlainTextResponse:
    """The invoices."""
    try:
        who = await run_in_threadpool(caller, request.headers.get("authorization", ""))
    except jwt.PyJWTError:
        return PlainTextResponse("a token for billing is needed\n", 401, {"www-authenticate": "Bearer"})
    return PlainTextResponse(f"invoices for {who}\n")


app = Starlette(routes=[Route("/invoices", invoices)])
