"""One folder or file a controller, beside what they share: gather what is, plan, apply one step, say it in status."""
