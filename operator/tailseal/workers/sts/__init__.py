"""The security token service: RFC 8693 token exchange and the keys to verify its answers."""
