"""What services say so that clients find the provider (RFC 9728)."""

from __future__ import annotations

import pytest

from tailseal.oauth import resource

MCP = "https://mcp.corp.example/mcp"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (MCP, "https://mcp.corp.example/.well-known/oauth-protected-resource/mcp"),
        ("https://a.example", "https://a.example/.well-known/oauth-protected-resource"),
        ("https://a.example/", "https://a.example/.well-known/oauth-protected-resource"),
        ("https://a.example:8443/x?y=1", "https://a.example:8443/.well-known/oauth-protected-resource/x?y=1"),
        ("http://localhost:9933/mcp", "http://localhost:9933/.well-known/oauth-protected-resource/mcp"),
    ],
)
def test_the_document_is_found_before_the_path(url: str, place: str) -> None:
    assert resource.location(url) == place


@pytest.mark.parametrize("url", ["", "mcp", "urn:mcp", f"{MCP}#x", "https:///mcp"])
def test_what_is_no_url_is_no_resource(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        resource.document(url, "https://idp.corp.example")


def test_the_document_names_the_service_and_us() -> None:
    assert resource.document(MCP, "https://idp.corp.example", ["tools"], proof=True) == {
        "resource": MCP,
        "authorization_servers": ["https://idp.corp.example"],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["tools"],
        "dpop_bound_access_tokens_required": True,
    }


def test_a_refusal_leads_to_the_document() -> None:
    place = resource.location(MCP)
    assert resource.challenge(MCP) == f'Bearer resource_metadata="{place}"'
    assert (
        resource.challenge(MCP, error="insufficient_scope", scopes=["a", "b"], proof=True)
        == f'DPoP error="insufficient_scope", scope="a b", resource_metadata="{place}"'
    )
