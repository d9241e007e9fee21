"""A fleet of real key set caches that verifies every token while keys rotate and things break around them."""
