"""The Python API: what importing it costs, and that each function does what its command does."""

import asyncio
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import personaeval as package
from personaeval.config import JudgeCheckOptions, RunConfig, ScoreOptions
from tests.finished import counted, write_run
from tests.judging import RESPONSES, judge_named, perform_play, speak, write_play
from tests.scripted_server import Script, ScriptedServer

ROOT = Path(__file__).resolve().parent.parent


def run_python(code: str) -> str:
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return shown.stdout.strip()


def test_importing_the_package_loads_none_of_its_parts():
    code = (
        "import sys, personaeval\n"
        "heavy = {'torch', 'vllm', 'pandas', 'openai', 'numpy', 'pyarrow', 'pydantic', 'rich', 'datasets'}\n"
        "own = {name for name in sys.modules if name.startswith('personaeval.')}\n"
        "print(sorted(heavy & set(sys.modules)), sorted(own))"
    )
    assert run_python(code) == "[] []"


def test_every_public_name_is_there_and_listed():
    assert len(package.__all__) == len(set(package.__all__)) > 5
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
        assert name in dir(package)
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        package.laod  # noqa: B018


GATES = {"version": 1, "gates": [{"task": "*", "metric": "accuracy", "max_drop": 0.05}]}


@pytest.fixture
def finished(tmp_path) -> list[Path]:
    """Three checkpoints of a training run, each a little worse."""
    drawn = np.random.default_rng(3).random((200, 4))
    return [
        write_run(
            tmp_path / f"step-{step}", [counted(drawn < share)], label=f"step-{step}", fingerprint=f"{step}" * 11 + "a"
        )
        for step, share in ((100, 0.8), (200, 0.7), (300, 0.6))
    ]


def test_compare_gives_what_the_command_prints_and_its_figures(finished, personaeval):
    found = package.compare(*finished[:2])
    assert f"{found}\n" == personaeval("compare", *finished[:2]).stdout
    assert f"{found.render('json', intervals=False)}\n" == (
        personaeval("compare", *finished[:2], "--format", "json", "--no-interval").stdout
    )
    metrics = found.frames()[0]
    assert metrics.attrs["title"] == found.tables[0].title
    [change] = metrics[metrics.metric == "accuracy"]["change"]
    assert change == pytest.approx(-0.1, abs=0.05)
    assert {"change low", "change high", "p"} <= set(metrics.columns)
    assert {str(kind) for kind in metrics.dtypes} == {"float64", "string"}
    trend = package.compare(*finished).frames()[0]
    assert len(trend) >= 3


def test_a_check_is_a_result_and_not_an_error(finished, personaeval, tmp_path):
    policy = tmp_path / "gate.yaml"
    policy.write_text("version: 1\ngates:\n  - {task: '*', metric: accuracy, max_drop: 0.05}\n")
    base, worse = finished[0], finished[2]
    found = package.check(base, worse, GATES)
    shown = personaeval("check", base, worse, "--policy", policy)
    assert (found.outcome, found.passed, found.exit_code) == ("REGRESSION", False, shown.returncode)
    assert f"{found}\n" == shown.stdout
    assert f"{package.check(base, worse, policy).to_json()}\n" == (
        personaeval("check", base, worse, "--policy", policy, "--json").stdout
    )
    [finding] = found.frame().to_dict("records")
    assert (finding["metric"], finding["outcome"], finding["base"] > finding["candidate"]) == (
        "accuracy",
        "REGRESSION",
        True,
    )
    assert package.check(base, base, GATES).passed


def test_a_baseline_takes_the_run_s_place(finished, tmp_path):
    [folder] = package.write_baseline(finished[0], tmp_path / "baseline")
    assert str(package.compare(folder, finished[1])) == str(package.compare(finished[0], finished[1]))


@pytest.mark.parametrize(
    ("call", "command"),
    [
        (lambda: package.leaderboard("absent"), ("leaderboard", "absent")),
        (
            lambda: package.leaderboard("absent", personas=True, generalise_to_personas=True),
            ("leaderboard", "absent", "--personas", "--generalise-to-personas"),
        ),
        (lambda: package.compare("here/absent", "there"), ("compare", "here/absent", "there")),
        (lambda: package.check("a", "b", "absent.yaml"), ("check", "a", "b", "--policy", "absent.yaml")),
        (lambda: package.write_baseline("absent/x", "new"), ("baseline", "absent/x", "-o", "new")),
    ],
)
def test_errors_have_the_texts_and_codes_of_the_command_line(call, command, personaeval, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(package.PersonaevalError) as refused:
        call()
    shown = personaeval(*command, cwd=tmp_path)
    assert (shown.stderr.strip(), shown.returncode) == (f"personaeval: {refused.value}", refused.value.exit_code)


def test_a_policy_from_python_is_read_as_strictly_as_a_file():
    with pytest.raises(package.UsageError, match="unknown key 'gates.0.max_dorp'. Did you mean 'max_drop'"):
        package.check("a", "b", {"version": 1, "gates": [{"task": "*", "metric": "accuracy", "max_dorp": 0.1}]})


def sums(library: Path, output: Path, **more) -> dict:
    """Settings of a small run."""
    return {"tasks": "sums", "personas": "few", "include": library, "output": output, "limit": 3, **more}


def test_run_does_what_the_command_does(library, tmp_path, server, personaeval, capfd):
    model = f"openai:scripted@{server.url}"
    found = package.run(model, **sums(library, tmp_path / "results"))
    assert capfd.readouterr() == ("", "")
    assert (found.generated, found.failed, found.errors, len(found)) == (9, 0, (), 1)
    asked = len(server.sent)
    command = ("run", "--model", model, "--tasks", "sums", "--personas", "few", "--include", library)
    shown = personaeval(*command, "--output", tmp_path / "results", "--limit", 3)
    assert len(server.sent) == asked, "the command finds the run of the function"
    assert shown.stdout.startswith(f"{found}\n")
    assert found.metrics().equals(package.load(tmp_path / "results").metrics())


def test_progress_is_shown_when_asked_for(library, tmp_path, server, capfd):
    package.run(f"openai:scripted@{server.url}", progress=True, **sums(library, tmp_path / "results"))
    out, err = capfd.readouterr()
    assert out == ""
    assert "9 requests" in err


def test_settings_come_from_a_file_and_arguments_go_before_it(library, tmp_path, server):
    file = tmp_path / "run.yaml"
    file.write_text(f"tasks: [sums]\npersonas: [few]\ninclude: [{library}]\nlimit: 2\nsamples: 2\n")
    found = package.run(f"openai:scripted@{server.url}", config=file, limit=4, output=tmp_path / "results")
    assert found.generated == 4 * 3 * 2


def test_run_works_inside_a_running_event_loop_and_arun_leaves_it_free(library, tmp_path, server):
    model = f"openai:scripted@{server.url}"

    async def blocking() -> int:
        return package.run(model, **sums(library, tmp_path / "one")).generated

    async def waiting() -> tuple[int, int]:
        ticks = 0
        evaluation = asyncio.create_task(package.arun(model, **sums(library, tmp_path / "two")))
        while not evaluation.done():
            await asyncio.sleep(0.001)
            ticks += 1
        return (await evaluation).generated, ticks

    assert asyncio.run(blocking()) == 9
    generated, ticks = asyncio.run(waiting())
    assert generated == 9
    assert ticks > 5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sample": 2}, "unknown key 'sample'. Did you mean 'samples'"),
        ({"samples": "two"}, "samples: "),
        ({"tasks": "summs"}, "summs"),
        ({"tasks": None}, "tasks is missing."),
        ({"name": "policy"}, "name and step are for a model in memory"),
        ({"model": 3}, "model: int is neither a checkpoint's name nor a causal language model"),
    ],
)
def test_wrong_settings_are_named(library, tmp_path, server, settings, said):
    given = sums(library, tmp_path / "results", model=f"openai:scripted@{server.url}") | settings
    with pytest.raises(package.UsageError) as refused:
        package.run(**given)
    assert said in str(refused.value)
    assert not server.sent or all(sent.path != "/v1/chat/completions" for sent in server.sent)


def test_a_wrong_model_is_refused_as_by_the_command(library, tmp_path, personaeval):
    with pytest.raises(package.UsageError) as refused:
        package.run("vlm:x", **sums(library, tmp_path / "results"))
    shown = personaeval("run", "--model", "vlm:x", "--tasks", "sums", "--include", library)
    assert shown.stderr.strip() == f"personaeval: {refused.value}"


@pytest.mark.model
def test_a_live_model_in_training_is_evaluated_as_it_is_and_left_as_it_was(library, tmp_path, smollm2):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model.train()
    model.model.layers[3].eval()  # a part that the trainer keeps frozen
    model.model.layers[3].requires_grad_(False)
    model.config.use_cache = False
    model.config.dtype = torch.bfloat16
    ids = tokenizer("One and one is two.", return_tensors="pt").input_ids
    model(input_ids=ids, labels=ids).loss.backward()
    seen = []
    hook = model.lm_head.register_forward_hook(lambda module, args, output: seen.append(module.training))

    def state() -> dict:
        return {
            "training": [module.training for module in model.modules()],
            "requires_grad": [tensor.requires_grad for tensor in model.parameters()],
            "gradients": [None if t.grad is None else t.grad.double().sum().item() for t in model.parameters()],
            "random": torch.get_rng_state().tolist(),
            "config": model.config.to_dict() | {"attention": model.config._attn_implementation},
            "hooks": [len(module._forward_hooks) for module in model.modules()],
            "device": model.device,
            "weights": [tensor.double().sum().item() for tensor in model.parameters()],
        }

    def evaluate(step: int) -> package.Evaluation:
        return package.run(
            model, tokenizer=tokenizer, name="policy", step=step,
            **sums(library, tmp_path / "results", personas="few/pirate", max_tokens=6),
        )  # fmt: skip

    before = state()
    assert before["training"][0]
    assert any(gradient is not None for gradient in before["gradients"])
    first = evaluate(1)
    assert state() == before
    assert seen
    assert not any(seen), "decoded in evaluation mode"
    assert (first.generated, first.failed) == (6, 0)
    [planned] = package.plan(
        model, tokenizer=tokenizer, name="policy", step=1,
        **sums(library, tmp_path / "results", personas="few/pirate", max_tokens=6),
    )  # fmt: skip
    assert (planned.present, planned.missing) == (6, 0)
    again = evaluate(1)
    assert again.generated == 0
    assert again.metrics().equals(first.metrics())
    with torch.no_grad():
        model.model.layers[10].mlp.down_proj.weight[17, 5] += 0.01
    second = evaluate(2)
    assert second.generated == 6
    hook.remove()
    model(input_ids=ids, labels=ids).loss.backward()
    runs = package.load(tmp_path / "results").runs()
    assert runs.checkpoint.tolist() == ["policy-step1", "policy-step2"]
    assert runs.step.tolist() == [1, 2]
    assert runs.fingerprint.nunique() == 2
    assert set(runs.dtype) == {"float32"}


_JOB = """
import os, sys, torch, torch.distributed as dist
import personaeval
rank = int(os.environ["RANK"])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}/store", rank=rank, world_size=2)
def evaluate(**more):
    settings = dict(tasks="sums", personas="few", include=sys.argv[2], output=f"{sys.argv[1]}/results", limit=2)
    return personaeval.run(sys.argv[3], **settings | more)
found = evaluate()
try:
    evaluate(tasks="absent")
    refused = "nothing"
except personaeval.UsageError as error:
    refused = str(error).split(":")[0]
print(rank, None if found is None else found.generated, refused)
dist.destroy_process_group()
"""


@pytest.mark.model
def test_in_a_job_of_several_processes_the_first_evaluates_and_all_hear_of_errors(library, tmp_path, server):
    pytest.importorskip("torch")
    arguments = [sys.executable, "-c", _JOB, tmp_path, library, f"openai:scripted@{server.url}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ranks = [
        subprocess.Popen(
            [str(part) for part in arguments],
            env=environment | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    shown = [rank.communicate(timeout=240) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], shown
    told = [out.strip().split(" ", 2) for out, _ in shown]
    assert [rank[:2] for rank in told] == [["0", "6"], ["1", "None"]]
    assert told[0][2] == told[1][2] != "nothing"
    assert len(list(tmp_path.glob("results/*/*/run.json"))) == 1


def test_plan_asks_nothing_and_says_what_the_command_says(library, tmp_path, server, personaeval):
    model = f"openai:scripted@{server.url}"
    [found] = package.plan(model, **sums(library, tmp_path / "results"))
    assert (found.requests, found.missing) == (9, 9)
    detecting = package.plan(model, detect=0.1, **sums(library, tmp_path / "results"))
    command = ("plan", "--model", model, "--tasks", "sums", "--personas", "few", "--include", library, "--limit", 3)
    shown = personaeval(*command, "--output", tmp_path / "results", "--detect", 0.1)
    assert shown.stdout == f"{detecting}\n"
    assert all(sent.path != "/v1/chat/completions" for sent in server.sent)
    with pytest.raises(package.UsageError, match="detect"):
        package.plan(model, detect=2, **sums(library, tmp_path / "results"))


@pytest.fixture
def play(library):
    write_play(library)
    return library


def test_score_verifies_or_judges_again(play, tmp_path, personaeval):
    with ScriptedServer(answer=speak) as actor, ScriptedServer(Script(model="ann"), answer=judge_named("ann")) as ann:
        result = perform_play(play, tmp_path / "results", actor, [ann])
        asked = len(actor.sent)
        judge = f"openai:ann@{ann.url}"
        found = package.score(result.folder, judge=judge, judge_repeats=2)
        assert len(actor.sent) == asked
        assert (found.changed, found.failed, [usage.calls for usage in found.usages]) == (0, 0, [RESPONSES])
        assert set(found.judgements().repeat) == {0, 1}
        assert package.score(result.folder).changed == 0
        shown = personaeval("score", result.folder)
        assert shown.stdout == f"{found}\n\n0 verdicts changed.\n"
        for call, options in (
            ({"judge_repeats": 2}, ("--judge-repeats", 2)),
            ({"human": Path("x.csv")}, ("--human", "x.csv")),
        ):
            with pytest.raises(package.UsageError) as refused:
                package.score(result.folder, **call)
            assert personaeval("score", result.folder, *options).stderr.strip() == f"personaeval: {refused.value}"


@pytest.mark.slow
def test_a_judge_is_validated_and_the_command_finds_its_judgements(tmp_path, personaeval):
    with ScriptedServer(Script(model="ann"), answer=judge_named("ann")) as ann:
        judge = f"openai:ann@{ann.url}"
        found = package.validate_judge(judge, tmp_path)
        asked = len(ann.sent)
        shown = personaeval("judge-check", "--judge", judge, "--output", tmp_path)
        assert len(ann.sent) == asked
    [record] = found.records
    assert (found.passed, record["passed"], shown.returncode) == (False, False, 4)
    assert shown.stdout == f"{found}\n"


def test_signatures_show_every_setting_with_its_default():
    for function, kind in (
        (package.run, RunConfig),
        (package.arun, RunConfig),
        (package.plan, RunConfig),
        (package.score, ScoreOptions),
        (package.validate_judge, JudgeCheckOptions),
    ):
        shown = inspect.signature(function).parameters
        assert set(kind.model_fields) - {"folder"} <= set(shown)
        assert shown["concurrency" if "concurrency" in shown else "exemplars"].default is not None
    assert inspect.signature(package.run).parameters["samples"].default == 1
