"""What a worker asks of others: keys of foreign issuers, and tokens of upstreams."""
