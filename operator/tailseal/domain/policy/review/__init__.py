"""Policies looked at beside each other, before anything is decided by them: lint, overlaps, and what a folder holds."""
