"""The check: verdicts, exit codes, and the cases in which others gave the wrong verdict."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from scipy import stats

from personaeval import api
from personaeval.analysis.check import Outcome, check
from personaeval.analysis.compare import align
from personaeval.analysis.policy import Policy, read_policy, write_starting_policy
from personaeval.errors import UsageError
from personaeval.metrics.jackknife import JackknifeResult
from personaeval.metrics.noninferiority import NonInferiorityTest
from personaeval.metrics.paired import changes
from personaeval.metrics.population import Population
from personaeval.metrics.power import drawn_cells
from personaeval.metrics.sums import item_sums
from personaeval.report.verdicts import conclusion, to_junit, to_markdown
from personaeval.results.baseline import write_baseline
from personaeval.results.runs import open_checkpoints
from tests.finished import counted, judged, write_run


def policy(*gates: dict, **more) -> Policy:
    return Policy.model_validate({"version": 2, "gates": list(gates), **more})


def gate(metric: str = "accuracy", max_drop: float = 0.05, **more) -> dict:
    return {"metric": metric, "max_drop": max_drop, **more}


def verdict(tmp_path: Path, base, candidate, rules: Policy):
    folders = [
        write_run(tmp_path / "base", [base], label="base"),
        write_run(tmp_path / "candidate", [candidate], label="candidate", fingerprint="b" * 32),
    ]
    first, second = open_checkpoints([str(folder) for folder in folders])
    return check(first, second, rules)


def drawn(drop: float, n: int = 1000, m: int = 8):
    """Two checkpoints, the second worse in accuracy by ``drop``."""
    population = Population(accuracy=0.7)
    return population.draw_pair(population.worse("accuracy", drop), np.random.default_rng(1), n, m, 1)


def test_every_score_falls_but_none_flips(tmp_path):
    wrong = np.zeros((100, 9))
    before, after = (counted(wrong, score_sum=np.full((100, 9), score)) for score in (0.9, 0.4))
    report = verdict(tmp_path, before, after, policy(gate("mean_score")))
    assert report.outcome is Outcome.REGRESSION
    assert report.findings[0].decline == pytest.approx(0.5)


def test_a_tiny_mean_drop_over_many_items_passes(tmp_path):
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.3, 0.9, (5000, 3))
    fallen = scores - 0.0009 + rng.normal(0, 0.001, scores.shape)
    wrong = np.zeros(scores.shape)
    before, after = counted(wrong, score_sum=scores), counted(wrong, score_sum=fallen)
    report = verdict(tmp_path, before, after, policy(gate("mean_score")))
    assert report.outcome is Outcome.PASS
    assert report.findings[0].decline == pytest.approx(0.0009, abs=1e-4)


def test_few_discordant_items_pass_within_what_is_allowed(tmp_path):
    before, after = np.ones((1319, 2)), np.ones((1319, 2))
    before[:45, 1], after[45:100, 1] = 0, 0
    report = verdict(tmp_path, counted(before), counted(after), policy(gate()))
    assert report.outcome is Outcome.PASS
    assert report.findings[0].decline == pytest.approx(10 / 1319)


@pytest.mark.parametrize(
    ("drop", "expected"), [(0.15, Outcome.REGRESSION), (0.0, Outcome.PASS), (0.05, Outcome.INCONCLUSIVE)]
)
def test_the_size_of_the_drop_decides(tmp_path, drop, expected):
    before, after = drawn(drop)
    report = verdict(tmp_path, counted(before), counted(after), policy(gate()))
    assert report.outcome is expected


def test_a_better_candidate_passes(tmp_path):
    before, after = drawn(0.15)
    assert verdict(tmp_path, counted(after), counted(before), policy(gate())).outcome is Outcome.PASS


def test_lower_is_better_where_the_metric_says_so(tmp_path):
    rng = np.random.default_rng(3)
    steady = np.repeat(rng.integers(0, 2, (400, 1)) * 4, 9, axis=1)
    shaky = rng.integers(0, 2, (400, 9)) * 4
    rules = policy(gate("persona_effect", 0.1))
    worse = verdict(tmp_path, counted(steady, samples=4), counted(shaky, samples=4), rules)
    assert worse.outcome is Outcome.REGRESSION
    assert worse.findings[0].decline > 0.3
    better = verdict(tmp_path, counted(shaky, samples=4), counted(steady, samples=4), rules)
    assert better.outcome is Outcome.PASS


def test_against_itself_it_passes_however_few_the_items(tmp_path):
    folder = write_run(tmp_path / "run", [counted(drawn(0)[0][:12])])
    first, second = open_checkpoints([str(folder), str(folder)])
    report = check(first, second, policy(gate(), gate("pss"), gate("kappa"), gate("worst_persona")))
    assert [finding.outcome for finding in report.findings] == [Outcome.PASS] * 4
    assert report.outcome is Outcome.PASS


def test_equal_counts_of_another_checkpoint_are_no_proof_with_few_items(tmp_path):
    before = drawn(0)[0]
    few = verdict(tmp_path, counted(before[:40]), counted(before[:40]), policy(gate()))
    assert few.outcome is Outcome.INCONCLUSIVE
    assert "items would decide it" in few.findings[0].reason
    # 0.95 ** 72 is the first power below 0.025.
    assert "about 72 items" in few.findings[0].reason
    assert verdict(tmp_path, counted(before[:80]), counted(before[:80]), policy(gate())).outcome is Outcome.PASS


def test_supporting_counts_only_when_it_regressed_and_advisory_never(tmp_path):
    before, after = (counted(one) for one in drawn(0.15))
    same, other = (counted(one) for one in drawn(0.05))
    loose = gate("accuracy", 0.9)

    def outcome(one, two, severity):
        return verdict(tmp_path, one, two, policy(loose, gate("baseline_accuracy", severity=severity))).outcome

    assert outcome(before, after, "critical") is Outcome.REGRESSION
    assert outcome(before, after, "supporting") is Outcome.REGRESSION
    assert outcome(before, after, "advisory") is Outcome.PASS
    assert outcome(same, other, "critical") is Outcome.INCONCLUSIVE
    assert outcome(same, other, "supporting") is Outcome.PASS


def test_a_drop_at_the_limit_is_not_decidable(tmp_path):
    before, after = np.ones((200, 2)), np.ones((200, 2))
    after[:20, 1] = 0
    report = verdict(tmp_path, counted(before), counted(after), policy(gate(max_drop=0.1)))
    assert report.outcome is Outcome.INCONCLUSIVE
    assert "not decidable with ten times" in report.findings[0].reason


def test_what_is_absent_is_never_a_pass(tmp_path):
    before, after = (counted(one) for one in drawn(0))
    absent = verdict(tmp_path, before, after, policy(gate(), gate(task="other")))
    assert absent.exit_code == 4
    assert "other" in absent.findings[1].reason
    assert verdict(tmp_path, before, after, policy(gate("corrected_pss"))).exit_code == 4
    assert verdict(tmp_path, before, after, policy(gate("persona_score"))).exit_code == 4


def test_a_model_that_solves_nothing_any_more_has_regressed(tmp_path):
    report = verdict(tmp_path, counted(np.ones((60, 5))), counted(np.zeros((60, 5))), policy(gate(), gate("pss")))
    assert [finding.outcome for finding in report.findings] == [Outcome.REGRESSION, Outcome.INVALID]
    assert report.outcome is Outcome.REGRESSION
    # Nor does it pass where nothing else gates; and what was not looked at is no verdict at all.
    alone = verdict(tmp_path, counted(np.ones((60, 5))), counted(np.zeros((60, 5))), policy(gate("pss")))
    assert alone.exit_code == 4
    absent = verdict(
        tmp_path, counted(np.ones((60, 5))), counted(np.zeros((60, 5))), policy(gate(), gate(task="other"))
    )
    assert absent.exit_code == 4


def test_a_perfect_candidate_passes_though_its_kappa_is_undefined(tmp_path):
    before, _ = drawn(0, n=300)
    rules = policy(gate(), gate("pss"), gate("kappa", 0.1, severity="supporting"))
    assert verdict(tmp_path, counted(before), counted(np.ones(before.shape)), rules).exit_code == 0
    assert verdict(tmp_path, counted(np.ones(before.shape)), counted(before), rules).exit_code == 1


@pytest.mark.parametrize("n", [100, 500])
@pytest.mark.slow
def test_losses_too_rare_for_the_sample_are_reckoned_with(tmp_path, n):
    # One in fifty items is lost under every persona, and one answer in a hundred flips: the true decline is max_drop.
    rng, passed = np.random.default_rng(0), 0
    lost = 1 - 0.88 / 0.892
    for _ in range(1000):
        before = rng.binomial(1, 0.9, (n, 9)).astype(np.int32)
        after = np.where(rng.random(before.shape) < 0.01, 1 - before, before).astype(np.int32)
        after[rng.random(n) < lost] = 0
        accuracy = changes(*(item_sums(drawn_cells(one, 1), "", ()) for one in (before, after)))[0]
        passed += NonInferiorityTest(accuracy.decline(1), n).bounds[1] <= 0.02
    assert passed / 1000 <= 0.025 + 2 * (0.025 * 0.975 / 1000) ** 0.5


def test_the_bound_does_not_fall_as_the_candidate_gets_worse(tmp_path):
    before = np.ones((40, 9))
    after = before.copy()
    after[0, 3] = 0
    equal = verdict(tmp_path / "1", counted(before), counted(before), policy(gate()))
    worse = verdict(tmp_path / "2", counted(before), counted(after), policy(gate()))
    assert equal.findings[0].high < worse.findings[0].high
    assert worse.outcome is Outcome.INCONCLUSIVE


def test_items_that_nobody_solves_say_nothing_of_pss(tmp_path):
    before = np.zeros((300, 9))
    before[:3] = 1
    report = verdict(tmp_path, counted(before), counted(before), policy(gate("accuracy"), gate("pss")))
    assert [finding.outcome for finding in report.findings] == [Outcome.PASS, Outcome.INCONCLUSIVE]


def test_a_task_without_a_gate_is_named(tmp_path):
    before, _ = drawn(0)
    report = verdict(tmp_path, counted(before), counted(before), policy(gate(task="sums")))
    assert not any("not gated" in note for note in report.notes)
    tables = [counted(before), judged(np.full((3, 5, 1), 4.0))]
    folder = write_run(tmp_path / "both", tables)
    first, second = open_checkpoints([str(folder), str(folder)])
    assert "acting: not gated by this policy." in check(first, second, policy(gate())).notes


def test_too_much_unscored_is_no_evidence(tmp_path):
    before, after = drawn(0)
    lost = np.zeros(after.shape, dtype=int)
    lost[:50] = 1
    candidate = counted(after * (1 - lost), unscored=lost)
    report = verdict(tmp_path, counted(before), candidate, policy(gate()))
    assert report.exit_code == 4
    assert "5.0% of candidate's answers" in report.findings[0].reason
    assert verdict(tmp_path, counted(before), candidate, policy(gate(), max_unscored=0.1)).exit_code == 0


def test_beside_each_bound_stands_the_one_with_unscored_answers_taken_as_wrong(tmp_path):
    before, after = drawn(0)
    # What the candidate gets wrong is often unscored: a verdict on the rest is too kind.
    missing = ((after == 0) & (np.random.default_rng(0).random(after.shape) < 0.2)).astype(int)
    rules = policy(gate(), gate("pss"), gate("worst_persona", 0.2), max_unscored=0.1)
    report = verdict(tmp_path, counted(before), counted(after, unscored=missing), rules)
    whole = verdict(tmp_path / "whole", counted(before), counted(after), rules)
    for finding, full in zip(report.findings, whole.findings, strict=True):
        # Unscored answers of the base are not missing: taken as wrong, the candidate's are what they were.
        assert finding.high < full.high
        assert (finding.low_if_wrong, finding.high_if_wrong) == pytest.approx((full.low, full.high)), finding.metric
        assert full.high_if_wrong is None
    tight = policy(gate(max_drop=(report.findings[0].high + whole.findings[0].high) / 2), max_unscored=0.1)
    [finding] = verdict(tmp_path, counted(before), counted(after, unscored=missing), tight).findings
    assert finding.outcome is Outcome.PASS
    assert "would not pass if all unscored answers were wrong" in finding.reason
    assert "| if unscored wrong |" in re.sub(" +", " ", to_markdown(report))
    assert "if unscored" not in to_markdown(whole)


def test_unscored_judgements_are_taken_as_the_lowest_score(tmp_path):
    scores = np.full((8, 5, 2), 4.0)
    table, whole = judged(scores + np.arange(8)[:, None, None] % 2), judged(scores + np.arange(8)[:, None, None] % 2)
    table.counts["scored"][::9], table.counts["unscored"][::9], table.score_sum[::9] = 0, 1, 0
    whole.score_sum[::9] = 1
    rules = policy(gate("persona_score", 0.5), max_unscored=0.5)
    [finding] = verdict(tmp_path, judged(scores), table, rules).findings
    [full] = verdict(tmp_path, judged(scores), whole, rules).findings
    assert finding.high_if_wrong == pytest.approx(full.high)
    assert finding.high < full.high


def test_a_policy_from_python_says_what_it_lacks():
    gates = [gate()]
    for content, said in (
        ({"gates": gates}, "policy: the key 'version' is missing; add \"version\": 2"),
        ({"version": 2}, "policy: the key 'gates' is missing"),
        ({"version": 2, "gates": gates, "severity": "critical"}, "policy: unknown key 'severity'"),
    ):
        with pytest.raises(UsageError, match=re.escape(said)):
            api.check("base", "candidate", content)


def test_the_worst_persona_is_gated_in_split_halves(tmp_path):
    before, after = np.ones((400, 9)), np.ones((400, 9))
    before[::10], after[::10] = 0, 0
    after[::2, 4] = 0
    report = verdict(tmp_path, counted(before), counted(after), policy(gate("accuracy", 0.2), gate("worst_persona")))
    assert [finding.outcome for finding in report.findings] == [Outcome.PASS, Outcome.REGRESSION]
    assert report.findings[1].base == pytest.approx(0.9, abs=0.02)
    assert report.findings[1].candidate == pytest.approx(0.5, abs=0.05)


def test_claims_about_other_personas_are_wider(tmp_path):
    population = Population(accuracy=0.7, persona=0.1, cell=0.1)
    before, after = population.draw_pair(population, np.random.default_rng(2), 500, 8, 1)
    after[:, 3] = 0
    narrow, wide = (
        verdict(tmp_path, counted(before), counted(after), policy(gate(), generalise_to_personas=claim)).findings[0]
        for claim in (False, True)
    )
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert wide.decline == pytest.approx(narrow.decline)


def test_claims_about_other_personas_are_decided_by_more_personas(tmp_path):
    population = Population(accuracy=0.7, persona=0.1, cell=0.1)
    before, after = population.draw_pair(population, np.random.default_rng(2), 500, 8, 1)
    after[:, 3] = 0
    [found] = verdict(
        tmp_path, counted(before), counted(after), policy(gate(max_drop=0.3), generalise_to_personas=True)
    ).findings
    assert found.outcome is Outcome.INCONCLUSIVE
    assert re.search(
        r"about [\d,]+ items and [\d,]+ personas or [\d,]+ personas alone would decide it .*\(500 items, 1 sample and 8 personas now\)",
        found.reason,
    )


def test_the_sizes_that_would_decide_are_those_that_do():
    # A mean over n items with standard deviation 1, declined by 0.1 where 0.3 is allowed.
    freedom = np.array([99.0])
    one = np.ones(1)
    found = JackknifeResult(0.1 * one, 0.1 * one, 0.1 * one, freedom, 0 * one, 100 * one, one)
    n = 100 * NonInferiorityTest(found, 100).required_multiple(0.3)
    rng, passed = np.random.default_rng(0), 0
    for _ in range(2000):
        sample = rng.normal(0.1, 1, round(n))
        passed += sample.mean() + stats.t.ppf(0.975, n - 1) * sample.std(ddof=1) / n**0.5 <= 0.3
    assert passed / 2000 == pytest.approx(0.8, abs=0.03)
    # A regression among three is held to a third of the level.
    declined = NonInferiorityTest(replace(found, values=0.25 * one), 100)
    assert 1 < declined.required_multiple(0.0) < declined.required_multiple(0.0, tests=3)
    assert NonInferiorityTest(found, 100).required_multiple(0.1001) is None


def test_a_gate_of_a_task_by_name_stands_in_the_place_of_that_of_all(tmp_path):
    before, after = drawn(0.15)
    tables = (
        [counted(before, task=name) for name in ("sums", "other")],
        [
            counted(before),
            counted(after, task="other"),
        ],
    )
    folders = [
        write_run(tmp_path / name, own, fingerprint=name[0] * 32) for name, own in zip(("b", "c"), tables, strict=True)
    ]
    first, second = open_checkpoints([str(folder) for folder in folders])
    report = check(first, second, policy(gate(), gate(max_drop=0.5, task="other")))
    assert [(finding.task, finding.max_drop) for finding in report.findings] == [("sums", 0.05), ("other", 0.5)]
    assert report.exit_code == 0
    # What is left may be nothing that gates, which is no pass.
    rules = policy(gate(), *(gate(task=name, severity="advisory") for name in ("sums", "other")))
    silent = check(first, second, rules)
    assert silent.exit_code == 4
    assert conclusion(silent) == "NOT VALID: no metric of these runs is gated."


def test_a_starting_policy_fits_its_base(tmp_path):
    before, _ = drawn(0)
    plain = write_run(tmp_path / "plain", [counted(before)])
    both = write_run(tmp_path / "both", [counted(2 * before, samples=2), judged(np.full((3, 5, 1), 4.0))], samples=2)
    acting = write_run(tmp_path / "acting", [judged(np.full((3, 5, 1), 4.0))])
    single = write_run(tmp_path / "single", [counted(before[:, :2])])
    expected = {plain: {"accuracy", "pss", "kappa", "worst_persona"}, acting: {"persona_score"}}
    expected[both] = expected[plain] | expected[acting] | {"corrected_pss"}
    expected[single] = {"accuracy"}
    for folder, metrics in expected.items():
        file = tmp_path / f"{folder.name}.yaml"
        write_starting_policy(file, open_checkpoints([str(folder)])[0])
        rules = read_policy(file)
        assert {one.metric for one in rules.gates} == metrics
        severities = {one.metric: one.severity.value for one in rules.gates}
        # kappa divides by 1 - accuracy: on a saturated task it would regress at a decline of one point.
        assert severities.get("kappa", "advisory") == "advisory"
        assert severities.get("worst_persona", "supporting") == "supporting"
        side = open_checkpoints([str(folder)])[0]
        assert check(side, side, rules).exit_code == 0


def test_a_starting_policy_that_generalises_leaves_out_what_cannot(tmp_path):
    before, _ = drawn(0)
    folder = write_run(tmp_path / "plain", [counted(before)])
    side = open_checkpoints([str(folder)])[0]
    file = tmp_path / "gate.yaml"
    write_starting_policy(file, side)
    text = file.read_text().replace("generalise_to_personas: false", "generalise_to_personas: true")
    file.write_text(text)
    report = check(side, side, read_policy(file))
    assert report.outcome is Outcome.PASS
    assert "worst_persona" not in {finding.metric for finding in report.findings}
    assert "sums: worst_persona is left out; it cannot be generalised to other personas." in report.notes
    file.write_text(text.replace("0.10, severity: supporting", "0.10, severity: critical"))
    assert check(side, side, read_policy(file)).outcome is Outcome.INVALID


def test_an_endpoints_run_against_itself_passes_however_its_folder_is_spelled(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "run", [counted(drawn(0, n=30)[0])])
    record = json.loads((folder / "run.json").read_text())
    record["model"]["fingerprint_verifiable"] = False
    (folder / "run.json").write_text(json.dumps(record))
    monkeypatch.chdir(tmp_path)
    first, second = open_checkpoints([str(folder), "run"])
    report = check(first, second, policy(gate()))
    assert report.outcome is Outcome.PASS
    assert "Base and candidate are the same run." in report.notes
    # And so does it against its own baseline, but not another of the same endpoint.
    write_baseline(str(folder), tmp_path / "kept")
    first, second = open_checkpoints(["kept", "run"])
    assert check(first, second, policy(gate())).outcome is Outcome.PASS
    record["plan"] = "1" * 16
    (folder / "run.json").write_text(json.dumps(record))
    first, second = open_checkpoints(["kept", "run"])
    assert check(first, second, policy(gate())).outcome is Outcome.INCONCLUSIVE


def test_a_supporting_metric_that_needs_more_samples_decides_nothing(tmp_path):
    before, _ = drawn(0)
    rules = policy(gate(), gate("corrected_pss", severity="supporting"))
    report = verdict(tmp_path, counted(before), counted(before), rules)
    assert report.exit_code == 0
    assert "two samples" in report.findings[1].reason
    # Nor is it an error to those who read the test report.
    [suite] = JUnitXml.fromstring(to_junit(report).encode())
    assert (suite.tests, suite.errors, suite.skipped) == (2, 0, 1)


def test_a_fall_is_seen_however_few_the_personas(tmp_path):
    population = Population(0.8, persona=0.05, cell=0.15)
    before, after = population.draw_pair(population.worse("accuracy", 0.24), np.random.default_rng(0), 1000, 16, 1)
    report = verdict(tmp_path / "1", counted(before), counted(after), policy(gate(), generalise_to_personas=True))
    assert report.outcome is Outcome.REGRESSION
    scores = np.random.default_rng(1).integers(3, 6, (24, 5, 4)).astype(float)
    fallen = scores - (np.random.default_rng(2).random(scores.shape) < 0.7)
    report = verdict(tmp_path / "2", judged(scores), judged(fallen), policy(gate("persona_score", 0.2)))
    assert report.outcome is Outcome.REGRESSION
    close = scores - (np.random.default_rng(2).random(scores.shape) < 0.02)
    report = verdict(tmp_path / "3", judged(scores), judged(close), policy(gate("persona_score", 0.2)))
    assert report.outcome is Outcome.PASS


def test_what_is_known_is_told_though_a_metric_is_undefined(tmp_path):
    report = verdict(tmp_path, counted(np.ones((60, 5))), counted(np.zeros((60, 5))), policy(gate("pss")))
    assert (report.findings[0].base, report.findings[0].candidate) == (1.0, None)


def test_where_no_judgement_varies_the_interval_is_of_the_scale(tmp_path):
    before = np.full((50, 5, 2), 5.0)
    first, second = open_checkpoints(
        [
            str(write_run(tmp_path / name, [judged(scores)], fingerprint=name[0] * 32))
            for name, scores in (("b", before), ("c", before - 2))
        ]
    )
    found = check(first, second, policy(gate("persona_score", 0.2))).findings[0]
    change = align(first, second, "acting").changes()["persona_score"]
    assert (found.low, found.high) == pytest.approx((-change.absolute.high, -change.absolute.low))
    assert found.high - found.decline == pytest.approx(4 * (1 - 0.025 ** (1 / 50)))


def test_fidelity_is_paired_by_question_and_clustered_by_persona(tmp_path):
    rng = np.random.default_rng(0)
    before = rng.integers(2, 6, (50, 5, 2)).astype(float)
    after = before - rng.integers(0, 2, before.shape)
    report = verdict(tmp_path, judged(before), judged(after), policy(gate("persona_score", 0.2)))
    assert report.outcome is Outcome.REGRESSION
    assert report.findings[0].decline == pytest.approx((before - after).mean())
    assert verdict(tmp_path, judged(before), judged(before + 0.01), policy(gate("persona_score", 0.5))).exit_code == 0


def test_runs_that_were_asked_differently_are_refused(tmp_path, personaeval):
    before, after = drawn(0)
    base = write_run(tmp_path / "base", [counted(before)])
    other = write_run(tmp_path / "other", [counted(after)], fingerprint="b" * 32, template="Be {{ persona }}.")
    (tmp_path / "gate.yaml").write_text("version: 2\ngates: [{metric: accuracy, max_drop: 0.05}]\n")
    shown = personaeval("check", base, other, cwd=tmp_path)
    assert shown.returncode == 4
    assert "template" in shown.stdout
    allowed = personaeval("check", base, other, "--allow-different-settings", cwd=tmp_path)
    assert allowed.returncode == 0
    assert "Different settings" in allowed.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 2\ngates: []\n", "gates"),
        ("version: 2\n", "'gates' is missing"),
        ("", "expected a mapping"),
        ("version: true\ngates: [{metric: pss, max_drop: 0.1}]\n", "version"),
        ("version: 3\ngates: [{metric: pss, max_drop: 0.1}]\n", "version"),
        ("version: 1\ngeneralise: all\ngates: [{metric: pss, max_drop: 0.1}]\n", "items or items,personas"),
        ("version: 2\ngates: [{metric: pss, max_dropp: 0.1}]\n", "max_drop"),
        ("version: 2\ngates: [{metric: pss, max_drop: '0.1'}]\n", "max_drop"),
        ("version: 2\ngates: [{metric: pss, max_drop: .nan}]\n", "max_drop"),
        ("version: 2\ngates: [{metric: pss, max_drop: -0.1}]\n", "max_drop"),
        ("version: 2\ngates: [{metric: accuracy, max_drop: 5}]\n", "five percentage points"),
        ("version: 2\ngates: [{metric: stability, max_drop: 0.1}]\n", "metric"),
        ("version: 2\ngates: [{metric: pss, max_drop: 0.1, severity: advisory}]\n", "all are advisory"),
        ("version: 2\ngates: [{metric: pss, max_drop: 0.1}, {metric: pss, max_drop: 0.2}]\n", "twice"),
    ],
)
def test_a_wrong_policy_is_refused(tmp_path, text, said):
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        read_policy(path)
    assert str(path) in str(caught.value)


@pytest.mark.slow
def test_the_command_line(tmp_path, personaeval):
    before, after = drawn(0.15)
    base = write_run(tmp_path / "base", [counted(before)], label="base")
    bad = write_run(tmp_path / "bad", [counted(after)], label="bad", fingerprint="b" * 32)
    close = write_run(tmp_path / "close", [counted(drawn(0.05)[1])], label="close", fingerprint="c" * 32)
    missing = personaeval("check", base, bad, cwd=tmp_path)
    assert missing.returncode == 2
    assert "gate.yaml" in missing.stderr and "check --init" in missing.stderr
    assert personaeval("check", "--init", cwd=tmp_path).returncode == 0
    assert personaeval("check", "--init", cwd=tmp_path).returncode == 2
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    shown = personaeval(
        "check", base, bad, "--junit", "out.xml", cwd=tmp_path, env={"GITHUB_STEP_SUMMARY": str(summary)}
    )
    assert shown.returncode == 1
    assert "REGRESSION: worse by more than allowed: sums accuracy" in shown.stdout
    told = summary.read_text()
    assert told.startswith("before\n**REGRESSION: worse by more than allowed: sums accuracy")
    assert "bad checked against base**" in told
    assert personaeval("check", base, base, cwd=tmp_path).returncode == 0
    # A report that cannot be written changes no verdict, or is told before there is one.
    lost = personaeval("check", base, bad, cwd=tmp_path, env={"GITHUB_STEP_SUMMARY": str(tmp_path / "no" / "where")})
    assert lost.returncode == 1 and "cannot be written" in lost.stderr
    (tmp_path / "file").touch()
    refused = personaeval("check", base, bad, "--junit", "file/out.xml", cwd=tmp_path)
    assert refused.returncode == 2 and "REGRESSION" not in refused.stdout
    assert personaeval("check", base, bad, "--junit", "new/folder/out.xml", cwd=tmp_path).returncode == 1
    assert (tmp_path / "new" / "folder" / "out.xml").is_file()
    assert personaeval("check", base, "", cwd=tmp_path).returncode == 2
    strict = tmp_path / "strict.yaml"
    strict.write_text("version: 2\ngates: [{metric: accuracy, max_drop: 0.05}]\n")
    told = personaeval("check", base, close, "--policy", strict, "--json", cwd=tmp_path)
    assert told.returncode == 3
    assert json.loads(told.stdout)["verdict"] == "INCONCLUSIVE"
    assert personaeval("check", base, tmp_path / "nowhere" / "run", cwd=tmp_path).returncode == 2
    assert personaeval("check", base, cwd=tmp_path).returncode == 2
    stranger = write_run(tmp_path / "stranger", [counted(before, items=[f"x{k}" for k in range(1000)])])
    assert personaeval("check", base, stranger, cwd=tmp_path).returncode == 4
    told = personaeval("check", base, bad, "--json", cwd=tmp_path)
    found = [finding for finding in json.loads(told.stdout)["findings"] if finding["severity"] != "advisory"]
    [suite] = JUnitXml.fromfile(str(tmp_path / "out.xml"))
    results = [type(case.result[0]) if case.result else None for case in suite]
    expected = {"PASS": None, "REGRESSION": Failure, "INCONCLUSIVE": Skipped, "INVALID": Error}
    assert results == [expected[finding["outcome"]] for finding in found]
    assert (suite.tests, suite.failures, suite.skipped, suite.errors) == (
        len(results),
        *(results.count(kind) for kind in (Failure, Skipped, Error)),
    )


def test_a_mistake_of_ours_is_no_regression(tmp_path, personaeval):
    folder = write_run(tmp_path / "run", [counted(drawn(0)[0])])
    table = pq.read_table(folder / "cells.parquet")
    strings = pa.array(["many"] * len(table))
    pq.write_table(table.set_column(table.column_names.index("correct"), "correct", strings), folder / "cells.parquet")
    personaeval("check", "--init", cwd=tmp_path)
    shown = personaeval("check", folder, folder, cwd=tmp_path)
    assert shown.returncode == 70
    assert "please report it" in shown.stderr
    (folder / "cells.parquet").write_bytes(b"no parquet")
    assert personaeval("check", folder, folder, cwd=tmp_path).returncode == 2
