"""The service against the code of the trainers that call it, not against our idea of them."""
