"""The catalogue and management routes: what is on the disk, and how it gets there."""

import hashlib
import re
import time
from dataclasses import replace

from aiohttp import web
from fakes.faults import MidwayError
from fakes.ollama_json import Json, local_stamp, record
from fakes.ollama_models import REGISTRY_NAMES, TEMPLATE, FakeModel, display, made
from fakes.ollama_native import NDJSON
from fakes.ollama_node import (
    TEXT_TYPE,
    AnswerError,
    Call,
    checked_name,
    installed,
    named,
    native_error,
)

_NAMED = {"model": "string", "name": "string", "stream": "bool", "insecure": "bool"}
_SHOW = {"model": "string", "name": "string", "verbose": "bool", "system": "string"}
_COPY = {"source": "string", "destination": "string"}
_CREATE = _NAMED | {
    "from": "string",
    "files": "object",
    "adapters": "object",
    "system": "string",
    "template": "string",
    "parameters": "object",
    "messages": "array",
    "license": "any",
    "quantize": "string",
}
_DIGEST = re.compile(r"sha256[:-][0-9a-f]{64}")
_LAYER_STEPS = 4


async def root(call: Call) -> web.StreamResponse:
    """GET and HEAD /."""
    return await call.writer.whole(b"Ollama is running", TEXT_TYPE)


async def version(call: Call) -> web.StreamResponse:
    """GET and HEAD /api/version."""
    return await call.json({"version": call.node.version})


async def status(call: Call) -> web.StreamResponse:
    """GET /api/status."""
    source = call.node.cloud_off_by
    return await call.json({"cloud": {"disabled": source != "none", "source": source}})


async def recommendations(call: Call) -> web.StreamResponse:
    """GET /api/experimental/model-recommendations: the list that is built in."""
    return await call.json({"recommendations": [{"model": "gemma3", "description": "to try"}]})


async def health(call: Call) -> web.StreamResponse:
    """GET /api/health: not Ollama's, only where the node was told to have it."""
    return await call.json({"status": "ok"})


async def tags(call: Call) -> web.StreamResponse:
    """GET and HEAD /api/tags."""
    models = call.node.library.newest_first()
    return await call.json({"models": [model.tag() for model in models]})


async def ps(call: Call) -> web.StreamResponse:
    """GET /api/ps."""
    return await call.json({"models": call.node.scheduler.listed()})


async def show(call: Call) -> web.StreamResponse:
    """POST /api/show."""
    fields = call.fields(_SHOW, "ShowRequest")
    sent = named(fields)
    if not sent:
        raise AnswerError(400, "model is required")
    model = installed(call.node, sent, "model '{shown}' not found")
    return await call.json(_shown(model, fields.get("system") or model.system))


def _shown(model: FakeModel, system: str) -> Json:
    info: Json = {
        "general.architecture": model.family,
        "general.basename": model.name.split(":")[0],
        "general.parameter_count": int(float(model.parameter_size.rstrip("BM")) * 1e9),
        f"{model.family}.context_length": model.context_length,
        f"{model.family}.embedding_length": model.embedding_length,
    }
    details = model.details()
    del details["context_length"], details["embedding_length"]
    shown: Json = {
        "license": "A licence that grants everything.",
        "modelfile": f"# Modelfile\nFROM {model.name}\nTEMPLATE {TEMPLATE}\n",
        "parameters": 'stop                           "<|eot_id|>"',
        "template": TEMPLATE,
        "details": details,
        "model_info": info,
        "capabilities": list(model.capabilities),
        "modified_at": local_stamp(model.modified_at),
    }
    if model.remote_model:
        shown |= {"remote_model": model.remote_model, "remote_host": model.remote_host}
    return shown | ({"system": system} if system else {})


async def _progress(call: Call, records: list[Json], streams: bool) -> web.StreamResponse:
    """Progress records with the pull time spread over them, or their last one only."""
    pause_s = call.node.speed.pull_s / max(len(records), 1)
    if not streams:
        await call.node.pause(1, 1 / call.node.speed.pull_s if call.node.speed.pull_s else 0)
        last = records[-1]
        return await call.json(last, 500 if "error" in last else 200)
    await call.writer.start(NDJSON)
    try:
        for line in records:
            await call.writer.write(record(line))
            await call.node.pause(1, 1 / pause_s if pause_s else 0)
        return await call.writer.finish()
    except MidwayError as error:
        if error.text is not None:
            await call.writer.write_past_fault(record(native_error(error.text)))
        return await call.writer.finish_past_fault()


def _layers(verb: str, model: FakeModel) -> list[Json]:
    lines: list[Json] = []
    for name, size in (("weights", model.size), ("config", 561)):
        digest = hashlib.sha256(f"{model.digest} {name}".encode()).hexdigest()
        for step in range(_LAYER_STEPS + 1):
            line = {"status": f"{verb} {digest[:12]}", "digest": f"sha256:{digest}", "total": size}
            done = size * step // _LAYER_STEPS
            # Go's omitempty: the first record has no `completed`.
            lines.append(line | ({"completed": done} if done else {}))
    return lines


async def pull(call: Call) -> web.StreamResponse:
    """POST /api/pull: an unknown model is a 200 with an error record."""
    fields = call.fields(_NAMED, "PullRequest")
    name, streams = checked_name(named(fields)), fields.get("stream", True)
    base = display(name).split("/")[-1].split(":")[0].lower()
    records: list[Json] = [{"status": "pulling manifest"}]
    if base not in REGISTRY_NAMES:
        records.append(native_error("pull model manifest: file does not exist"))
        return await _progress(call, records, streams)
    model = made(name)
    records += _layers("pulling", model)
    records += [
        {"status": "verifying sha256 digest"},
        {"status": "writing manifest"},
        {"status": "success"},
    ]
    answer = await _progress(call, records, streams)
    call.node.library.add(replace(model, modified_at=time.time()))
    return answer


async def push(call: Call) -> web.StreamResponse:
    """POST /api/push: errors come as records, too."""
    fields = call.fields(_NAMED, "PushRequest")
    name, streams = checked_name(named(fields)), fields.get("stream", True)
    model = call.node.library.find(name)
    records: list[Json] = [{"status": "retrieving manifest"}]
    if model is None:
        records.append(native_error("file does not exist"))
    else:
        records += _layers("pushing", model)
        records += [{"status": "pushing manifest"}, {"status": "success"}]
    return await _progress(call, records, streams)


async def create(call: Call) -> web.StreamResponse:
    """POST /api/create."""
    fields = call.fields(_CREATE, "CreateRequest")
    name, streams = checked_name(named(fields)), fields.get("stream", True)
    files = fields.get("files", {})
    if not fields.get("from") and not files:
        raise AnswerError(400, "neither 'from' or 'files' was specified")
    if any(not isinstance(digest, str) for digest in files.values()):
        field = "Go struct field CreateRequest.files of type string"
        raise AnswerError(400, f"json: cannot unmarshal number into {field}")
    if any(digest.replace("-", ":") not in call.node.library.blobs for digest in files.values()):
        raise AnswerError(400, "blob does not exist")
    source = fields.get("from")
    base = call.node.library.find(checked_name(source)) if source else made(name)
    records: list[Json] = []
    if base is None:
        records = [
            {"status": "pulling manifest"},
            native_error("pull model manifest: file does not exist"),
        ]
        return await _progress(call, records, streams)
    seed = f"{base.digest} {name} {sorted(fields)} {fields.get('system', '')}"
    digest = hashlib.sha256(seed.encode()).hexdigest()
    system = fields.get("system") or base.system
    new = replace(base, name=display(name), digest=digest, system=system, modified_at=time.time())
    layer = f"using existing layer sha256:{base.digest}"
    steps = (layer, f"creating new layer sha256:{digest}", "writing manifest", "success")
    call.node.library.add(new)
    return await _progress(call, [{"status": text} for text in steps], streams)


async def copy(call: Call) -> web.StreamResponse:
    """POST /api/copy."""
    fields = call.fields(_COPY, "CopyRequest")
    source, target = fields.get("source", ""), fields.get("destination", "")
    for name in (source, target):
        if not name:
            raise AnswerError(400, f'model name "{name}" is invalid')
        checked_name(name)
    model = installed(call.node, source, 'model "{name}" not found')
    call.node.library.add(replace(model, name=display(target), modified_at=time.time()))
    return await call.empty()


async def delete(call: Call) -> web.StreamResponse:
    """DELETE /api/delete; a loaded one stays loaded."""
    sent = named(call.fields(_NAMED, "DeleteRequest"))
    if not sent:
        raise AnswerError(400, "invalid model name")
    installed(call.node, sent, "model '{name}' not found")
    call.node.library.remove(sent)
    return await call.empty()


async def blob_head(call: Call) -> web.StreamResponse:
    """HEAD /api/blobs/:digest."""
    known = _blob_digest(call) in call.node.library.blobs
    return await call.empty(200 if known else 404)


async def blob_create(call: Call) -> web.StreamResponse:
    """POST /api/blobs/:digest. The dispatcher answers before the body when the blob is there."""
    digest = _blob_digest(call)
    if digest in call.node.library.blobs:
        return await call.empty(200)
    actual = f"sha256:{hashlib.sha256(call.body).hexdigest()}"
    if actual != call.tail:
        raise AnswerError(400, f'digest mismatch, expected "{call.tail}", got "{actual}"')
    call.node.library.blobs[digest] = call.body
    return await call.empty(201)


def _blob_digest(call: Call) -> str:
    if _DIGEST.fullmatch(call.tail) is None:
        raise AnswerError(400, "invalid digest format")
    return call.tail.replace("-", ":")


async def me(call: Call) -> web.StreamResponse:
    """POST /api/me."""
    if not call.node.signed_in:
        link = {"signin_url": "https://ollama.com/connect?name=fake&key=ZmFrZQ"}
        raise AnswerError(401, "unauthorized", link)
    return await call.json({"id": "1", "email": "n@example.org", "name": call.node.name})


async def signout(call: Call) -> web.StreamResponse:
    """POST /api/signout."""
    call.node.signed_in = False
    return await call.json(None)
