"""The method itself: policy, features, model, fit and evaluation; no web, no torch."""
