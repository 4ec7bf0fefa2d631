"""The one error a user sees, and the exit codes."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell gets. 1 is kept for "the gate failed", so a bug must never answer 1."""

    OK = 0
    FAILED = 1  # gate failed; `compare --exit-code` found a difference
    USAGE = 2  # usage, job file, or input that cannot be read
    INCONCLUSIVE = 3  # unfinished, not finite, not converged, not comparable
    BUG = 70  # EX_SOFTWARE of sysexits.h
    INTERRUPTED = 130  # 128 + SIGINT; also --max-time
    TERMINATED = 143  # 128 + SIGTERM


class LandscapeError(Exception):
    """Something the user can mend: what is wrong, and what to type or change."""

    def __init__(self, message: str, hint: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


def one_of(what: str, given: str, known: "list[str]") -> LandscapeError:
    """The error for a name that is not among the known ones."""
    import difflib

    near = difflib.get_close_matches(given, known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return LandscapeError(f"unknown {what}: {given}", f"{meant}it must be one of: {', '.join(known)}")
