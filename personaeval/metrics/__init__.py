"""Pure functions over arrays: no files, no models, no randomness without a seed.

Example: 2 items, the baseline and 3 personas, one sample::

    import numpy as np
    from personaeval.metrics.sums import pss

    q = np.array([[1, 1, 1, 0], [1, 1, 1, 1]])  # column 0 is the baseline
    pss(q[:, 1:])  # 0.8

``catalogue`` lists the metrics with their formulas, ``stability`` and ``fidelity`` summarise a task, ``paired``
compares two checkpoints, ``jackknife`` and ``inference`` have the intervals and tests.
"""
