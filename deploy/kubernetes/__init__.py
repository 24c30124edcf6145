"""Kubernetes: what is generated of it. The rest is plain kustomize."""
