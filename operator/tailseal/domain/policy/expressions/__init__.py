"""What tenants write as text and we evaluate: patterns and CEL, both compiled once and bounded in time."""
