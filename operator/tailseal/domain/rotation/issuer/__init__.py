"""What an issuer does with keys: when each is published, signs and leaves, by laws 1 to 7 of docs/architecture.md."""
