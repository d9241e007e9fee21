"""One file a kind: gather what is, plan what should be, apply one step, say it in status."""
