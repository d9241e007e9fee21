"""The bundle: the only bridge between operator and workers, as frozen models and pure readers and writers."""
