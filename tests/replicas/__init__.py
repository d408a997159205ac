"""The service as replicas on a real Ray cluster of this machine; `make test-ray`."""
