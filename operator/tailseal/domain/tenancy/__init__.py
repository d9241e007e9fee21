"""What a namespace may do under a provider: its bounds, what they match, and what no tenant may ever say."""
