"""Weight sync."""
