"""The whole story of a tailnet with an identity provider in it, told by real nodes: `make tailnet`."""
