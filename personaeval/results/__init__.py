"""A run on disk: its files, the ledger, and the search for finished runs.

    for run in finished_runs(Path("results")):
        print(run.record.short_name, run.record.config["seed"], len(run.personas()))
        for response in read_responses(run.folder):
            print(response.item, response.answer)

``finished_runs`` is in ``runs``; run.json and summary.json are pydantic models (``records``, ``summaries``). The ledger
(``ledger``) holds every completion and verdict by its key.
"""
