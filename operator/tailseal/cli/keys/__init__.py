"""`tailseal keys`: the SigningKeys of a cluster, the changes that cannot wait, and which key verifies a token."""
