"""Turns finished runs into something to read. Reads summaries only."""
