"""Resumption of a run in its own folder, to the same bits as a run that was never interrupted."""

from collections.abc import Sequence

from pin_memory.utils.errors import ConfigurationError

_PLANNED = ("dry_run=true", "dry_run=1", "dry_run=yes", "dry_run=on")
_SEVERAL = ("-m", "--multirun", "sweep=")  # the sweeps of conf/sweep need no -m


def complete_arguments(arguments: Sequence[str]) -> list[str]:
    """Complete a command line that resumes a run folder; the code for that is imported only then. A sweep of plans is refused."""
    plans = any(argument.lstrip("+").lower() in _PLANNED for argument in arguments)
    if plans and any(argument.lstrip("+").startswith(_SEVERAL) for argument in arguments):
        raise ConfigurationError("dry_run=true plans one run: leave out -m (--multirun) and sweep=, and give each setting one value.")
    if not any(argument.lstrip("+").startswith(("resume=", "ckpt_path=")) for argument in arguments):
        return list(arguments)
    from pin_memory.training.resume.command_line import with_recorded_settings

    return with_recorded_settings(arguments)
