"""`tailseal explain`: why a token is trusted or not."""
