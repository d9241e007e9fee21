"""What signs: one small protocol and its implementations."""
