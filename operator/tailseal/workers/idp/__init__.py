"""The identity provider: so far discovery, JWKS and the exchange."""
