"""Judges: rubrics, prompts, reading of replies, the panel that scores a run's responses, and human labels.

    panel = open_panel(JudgeOptions(judge=("openai:judge@http://127.0.0.1:8000/v1",)), ModelOptions(), Path("results"))
    with Ledger(folder / LEDGER) as ledger:
        result = judge_run(panel, judge_inputs, rubrics, folder, ledger, open_progress())
    result.ratings["personagym"].panel_scores  # one mean score per response

A run does this for its judged tasks (``personaeval run --judge …``); ``validation`` tests a judge on controls.
"""
