"""Speed as ratios: what we spend on a request against the cryptography that it cannot do without, in one run.

CPU time on both sides, measured on the same core in turns, makes the figures immune to waiting; they still sink by
a third from a quiet to a crowded machine, so gates are low and aims are high. A single answer but 200 fails the run.
"""
