"""What is asked of a model, and what of it is still missing."""
