"""The side of a worker that callers never see: health and metrics for the node, the poll for the operator."""
