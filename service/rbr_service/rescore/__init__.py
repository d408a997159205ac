"""What another rule would have made of the samples in a score log."""
