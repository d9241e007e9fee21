"""A server of the Model Context Protocol that takes tokens for itself alone, and tells clients where to get them.

pip install tailseal && uvicorn --app-dir examples/mcp --port 9000 server:app
"""
# ruff: noqa: INP001 - a program of its own

from __future__ import annotations

import os
from typing import Any

import jwt
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tailseal.oauth import resource

ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:8080")
MCP = os.environ.get("MCP", "http://127.0.0.1:9000/mcp")
KEYS = jwt.PyJWKClient(os.environ.get("JWKS", f"{ISSUER}/.well-known/jwks.json"))
TOOLS = [{"name": "whoami", "description": "Says who is calling.", "inputSchema": {"type": "object"}}]


class RefusedError(Exception):
    """No token of use came; holds the error of RFC 6750 section 3.1, or nothing where no token came at all."""


def caller(authorization: str) -> dict[str, Any]:
    """What an access token says (RFC 9068 section 4).

    Args:
        authorization: header of the request.

    Raises:
        RefusedError: there is none, or it is not for us.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise RefusedError
    try:
        key = KEYS.get_signing_key_from_jwt(token)
        found = jwt.decode_complete(token, key, algorithms=["RS256", "ES256"], issuer=ISSUER, audience=MCP)
    except jwt.PyJWTError:
        raise RefusedError("invalid_token") from None
    claims: dict[str, Any] = found["payload"]
    if found["header"].get("typ") != "at+jwt" or "cnf" in claims:  # no ID token, and none whose bearer must prove more
        raise RefusedError("invalid_token")
    return claims


async def document(request: Request) -> Response:  # noqa: ARG001 - the framework's
    """What clients read first."""
    return JSONResponse(resource.document(MCP, ISSUER))


async def serve(request: Request) -> Response:
    """A JSON-RPC message of the protocol."""
    try:
        claims = await run_in_threadpool(caller, request.headers.get("authorization", ""))
    except RefusedError as error:
        return Response(status_code=401, headers={"www-authenticate": resource.challenge(MCP, error=str(error))})
    message = await request.json()
    if "id" not in message:
        return Response(status_code=202)
    return JSONResponse({"jsonrpc": "2.0", "id": message["id"], **answer(message, claims)})


def answer(message: dict[str, Any], claims: dict[str, Any]) -> dict[str, Any]:
    """The result of a message, or its error."""
    match message.get("method"):
        case "initialize":
            said = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
            return {"result": said | {"serverInfo": {"name": "whoami", "version": "1"}}}
        case "tools/list":
            return {"result": {"tools": TOOLS}}
        case "tools/call":
            return {"result": {"content": [{"type": "text", "text": f"{claims['sub']} by {claims['client_id']}"}]}}
        case _:
            return {"error": {"code": -32601, "message": "there is no such method"}}


app = Starlette(
    routes=[Route("/.well-known/oauth-protected-resource/mcp", document), Route("/mcp", serve, methods=["POST"])]
)
