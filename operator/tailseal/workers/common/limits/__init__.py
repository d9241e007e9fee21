"""How often whom is served: pure token buckets, and which of them an exchange draws from."""
