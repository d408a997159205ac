"""Who writes completions to order: from templates, or a language model."""
