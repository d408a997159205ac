"""The page and the report opened in a real browser; run by `make test-browser`."""
