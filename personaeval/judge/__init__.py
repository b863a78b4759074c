"""Judges: rubrics, what a judge is shown, how its reply is read, and the panel that scores a run's responses."""
