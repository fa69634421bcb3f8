"""The two ways a run can go wrong, told apart by their exit codes.

A row that can't be read or annotated is neither: it becomes a row whose outcome says so.
"""

import re


class UserError(Exception):
    """A mistake in what was asked for; the message names the option or file and the remedy.

    The commands print the message alone and exit with 2.
    """


class WorkError(Exception):
    """Work that failed although it was asked for correctly; exit code 1.

    What had been committed before stays, and the same command goes on from there.
    """


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


_IN_TRACEBACK = re.compile(
    r"^transforms\.errors\.(WorkError|InvariantError): (.*?)(?: \[while running .*)?$", re.M
)


def raised_in_worker(error: RuntimeError) -> Exception:
    """The failure that a worker reported, taken from the traceback that Beam hands over as text.

    Anything but this project's own failures comes back as it is: it is a defect, and its whole
    traceback is wanted.
    """
    found = _IN_TRACEBACK.findall(str(error))
    if not found:
        return error
    kind, message = found[-1]
    return {"WorkError": WorkError, "InvariantError": InvariantError}[kind](message.strip())
