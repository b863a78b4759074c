"""What can be asked for: the options of a run, of models, of judges and of every other command, each declared once.

::

    from personaeval.config import make_config

    config = make_config(None, {"model": ("./checkpoint",), "tasks": ("mini-arith",), "limit": 10})
    config.model_options  # what opens a model
    config.judge_options  # who judges
"""

from personaeval.config.command_options import (
    BaselineOptions,
    CheckOptions,
    CompareOptions,
    IncludeOptions,
    JudgeCheckOptions,
    LeaderboardOptions,
    PersonasOptions,
    PersonasShowOptions,
    PlanOptions,
    QuestionsOptions,
    ScoreOptions,
    TaskOptions,
    TasksNewOptions,
    TasksShowOptions,
)
from personaeval.config.flags import Flag, Options, flag_name, flag_of, make_options, part
from personaeval.config.model_options import (
    JudgeCallOptions,
    JudgeOptions,
    ModelOptions,
    PersonaRole,
    PromptOptions,
)
from personaeval.config.run_config import RunConfig, make_config, upgrade_config

__all__ = [
    "BaselineOptions",
    "CheckOptions",
    "CompareOptions",
    "Flag",
    "IncludeOptions",
    "JudgeCallOptions",
    "JudgeCheckOptions",
    "JudgeOptions",
    "LeaderboardOptions",
    "ModelOptions",
    "Options",
    "PersonaRole",
    "PersonasOptions",
    "PersonasShowOptions",
    "PlanOptions",
    "PromptOptions",
    "QuestionsOptions",
    "RunConfig",
    "ScoreOptions",
    "TaskOptions",
    "TasksNewOptions",
    "TasksShowOptions",
    "flag_name",
    "flag_of",
    "make_config",
    "make_options",
    "part",
    "upgrade_config",
]
