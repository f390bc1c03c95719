"""Recommendations that react to the last click, as a Kubernetes resource."""
