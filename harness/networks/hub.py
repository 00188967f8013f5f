"""Weights that libraries fetch by themselves: what goes wrong is one line, within ten seconds.

torchvision reads its weights by urllib, without a time limit; timm and transformers by
`huggingface_hub`, which tries for a minute, and without end where a file always breaks off.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pickle import UnpicklingError
from typing import Any

from harness.errors import RequestError

_FAILURES = (OSError, RuntimeError, ValueError, EOFError, HTTPException, UnpicklingError)
# Of a connection, and of silence in the middle of a file.
_TIMEOUT_S = 3.0
# Requests for the same thing; the second goes on where the first broke off.
_ATTEMPTS = 2


@contextmanager
def from_hub(what: str) -> Iterator[None]:
    """Limit how long libraries try in the block to fetch weights, which are named in the message.

    What they have cached is found without a network. A download of any length is waited for while
    it goes on.

    Raises:
        RequestError: The weights cannot be had, or are damaged.
    """
    from safetensors import SafetensorError

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        with _impatient_hub():
            yield
    except (*_FAILURES, SafetensorError) as error:
        raise RequestError(f"{what} cannot be had ({first_line(error)})") from error
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _impatient_hub() -> Iterator[None]:
    """Limit the attempts of huggingface_hub, where it is of the version that this project pins."""
    try:
        import httpx2
        from huggingface_hub import constants, set_client_factory
        from huggingface_hub.utils._http import default_client_factory, hf_request_event_hook
    except ImportError:
        yield
        return
    # By method and address; the library makes a new client after some errors.
    asked: Counter[tuple[str, str]] = Counter()

    class Impatient(httpx2.Client):
        """A client that does not ask for the same thing again and again."""

        def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
            key = (request.method, str(request.url))
            asked[key] += 1
            if asked[key] > _ATTEMPTS:
                raise OSError(f"{request.url.host} did not send it in {_ATTEMPTS} attempts")
            request.extensions["timeout"] = dict.fromkeys(
                ("connect", "read", "write", "pool"), _TIMEOUT_S
            )
            response = super().send(request, **options)
            # The library would wait for as long as this says.
            response.headers.pop("Retry-After", None)
            return response

    hooks = {"request": [hf_request_event_hook]}
    set_client_factory(
        lambda: Impatient(event_hooks=hooks, follow_redirects=True, timeout=_TIMEOUT_S)
    )
    before = constants.HF_HUB_DISABLE_XET
    # This transport has retries of its own.
    constants.HF_HUB_DISABLE_XET = True
    try:
        yield
    except httpx2.HTTPError as error:
        raise OSError(first_line(error)) from error
    finally:
        constants.HF_HUB_DISABLE_XET = before
        set_client_factory(default_client_factory)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
