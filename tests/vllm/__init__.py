"""Real vLLM engines and servers over tiny models that are built on the spot (`make test-vllm`)."""
