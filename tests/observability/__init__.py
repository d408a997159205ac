"""Operating it: alert rules and dashboard, in a real Prometheus."""
