"""Development tools: the control plane, the local node, the demo, the quickstart and the benchmark."""
