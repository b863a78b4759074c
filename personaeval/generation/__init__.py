"""What is asked of a model, and which answers are still missing.

    plan = Plan(lay_out(parts, personas, samples=4, seed=0), model.identity())
    plan.compute_keys()
    with Ledger(Path("results/ledger.sqlite")) as ledger:
        pending = PendingRequests(plan, ledger)
        run_requests(model, [pending], progress, "my model")

A request's key is a hash of everything that can change its answer (``plan``), so that only what the ledger lacks is
asked (``pending``). ``structured_query`` asks for replies of a fixed form.
"""
