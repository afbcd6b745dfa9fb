"""A small W&B server on this machine: it answers, refuses, hangs, or stops in the middle, and keeps what it was sent."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0" * 40
"""A key of the right form."""


class WandbServer:
    """Serves while it is open as a context; `behaviour` may be changed at any time.

    Attributes:
        behaviour: "answers"; "refuses" (401); "fails" (500); "nonsense" (a page of HTML); "hangs" (accepts and never answers).
        then: What it becomes when the first rows of a run arrive.
        requests: Path and body of what came.
        files: Lines of each file of the stream of a run (`wandb-history.jsonl`), by the run's id, with the offset they were sent to.
        runs: Variables of the last upsert, by the run's id.
        sweep: The text of a sweep file, for `wandb agent`.
        proposals: Values of its parameters by the run's id, given to agents one after the other.
    """

    def __init__(self, behaviour: str = "answers", then: str = "") -> None:
        self.behaviour, self.then = behaviour, then
        self.requests: list[tuple[str, Any]] = []
        self.files: dict[str, dict[str, dict[int, str]]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.sweep, self.proposals = "", dict[str, dict[str, Any]]()
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": self}))
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients hang up when they end

    @property
    def url(self) -> str:
        """The address, for WANDB_BASE_URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use this server and no other."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online", "WANDB_ERROR_REPORTING": "false"}

    def history(self, run_id: str) -> list[dict[str, Any]]:
        """The rows that the server has of a run, in their order; a later row of an offset replaces the earlier, as on the real one."""
        lines = self.files.get(run_id, {}).get("wandb-history.jsonl", {})
        return [json.loads(lines[offset]) for offset in sorted(lines)]

    def __enter__(self) -> "WandbServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, body: Any) -> Any:
        """What an intact server says."""
        if stream := re.search(r"/files/[^/]*/[^/]*/([^/]+)/file_stream", path):
            for name, content in (body.get("files") or {}).items():
                kept = self.files.setdefault(stream[1], {}).setdefault(name, {})
                kept |= {content["offset"] + index: line for index, line in enumerate(content["content"])}
            return {"limits": {}}
        query, variables = str(body.get("query", "")) if isinstance(body, dict) else "", body.get("variables") or {} if body else {}
        if "SweepWithRuns" in query:
            return {"data": {"project": {"sweep": {"id": "s", "name": "s", "config": self.sweep, "runs": {"edges": []}}}}}
        if "CreateAgent" in query:
            return {"data": {"createAgent": {"agent": {"id": "agent"}}}}
        if "agentHeartbeat" in query:
            return {"data": {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(self._commands())}}}
        if "upsertBucket" in query:
            run_id = str(variables.get("name"))
            before = self.runs.get(run_id)
            self.runs[run_id] = {**(before or {}), **{key: value for key, value in variables.items() if value is not None}}
            return {"data": {"upsertBucket": {"bucket": self._bucket(run_id, variables), "inserted": before is None}}}
        if "RunResumeStatus" in query or "model(" in query:
            return {"data": {"model": {"id": "p", "name": "p", "entity": {"id": "e", "name": "me"}, "bucket": self._resumed(variables)}}}
        if "createRunFiles" in query:
            names = variables.get("files") or []
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in names]
            return {"data": {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}}
        viewer = {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
        return {"data": {"viewer": viewer, "serverInfo": {"cliVersionInfo": {}, "latestLocalVersionInfo": None}}}

    def _commands(self) -> list[dict[str, Any]]:
        """The next proposal, or none."""
        if not self.proposals:
            return []
        run_id = next(iter(self.proposals))
        values = {name: {"value": value} for name, value in self.proposals.pop(run_id).items()}
        return [{"type": "run", "run_id": run_id, "program": "pin_memory.train", "args": values}]

    def _bucket(self, run_id: str, variables: dict[str, Any]) -> dict[str, Any]:
        project = {"id": "p", "name": variables.get("project") or "p", "entity": {"id": "e", "name": "me"}}
        line_count = len(self.files.get(run_id, {}).get("wandb-history.jsonl", {}))
        return {
            "id": run_id, "name": run_id, "displayName": "run", "description": None, "config": "{}", "sweepName": variables.get("sweep"),
            "project": project, "historyLineCount": line_count,
        }  # fmt: skip

    def _resumed(self, variables: dict[str, Any]) -> dict[str, Any] | None:
        run_id = str(variables.get("name"))
        if run_id not in self.runs:
            return None
        rows = self.history(run_id)
        tail = json.dumps([json.dumps(rows[-1])] if rows else [])
        return {
            "id": run_id, "name": run_id, "summaryMetrics": "{}", "displayName": "run", "logLineCount": 0, "historyLineCount": len(rows),
            "eventsLineCount": 0, "historyTail": tail, "eventsTail": "[]", "config": "{}", "tags": [],
            "wandbConfig": json.dumps({"t": 1}),
        }  # fmt: skip


_FAULTS = {
    "refuses": (401, b'{"errors": [{"message": "user is not logged in"}]}'),
    "fails": (500, b"{}"),
    "nonsense": (200, b"<html></html>"),
}


class _Handler(BaseHTTPRequestHandler):
    """Answers a request as the server's behaviour says."""

    site: WandbServer
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        self.site.requests.append((self.path, body))
        if self.site.then and self.path.endswith("file_stream"):
            self.site.behaviour, self.site.then = self.site.then, ""
        behaviour = self.site.behaviour
        if behaviour == "hangs":
            self.site._over.wait()
            self.close_connection = True
            return
        status, content = _FAULTS.get(behaviour) or (200, json.dumps(self.site.answer(self.path, body)).encode())
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _serve  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""
