"""`tailseal import`: takes over what other token services keep."""
