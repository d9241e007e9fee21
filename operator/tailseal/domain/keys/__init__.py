"""Keys as values: public halves, sets of them, what people bring, and handles on keys that stay where they are."""
