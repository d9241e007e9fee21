"""IdentityProvider: what its spec names, what it owns, and what its replicas were seen doing."""
