"""What strangers and tenants can send, by the million: no exception escapes, and no input is slow (`make fuzz`)."""
