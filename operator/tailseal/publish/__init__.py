"""Where key sets are published beyond the cluster: object stores, and what an anonymous reader gets from them."""
