"""Tokens in and out: strict verification, minting, and the exchange between them."""
