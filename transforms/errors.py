"""The ways a run can go wrong, told apart by their exit codes.

A row that can't be read or annotated is none of them: it becomes a row whose outcome says so.
"""

import contextlib
import re
from collections.abc import Iterator

from filters.contract import BackendDown


class UserError(Exception):
    """A mistake in what was asked for; the message names the option or file and the remedy.

    The commands print the message alone and exit with 2.
    """


class WorkError(Exception):
    """Work that failed although it was asked for correctly; exit code 1.

    What had been committed before stays, and the same command goes on from there.
    """


class BusyError(Exception):
    """Another run has what this one needs. Nothing was written; exit code 75, to try again later.

    The commands print the message alone.
    """


class NothingMatchesError(UserError):
    """An input that stands for no file."""


class UnitError(WorkError):
    """One unit of work that can't be read at all: a shard cut in its header, say.

    The unit isn't committed; the run goes on with the others and names it at the end.
    """

    def __init__(self, uri: str, problem: str, remedy: str):
        super().__init__(f"{uri}: {problem}. {remedy}")
        self.uri = uri
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self):
        return UnitError, (self.uri, self.problem, self.remedy)


class InvariantError(WorkError):
    """A promise of the ledger that would be broken by a commit; nothing was committed."""


@contextlib.contextmanager
def failing_work() -> Iterator[None]:
    """Within it, a filter whose backend can't be used fails the work, and says so."""
    try:
        yield
    except BackendDown as down:
        raise WorkError(str(down)) from down


_WHERE = re.compile(r" \[while running .*\]$")
_IN_TRACEBACK = re.compile(r"^transforms\.errors\.(WorkError|InvariantError): (.*)$", re.M)


def raised_in_worker(error: Exception) -> Exception:
    """The failure that a worker reported, as it was raised there.

    Beam adds the step's name to the message, or hands over a traceback as text. Anything but this
    project's own failures comes back as it is: it is a defect, and its traceback is wanted.
    """
    kinds = {"WorkError": WorkError, "InvariantError": InvariantError}
    if isinstance(error, WorkError):
        name, message = type(error).__name__, str(error)
    elif found := _IN_TRACEBACK.findall(str(error)):
        name, message = found[-1]
    else:
        return error
    return kinds.get(name, WorkError)(_WHERE.sub("", message.strip()))
