"""What keeps the operator alive: store, queue, resync, election, recorder, probe, health, metrics."""
