"""Every decision that Tailseal takes, as pure functions over frozen values: no I/O, no clock, no randomness."""
