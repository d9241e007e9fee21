"""Key sets in buckets: every place of a provider, what was put there, and what strangers were seen to get."""
