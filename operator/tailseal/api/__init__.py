"""The kinds: models of spec and status, conditions, reasons, and the CRDs generated from them."""
