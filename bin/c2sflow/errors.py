"""The one exception that is the user's to mend, and not a defect of ours."""


class UserError(Exception):
    """Bad input. The message says what is wrong, where, and how to mend it.

    Scripts print it on one line without a traceback and exit with status 1.
    """
