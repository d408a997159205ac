"""What goes wrong around a service, made to go wrong: a test for every row of docs/faults.md."""
