"""The main path: run, score again, plan."""
