"""The two ways a run can go wrong, told apart by their exit codes.

A row that can't be read or annotated is neither: it becomes a row whose outcome says so.
"""


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
