"""Options of runs, models, judges and all other commands, each declared once.

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
    InitOptions,
    JudgeCheckOptions,
    LeaderboardOptions,
    PersonasCheckOptions,
    PersonasOptions,
    PersonasShowOptions,
    PlanOptions,
    QuestionsOptions,
    RunsOptions,
    ScoreOptions,
    ShowOptions,
    TaskOptions,
    TasksNewOptions,
    TasksShowOptions,
)
from personaeval.config.flags import Flag, Options, flag_name, flag_of, group_of, make_options, part
from personaeval.config.run_config import RunConfig, make_config, upgrade_config
from personaeval.config.shared_options import (
    JudgeCallOptions,
    JudgeFormat,
    JudgeOptions,
    LibraryOptions,
    ModelOptions,
    PersonaRole,
    PromptOptions,
)

__all__ = [
    "BaselineOptions",
    "CheckOptions",
    "CompareOptions",
    "Flag",
    "InitOptions",
    "JudgeCallOptions",
    "JudgeCheckOptions",
    "JudgeFormat",
    "JudgeOptions",
    "LeaderboardOptions",
    "LibraryOptions",
    "ModelOptions",
    "Options",
    "PersonaRole",
    "PersonasCheckOptions",
    "PersonasOptions",
    "PersonasShowOptions",
    "PlanOptions",
    "PromptOptions",
    "QuestionsOptions",
    "RunConfig",
    "RunsOptions",
    "ScoreOptions",
    "ShowOptions",
    "TaskOptions",
    "TasksNewOptions",
    "TasksShowOptions",
    "flag_name",
    "flag_of",
    "group_of",
    "make_config",
    "make_options",
    "part",
    "upgrade_config",
]
