"""Argo CD itself on a real node, and the story of an installation that it keeps as a Git repository says."""
