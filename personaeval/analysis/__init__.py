"""Comparison of two finished runs: alignment, paired changes, flips and the regression check. Needs no model.

Example::

    from personaeval.analysis.compare import align
    from personaeval.results.runs import open_checkpoints

    base, candidate = open_checkpoints(["results/checkpoint-500", "results/checkpoint-1000"])
    aligned = align(base, candidate, "math500")
    aligned.changes()["pss"].absolute  # Estimate(value=…, low=…, high=…)
"""
