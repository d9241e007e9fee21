"""SigningKey: which keys there are, when the next one is due, and what its status says."""
