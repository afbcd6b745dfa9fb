"""Whether W&B can be reached: the package, a key, a server that answers. Nothing here starts a run."""

import importlib.util
import os
import ssl
import threading
import urllib.error
import urllib.request
from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import urlsplit

from pin_memory.utils.errors import ConfigurationError

MODES = ("auto", "online", "offline", "disabled")
"""What `logger.wandb.mode` may be."""
_ALIASES = {"run": "online", "dryrun": "offline", "shared": "online"}  # other values that WANDB_MODE may have
_REACH_SECONDS = 2.0


def wandb_mode(mode: str = "auto") -> tuple[str, str]:
    """Decide between online, offline and disabled.

    Args:
        mode: One of `MODES`.

    Returns:
        The mode and the reason in a few words.

    Raises:
        ConfigurationError: If the mode is none of `MODES`.
    """
    source = "logger.wandb.mode"
    if mode == "auto" and os.environ.get("WANDB_MODE"):
        mode, source = os.environ["WANDB_MODE"], "WANDB_MODE"
        mode = _ALIASES.get(mode, mode)
    if mode not in MODES:
        raise ConfigurationError(f"Unknown W&B mode '{mode}' in {source}; choose one of: {', '.join(MODES)}.")
    if importlib.util.find_spec("wandb") is None:
        return "disabled", "the package wandb is not installed"
    if mode in ("offline", "disabled"):
        return mode, f"set by {source}"
    url = _server()
    if not _has_key(url):
        return "offline", "no API key found: `wandb login` stores one, `wandb sync` uploads the run later"
    if mode == "online":
        return "online", f"set by {source}"
    if not _answers(url, _REACH_SECONDS):
        return "offline", f"no answer from {urlsplit(url).netloc}; `wandb sync` uploads the run later"
    return "online", "API key found and server reached"


def _server() -> str:
    """The address of the W&B server: environment, then the user's W&B settings, then W&B's own default."""
    import wandb

    return os.environ.get("WANDB_BASE_URL") or str(wandb.setup().settings.base_url)


def _has_key(url: str) -> bool:
    """Whether W&B would find credentials without asking: environment, its settings, or the user's netrc file."""
    import wandb

    settings = wandb.setup().settings
    if os.environ.get("WANDB_API_KEY") or settings.api_key or getattr(settings, "identity_token_file", None):
        return True
    for file in (os.environ.get("NETRC"), Path.home() / ".netrc", Path.home() / "_netrc"):
        if file and Path(file).is_file():
            try:
                found = netrc(str(file)).authenticators(urlsplit(url).netloc)
            except (NetrcParseError, OSError):
                continue
            if found and found[2]:
                return True
    return False


def _answers(url: str, seconds: float) -> bool:
    """Whether anything answers at the address, through the user's proxy if there is one.

    In a thread of its own, since looking up a name can take far longer than any timeout of the connection.
    """
    answers: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=seconds):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)  # an error page is an answer
        except urllib.error.URLError as error:
            answers.append(isinstance(error.reason, ssl.SSLError))  # W&B may know the certificate that we do not
        except (OSError, ValueError):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds + 1)
    return bool(answers and answers[0])
