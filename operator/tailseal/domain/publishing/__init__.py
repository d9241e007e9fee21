"""Publishing: what one writer may do to a key set that others write to as well, and through which port it does it."""

from tailseal.domain.publishing.keyset import Merged, Wish, kids, merge, shown
from tailseal.domain.publishing.metadata import Metadata, describe

__all__ = ["Merged", "Metadata", "Wish", "describe", "kids", "merge", "shown"]
