"""The fidelity part of summary.json: scores, agreement between judges, and facts about each judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personaeval.generation.structured_reply import kind_of
from personaeval.judge.agreement_summary import between_judges
from personaeval.judge.judgements import Ratings, mean_scored
from personaeval.library.personas import Persona
from personaeval.metrics.inference import finite_or_none
from personaeval.models.families import relation
from personaeval.results.records import JudgeRecord, ModelRecord, PanelRecord

_SHOWN_REASONS = 5


def summarise_fidelity(
    ratings: Ratings, panel: PanelRecord, model: ModelRecord, personas: Sequence[Persona]
) -> dict[str, Any]:
    """Every fidelity number of one task.

    Args:
        ratings: the judgements.
        panel: the panel as recorded in run.json.
        model: the judged model as recorded in run.json.
        personas: the task's personas as recorded in run.json.
    """
    scores = ratings.scores
    ids = [persona.id for persona in personas]
    places = [(ratings.judges[judge.short_name], judge) for judge in panel.judges]
    judges = [_describe_judge(ratings, place, judge, model, ids) for place, judge in places]
    return {
        "fidelity": _summarise_scores(ratings, ids, ratings.panel_scores),
        "by_persona": _by(ratings, {persona.id: persona.id for persona in personas}),
        "by_category": _by(ratings, {persona.id: persona.category.value for persona in personas}),
        "refusal": _share(ratings.refusals()),
        "ai_admission": _share(ratings.admissions()),
        "judgements": {
            "total": scores.size,
            "unscored": int(np.isnan(scores).sum()),
            "reasons": dict(Counter(map(kind_of, ratings.reasons.values())).most_common(_SHOWN_REASONS)),
        },
        **between_judges(ratings),
        "spread_between_judges": _spread(judges),
        "judges": judges,
    }


def _summarise_scores(ratings: Ratings, personas: Sequence[str], score: NDArray[np.float64]) -> dict[str, Any]:
    from personaeval.metrics.fidelity import Scores, summarise

    dimensions = sorted(set(ratings.dimensions))
    scores = Scores(
        score=score,
        persona=np.array([personas.index(name) for name in ratings.personas]),
        dimension=np.array([dimensions.index(name) for name in ratings.dimensions]),
        personas=tuple(personas),
        dimensions=tuple(dimensions),
    )
    return summarise(scores).to_json()


def _by(ratings: Ratings, groups: Mapping[str, str]) -> dict[str, float | None]:
    """Unweighted mean of the dimension means for each group of personas; None if a dimension has no score.

    Args:
        ratings: the judgements.
        groups: persona -> its group.
    """
    group = np.array([groups[name] for name in ratings.personas])
    dimensions = np.array(ratings.dimensions)
    names = sorted(set(ratings.dimensions))
    return {
        wanted: finite_or_none(
            float(np.mean([mean_scored(ratings.panel_scores[(group == wanted) & (dimensions == n)]) for n in names]))
        )
        for wanted in dict.fromkeys(groups.values())
    }


def _own_scores(ratings: Ratings, scores: NDArray[np.float64], personas: Sequence[str]) -> dict[str, Any]:
    """One judge's PersonaScore and dimensions, by the panel's formula."""
    found = _summarise_scores(ratings, personas, scores)
    return {"persona_score": found["persona_score"], "dimensions": found["dimensions"]}


def _spread(judges: Sequence[Mapping[str, Any]]) -> float | None:
    """Standard deviation of the PersonaScore between judges; None with fewer than two."""
    values = [judge["persona_score"]["value"] for judge in judges]
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


def _describe_judge(
    ratings: Ratings, place: int, judge: JudgeRecord, model: ModelRecord, personas: Sequence[str]
) -> dict[str, Any]:
    own = ratings.scores[:, place]
    return {
        "short_name": judge.short_name,
        "fingerprint": judge.fingerprint,
        "fingerprint_verifiable": judge.fingerprint_verifiable,
        **_own_scores(ratings, mean_scored(own), personas),
        "judgements": own.size,
        "unscored": int(np.isnan(own).sum()),
        "self_agreement": self_agreement(own),
        "relation": relation(judge.to_json(), model.to_json()),
        "check": judge.check,
        **({"form": judge.form} if judge.form != "json" else {}),
    }


def self_agreement(scores: np.ndarray[Any, Any]) -> float | None:
    """Mean weighted κ between a judge's first repeat and each other one, for scores [responses, repeats].

    None with one repeat, and if the scores do not vary.
    """
    from personaeval.metrics.agreement import weighted_kappa

    kappas = []
    for repeat in range(1, scores.shape[1]):
        both = ~np.isnan(scores[:, 0]) & ~np.isnan(scores[:, repeat])
        kappas.append(weighted_kappa(scores[both, 0], scores[both, repeat], low=1, high=5))
    known = [kappa for kappa in kappas if kappa is not None]
    return finite_or_none(float(np.mean(known))) if known else None


def _share(flags: np.ndarray[Any, Any]) -> float | None:
    said = flags[~np.isnan(flags)]
    return float(said.mean()) if len(said) else None
