"""What can go wrong for a user, with the exit code that a command gives for it.

Each message names the file or option, what is wrong with it and the way out; commands print
it as one line. Any other exception that reaches a user is a defect of eegzarr.
"""

import re
from collections import Counter

_URL = re.compile(r"\w+://[^\s'\"<>|]+")
_USER = re.compile(r"(?<=://)(?:[^/@\s]*|[^/@\s:]+:[^@\s]+)@")
_SIGNED = re.compile(
    r"(?i)[?&](x-amz-|x-goog-|signature|sig=|token|access_token|awsaccesskeyid|\w*key=|\w*secret|pass(word|wd)?=|"
    r"\w*auth|credential|session|jwt)"
)


def redacted(text: str) -> str:
    """Return a text whose URLs name no user, no password and no signature.

    Credentials come from elsewhere; see docs/howto/s3.md.
    """

    def clean(url: re.Match[str]) -> str:
        plain = _USER.sub("", url.group())
        return plain.partition("?")[0] if _SIGNED.search(plain) else plain

    return _URL.sub(clean, text)


class EegzarrError(Exception):
    """Base of every error that eegzarr raises on purpose; its message never holds the credentials of a URL."""

    exit_code = 1

    def __init__(self, message: object = "") -> None:
        super().__init__(redacted(str(message)))


class UsageError(EegzarrError):
    """A command or a call was given something invalid."""

    exit_code = 2


class BatchTooLarge(UsageError):
    """A batch has more windows than there are, or than memory holds."""


class MissingPackageError(UsageError, ImportError):
    """A package of an extra isn't installed; the message has the command that installs it."""


class SourceError(UsageError):
    """A source is missing, empty, or no BIDS dataset."""


class RecipeError(UsageError):
    """A recipe is unknown or contradicts itself."""


class LakeError(EegzarrError):
    """A lake, or a group of it, is missing, unfinished, damaged or of another kind."""


class UnreadableLakeError(LakeError):
    """A disk or a server doesn't answer, so that it is unknown what the lake holds."""


class NothingToBuild(LakeError):
    """No recording gives a window.

    Parameters
    ----------
    skipped : tuple of (str, str)
        Each recording, and why.
    """

    def __init__(self, message: object = "", skipped: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.skipped = skipped

    @property
    def reasons(self) -> Counter[str]:
        """Recordings by the reason."""
        return Counter(reason for _, reason in self.skipped)


class RecordingError(EegzarrError):
    """A recording gives no windows; the message is the reason in the recordings table."""


class Stopped(EegzarrError):
    """Long work stopped on purpose before its end, with its state saved."""

    exit_code = 75


class BuildStopped(Stopped):
    """A build stopped; the same command resumes it."""


class FitDiverged(EegzarrError):
    """A fit's loss or score is no longer a number."""


class FitStopped(Stopped):
    """A fit stopped because memory or disk space ran out; ``--resume`` continues it."""


class FitInterrupted(Stopped):
    """A signal stopped a fit; ``--resume`` continues it."""

    exit_code = 130
