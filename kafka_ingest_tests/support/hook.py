"""A webhook of the tests' own."""

from __future__ import annotations

import json
import time
from typing import Any

from kafka_ingest_tests.support.post_server import Answer, PostServer


class Hook:
    """A real HTTP server that notes what it gets and answers as told."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.answers: list[int] = []
        self.delay_seconds = 0.0
        self._server = PostServer(self._answer)
        self.url = f"{self._server.url}/hook/s3cret-t0ken"
        self.close = self._server.close

    def _answer(self, path: str, body: bytes) -> Answer:
        self.paths.append(path)
        time.sleep(self.delay_seconds)
        code = self.answers.pop(0) if self.answers else 204
        if code < 300:
            self.got.append(json.loads(body))
        return code, {"Location": f"{self.url}/elsewhere"} if code == 302 else {}, b""
