"""One JSON document to a URL that nobody may see: no redirect is followed, no error names it."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping

from kafka_ingest.errors import RetryableError

TIMEOUT_SECONDS = 5.0


class WebhookFailed(RetryableError):
    """The webhook did not take the alert."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST becomes a GET, and its target's address would stand in the error."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def post(url: str, document: Mapping[str, object], *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """POST it. Done when the server has answered with a 2xx; `timeout_seconds` bounds each wait on the network.

    Raises WebhookFailed, whose text and causes never hold the URL.
    """
    failure: str | None = None
    try:
        request = urllib.request.Request(  # noqa: S310  settings.py lets only http and https through
            url, json.dumps(document).encode(), {"Content-Type": "application/json", "User-Agent": "kafka-ingest"}
        )
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout_seconds):
            pass
    except urllib.error.HTTPError as error:
        failure = f"it answered HTTP {error.code}"
        error.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        failure = type(reason).__name__ if isinstance(reason, BaseException) else "unreachable"
    if failure is not None:
        # Raised out here, where no other error, which may name the URL, is its context.
        raise WebhookFailed(f"the alert webhook did not take the alert: {failure}. It is tried again.")
