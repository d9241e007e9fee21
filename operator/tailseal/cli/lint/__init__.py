"""`tailseal lint`: what is wrong with manifests, on which line."""
