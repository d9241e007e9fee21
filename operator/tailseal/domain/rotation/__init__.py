"""Key rotation: the pure state machines of a SigningKey and of an issuer."""
