"""The hub of Hugging Face, on this machine: what is asked of it, and what it answers."""
