"""Pure functions over arrays: no files, no models, no randomness without a seed."""
