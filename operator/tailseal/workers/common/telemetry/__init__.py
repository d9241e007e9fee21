"""What a worker leaves behind of what it did: the audit log, the application log, metrics."""
