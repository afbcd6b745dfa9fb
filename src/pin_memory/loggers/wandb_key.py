"""Whether W&B would find credentials."""

import os
from contextlib import suppress
from netrc import netrc
from pathlib import Path
from urllib.parse import urlsplit


def has_key() -> bool:
    """Whether W&B would find credentials without asking: in the environment, its settings, or the user's netrc file."""
    import wandb

    settings = wandb.setup().settings
    if os.environ.get("WANDB_API_KEY") or settings.api_key:
        return True
    if (token := settings.identity_token_file) and Path(token).is_file():  # without it W&B's own process ends
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or str(settings.base_url)).netloc
    for file in (Path(os.environ.get("NETRC", "")), Path.home() / ".netrc", Path.home() / "_netrc"):
        with suppress(Exception):  # any file that is none
            if file.is_file() and (found := netrc(str(file)).authenticators(host)) and found[2]:
                return True
    return False
