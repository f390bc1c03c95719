"""The parts of a Kubernetes on one machine; `tools/cluster` is its command."""
