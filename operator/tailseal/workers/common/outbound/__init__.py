"""What a worker asks of others: foreign issuers' keys, upstreams' tokens, signatures, and what was used already."""
