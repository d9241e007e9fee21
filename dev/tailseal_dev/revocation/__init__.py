"""How long a withdrawn trust goes on granting tokens, measured under load: `make revocation`."""
