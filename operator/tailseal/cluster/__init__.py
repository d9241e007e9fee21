"""The Kubernetes API as Tailseal needs it: a small protocol over plain dicts, and its one real adapter."""
