"""An imitation of W&B's HTTP API, as far as the real client (0.31) uses it to log runs and artifacts.

Nothing on these machines can answer the real service. The client in the tests is the real one; this keeps what it is
sent: runs with their history, and artifacts with their sources.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

_PROJECT = {
    "__typename": "Project",
    "id": "p",
    "internalId": "1",
    "name": "p",
    "entity": {"__typename": "Entity", "name": "lab"},
}
_NOW = "2026-01-01T00:00:00Z"
KEY = "local-" + "0" * 40


@dataclass
class ServedRun:
    history: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    alerts: list[str] = field(default_factory=list)


@dataclass
class WandbServer:
    """What arrived. ``refuse``: answer every request with this status instead."""

    url: str = ""
    refuse: int | None = None
    runs: dict[str, ServedRun] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    uses: list[tuple[str, str]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def graphql(self, name: str, variables: dict[str, Any], query: str) -> Any:
        answer = getattr(self, f"_on_{name}", None)
        if answer is None:
            self.unknown.append(f"{name}: {query}")
            return {}
        return answer(variables)

    def _on_Viewer(self, _: dict[str, Any]) -> Any:
        return {
            "viewer": {
                "id": "1",
                "entity": "lab",
                "username": "lab",
                "email": "",
                "flags": "{}",
                "teams": {"edges": []},
            }
        }

    def _on_RunResumeStatus(self, v: dict[str, Any]) -> Any:
        run = self.runs.get(v["name"])
        bucket = run and {
            "id": v["name"],
            "name": v["name"],
            "displayName": v["name"],
            "summaryMetrics": json.dumps(run.summary),
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(h) for h in run.history[-1:]]),
            "eventsTail": "[]",
            "config": json.dumps(run.config),
            "tags": [],
            "notes": "",
            "wandbConfig": json.dumps({"t": run.config.get("_wandb", {}).get("value", {}).get("t", {})}),
        }
        return {
            "model": {"id": "p", "name": v["project"], "entity": {"id": "e", "name": "lab"}, "bucket": bucket}
        }

    def _on_UpsertBucket(self, v: dict[str, Any]) -> Any:
        new = v["name"] not in self.runs
        run = self.runs.setdefault(v["name"], ServedRun())
        run.about |= {k: x for k, x in v.items() if x is not None}
        if v.get("config"):
            run.config = json.loads(v["config"])
        if v.get("summaryMetrics"):
            run.summary |= json.loads(v["summaryMetrics"])
        project = {"id": "p", "name": v.get("project"), "entity": {"id": "e", "name": "lab"}}
        bucket = {
            "id": v["name"],
            "name": v["name"],
            "displayName": v.get("displayName"),
            "description": "",
            "config": json.dumps(run.config),
            "sweepName": None,
            "project": project,
            "historyLineCount": len(run.history),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": new}}

    def _on_NotifyScriptableRunAlert(self, v: dict[str, Any]) -> Any:
        self.runs[v["runName"]].alerts.append(v["text"])
        return {"notifyScriptableRunAlert": {"success": True}}

    def _on_GetDefaultEntity(self, _: dict[str, Any]) -> Any:
        return {"viewer": {"id": "1", "entity": "lab"}}

    def _on_Run(self, v: dict[str, Any]) -> Any:
        run = self.runs[v["name"]]
        answer = {
            "id": v["name"],
            "projectId": "1",
            "tags": [],
            "name": v["name"],
            "displayName": run.about.get("displayName"),
            "sweepName": None,
            "state": "finished",
            "config": json.dumps(run.config),
            "group": run.about.get("groupName"),
            "jobType": run.about.get("jobType"),
            "commit": None,
            "readOnly": False,
            "createdAt": _NOW,
            "heartbeatAt": _NOW,
            "description": None,
            "notes": None,
            "systemMetrics": "{}",
            "summaryMetrics": json.dumps(run.summary),
            "historyLineCount": len(run.history),
            "user": {"name": "lab", "username": "lab"},
            "historyKeys": {"lastStep": len(run.history) - 1, "keys": {}},
        }
        return {"project": {"run": answer}}

    def _on_RunHistoryKeys(self, v: dict[str, Any]) -> Any:
        run = self.runs[v["name"]]
        return {"project": {"run": {"historyKeys": {"lastStep": len(run.history) - 1, "keys": {}}}}}

    def _on_ServerFeaturesQuery(self, _: dict[str, Any]) -> Any:
        return {"serverInfo": {"features": []}}

    def _on_ArtifactType(self, v: dict[str, Any]) -> Any:
        known = self.artifacts.get(v["name"].partition(":")[0])
        return {"project": {"artifact": known and {"artifactType": {"name": known["type"]}}}}

    def _on_ArtifactMembershipByName(self, v: dict[str, Any]) -> Any:
        name = v["name"].partition(":")[0]
        if name not in self.artifacts:
            return {"project": {"artifactCollectionMembership": None}}
        collection = {"__typename": "ArtifactSequence", "name": name, "project": _PROJECT}
        artifact = self._artifact(name) | {"artifactSequence": collection}
        membership = {
            "__typename": "ArtifactCollectionMembership",
            "id": f"m-{name}",
            "versionIndex": 0,
            "createdAt": _NOW,
            "aliases": [{"__typename": "ArtifactAlias", "id": "a", "alias": "latest"}],
            "artifactCollection": collection,
            "artifact": artifact,
        }
        return {"project": {"artifactCollectionMembership": membership}}

    def _on_CreateArtifact(self, v: dict[str, Any]) -> Any:
        asked = v["input"]
        name = asked["artifactCollectionName"]
        known = self.artifacts.get(name, {}).get("digest") == asked["digest"]
        self.artifacts[name] = {
            "type": asked["artifactTypeName"],
            "digest": asked["digest"],
            "metadata": json.loads(asked["metadata"] or "{}"),
            "run": asked["runName"],
        }
        artifact = {
            "id": f"A-{name}",
            "state": "COMMITTED" if known else "PENDING",
            "artifactSequence": {"latestArtifact": {"id": f"A-{name}"} if known else None},
        }
        return {"createArtifact": {"artifact": artifact}}

    def _storage(self, name: str) -> dict[str, Any]:
        return {"uploadUrl": f"{self.url}/storage/{name}", "uploadHeaders": []}

    def _on_CreateRunFiles(self, v: dict[str, Any]) -> Any:
        files = [{"name": name, "uploadUrl": f"{self.url}/storage/{name}"} for name in v["files"]]
        return {"createRunFiles": {"runID": v["run"], "uploadHeaders": [], "files": files}}

    def _on_CreateArtifactManifest(self, v: dict[str, Any]) -> Any:
        file = {"id": "f", **self._storage("manifest")}
        return {"createArtifactManifest": {"artifactManifest": {"id": f"M-{v['artifactID']}", "file": file}}}

    def _on_UpdateArtifactManifest(self, v: dict[str, Any]) -> Any:
        manifest = {"id": v["artifactManifestID"], "file": {"id": "f", **self._storage("manifest")}}
        return {"updateArtifactManifest": {"artifactManifest": manifest}}

    def _on_CreateArtifactFiles(self, v: dict[str, Any]) -> Any:
        edges = [
            {
                "node": {
                    "id": "f",
                    "name": f["name"],
                    "displayName": f["name"],
                    "storagePath": f"wandb_artifacts/{f['name']}",
                    **self._storage(f["name"]),
                    "uploadMultipartUrls": None,
                    "artifact": {"id": "A"},
                }
            }
            for f in v["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _on_CommitArtifact(self, v: dict[str, Any]) -> Any:
        return {"commitArtifact": {"artifact": {"id": v["artifactID"], "digest": ""}}}

    def _on_UseArtifact(self, v: dict[str, Any]) -> Any:
        self.uses.append((v["runName"], v["artifactID"].removeprefix("A-")))
        return {
            "useArtifact": {
                "artifact": {
                    "id": v["artifactID"],
                    "digest": "",
                    "description": "",
                    "state": "COMMITTED",
                    "createdAt": _NOW,
                    "metadata": "{}",
                }
            }
        }

    def _on_ArtifactByID(self, v: dict[str, Any]) -> Any:
        name = v["id"].removeprefix("A-")
        collection = {"__typename": "ArtifactSequence", "name": name, "project": _PROJECT}
        return {"artifact": self._artifact(name) | {"artifactSequence": collection}}

    def _artifact(self, name: str) -> dict[str, Any]:
        return {
            "__typename": "Artifact",
            "id": f"A-{name}",
            "versionIndex": 0,
            "artifactType": {"name": self.artifacts[name]["type"]},
            "description": "",
            "metadata": "{}",
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": "COMMITTED",
            "size": 1,
            "digest": self.artifacts[name].get("digest", ""),
            "commitHash": "",
            "fileCount": 1,
            "createdAt": _NOW,
            "updatedAt": None,
            "aliases": [],
        }

    def stream(self, run_id: str, body: dict[str, Any]) -> None:
        run = self.runs[run_id]
        for name, part in body.get("files", {}).items():
            if name == "wandb-history.jsonl":
                run.history[part["offset"] :] = map(json.loads, part["content"])
            elif name == "wandb-summary.json":
                run.summary |= json.loads(part["content"][-1])
        if body.get("complete"):
            run.exit_code = body.get("exitcode")


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Quiet."""

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _answer(self, value: Any, status: int = 200) -> None:
            payload = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def _refused(self) -> bool:
            told = base64.b64decode((self.headers.get("Authorization") or " ").split()[-1] or b"").decode()
            status = server.refuse or (None if told.endswith(KEY) else 401)
            if status and not self.path.startswith(("/sdk/otel", "/storage")):
                self._answer({"errors": [{"message": "refused"}]}, status)
                return True
            return False

        def do_POST(self) -> None:
            body = self._body()
            server.requests.append(self.path)
            if self._refused():
                return
            stream = re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
            if self.path == "/graphql":
                asked = json.loads(body)
                name = (
                    asked.get("operationName") or re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])[1]
                )
                self._answer({"data": server.graphql(name, asked.get("variables") or {}, asked["query"])})
            elif stream:
                server.stream(stream[1], json.loads(body))
                self._answer({})
            else:
                self._answer({})

        def do_GET(self) -> None:
            self._answer({})

        def do_PUT(self) -> None:
            self._body()
            self._answer({})

    return Handler


class _Http(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news; anything else is."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """A server on loopback for as long as the block runs."""
    state = WandbServer()
    http = _Http(("127.0.0.1", 0), _handler(state))
    state.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        http.shutdown()
        http.server_close()


@contextmanager
def served_to_client(patch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A server that W&B's client in this process talks to."""
    import wandb

    with wandb_server() as running:
        patch.setenv("WANDB_BASE_URL", running.url)
        patch.setenv("WANDB_API_KEY", KEY)
        wandb.teardown()  # The client keeps address and key for the life of its service process.
        yield running
        wandb.teardown()
