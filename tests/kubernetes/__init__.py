"""The Kubernetes manifests, built by kubectl's kustomize; `make test-kubernetes`."""
