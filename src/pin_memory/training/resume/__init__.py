"""Resumption of a run in its own folder, to the same bits as a run that was never interrupted."""

from collections.abc import Sequence


def complete_arguments(arguments: Sequence[str]) -> list[str]:
    """Complete a command line that resumes a run folder; the code for that is imported only then."""
    if not any(argument.lstrip("+").startswith(("resume=", "ckpt_path=")) for argument in arguments):
        return list(arguments)
    from pin_memory.training.resume.command_line import with_recorded_settings

    return with_recorded_settings(arguments)
