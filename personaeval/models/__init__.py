"""A model: found, fingerprinted, prompted, opened."""
