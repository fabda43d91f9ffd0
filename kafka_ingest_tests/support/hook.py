"""A webhook of the tests' own."""

from __future__ import annotations

import http.server
import json
import threading
import time
from typing import Any


class Hook:
    """A real HTTP server that notes what it gets and answers as told."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.answers: list[int] = []
        self.delay_seconds = 0.0
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.paths.append(self.path)
                time.sleep(hook.delay_seconds)
                code = hook.answers.pop(0) if hook.answers else 204
                if code < 300:
                    hook.got.append(json.loads(body))
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", f"{hook.url}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook/s3cret-t0ken"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
