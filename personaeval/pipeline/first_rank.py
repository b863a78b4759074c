"""Evaluation inside a job of several processes: the first one evaluates and writes, the others wait for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from personaeval.errors import EngineError, PersonaevalError

T = TypeVar("T")


def on_first_rank(work: Callable[[], T]) -> T | None:
    """Run a function once per ``torch.distributed`` job; without such a job, simply run it.

    Rank 0 works, and every other rank waits and gets None: no process trains on while the model is being evaluated. The
    wait is a collective, so the process group's time limit (``timeout`` of ``init_process_group``) must be longer than
    the work.

    Raises:
        PersonaevalError: the work failed; on every rank, so that the job ends as one.
    """
    distributed = _initialised()
    if distributed is None:
        return work()
    error: BaseException | None = None
    result: T | None = None
    if distributed.get_rank() == 0:
        try:
            result = work()
        except BaseException as raised:
            error = raised
    told: list[Any] = [_portable(error)]
    distributed.broadcast_object_list(told, src=0)
    if error is not None:
        raise error
    if told[0] is not None:
        raise told[0]
    return result


def _initialised() -> Any:
    """``torch.distributed`` where a job of several processes uses it; None otherwise. Never imports PyTorch."""
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed if distributed.get_world_size() > 1 else None


def _portable(error: BaseException | None) -> PersonaevalError | None:
    """An error as the other ranks raise it."""
    if error is None or isinstance(error, PersonaevalError):
        return error
    return EngineError(f"rank 0 failed ({type(error).__name__}: {error}).")


def on_this_device(work: Callable[[], T]) -> Callable[[], T]:
    """The same work for another thread, with the CUDA device that is current in this one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return work
    device = torch.cuda.current_device()

    def with_device() -> T:
        with torch.cuda.device(device):
            return work()

    return with_device
