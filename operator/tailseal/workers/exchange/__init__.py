"""The token exchange as endpoints: what the token service is, and what the identity provider offers as well."""
