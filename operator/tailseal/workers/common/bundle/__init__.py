"""From the mounted files to one immutable snapshot: reading, checking, swapping."""
