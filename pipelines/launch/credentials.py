"""Whether there are credentials to submit a job with; without, Beam goes on and is refused late."""

from __future__ import annotations

import os

from pipelines.launch.launch import Launch
from pipelines.launch.profiles import RUNNER
from transforms.errors import UserError

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# Where Google's own client for Cloud Storage finds an emulator, which asks for none.
EMULATOR = "STORAGE_EMULATOR_HOST"


def require_credentials(launch: Launch) -> None:
    """Raises UserError where a job would be submitted without an account."""
    if launch.beam.get("no_auth") or os.environ.get(EMULATOR):
        return
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        google.auth.default(scopes=[SCOPE])
    except DefaultCredentialsError as error:
        raise UserError(
            f"--runner {RUNNER}: no Google credentials. Run `gcloud auth application-default "
            "login`, or name a service account's key file in GOOGLE_APPLICATION_CREDENTIALS; "
            "--dry-run needs none"
        ) from error
