"""The main path: plan, run, and score again.

    config = RunConfig(model=("transformers:./checkpoint",), tasks=("mini-arith",))
    for checkpoint in forecast(config, detect=0.02):
        print(describe(checkpoint, detect=0.02))
    [result] = run(config, open_progress(quiet=True))
    rescore(result.folder, data={}, include=())

``run`` (``run``) and ``forecast`` (``forecast``) begin with ``prepare`` (``prepare``); ``run`` and ``rescore``
(``score``) end with ``finish`` (``finish``).
"""
