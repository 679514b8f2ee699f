"""What is asked, and by whom: a request becomes our answer, a refusal, or a job for nodes.

Steps 2 and 3 of the path (see `handler`). Nothing here waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from data_plane.admission.identify import NotIdentifiedError
from data_plane.admission.limits import OverLimitError
from data_plane.admission.origins import preflight_headers
from data_plane.admission.principal import ANYONE, Principal
from data_plane.lifecycle import Phase
from data_plane.protocol import ask as asking
from data_plane.protocol.asks import Ask, Form
from data_plane.protocol.matching import Match, NoRouteError, WrongMethodError, dialect_of, lookup
from data_plane.protocol.mistakes import BadRequestError
from data_plane.protocol.routes import ASKS_NODES, Access, Action
from data_plane.proxy import intake, targets
from data_plane.proxy.answers import RefusedRequestError
from data_plane.proxy.caller import caller_of
from data_plane.proxy.filler import Filler, filler_after_s
from data_plane.proxy.job import Job
from data_plane.proxy.reply import Answer
from data_plane.routing.permits import is_allowed
from shared.codes import ErrorCode, Outcome

if TYPE_CHECKING:
    from data_plane.admission.gate import Gate
    from data_plane.admission.hosts import Hosts
    from data_plane.admission.identify import Identifier
    from data_plane.admission.limits import KeyLimits, Place
    from data_plane.admission.origins import Origins
    from data_plane.lifecycle import Lifecycle
    from data_plane.protocol.outline import Outline
    from data_plane.proxy.call import Call
    from data_plane.proxy.caller import Caller
    from data_plane.proxy.reply import Reply
    from data_plane.proxy.shelf import Shelf
    from data_plane.sync.applied import Applied, AppliedState
    from data_plane.telemetry.record import Record
    from shared.snapshot import ApiKey

FULL: Final = (
    "this proxy is serving as many requests as it may; try again in a few seconds, or ask an "
    "operator to raise AIVONX_MAX_ACTIVE"
)

SHORT_OF_MEMORY: Final = (
    "this proxy has too little memory left to begin another request; try again in a few seconds, "
    "or ask an operator to raise its memory limit"
)


class Reception:
    """Understands requests."""

    def __init__(  # noqa: PLR0913 - wired once, in app
        self,
        *,
        state: AppliedState,
        lifecycle: Lifecycle,
        identifier: Identifier,
        origins: Origins,
        hosts: Hosts,
        gate: Gate,
        limits: KeyLimits,
        shelf: Shelf,
        max_body_bytes: int,
    ) -> None:
        self.max_body_bytes = max_body_bytes
        self._state = state
        self._lifecycle = lifecycle
        self._identifier = identifier
        self._origins = origins
        self._hosts = hosts
        self._gate = gate
        self._limits = limits
        self._shelf = shelf

    # 2. parse, the head; 3. admit. The body only then: nobody without a key makes us hold one
    def open(self, call: Call) -> Answer | None:
        """What is asked and who asks; our answer when it takes neither the body nor a node."""
        record = call.record
        match, caller = self._parse_head(call, record, call.reply)
        if match.route.action is Action.OPTIONS:
            return self._options(match, caller, record)
        view = call.view = self._view()
        if call.judged_by is not view or not call.principal.is_lasting:
            call.principal = self._admit(call, view, match, caller)
            call.judged_by = view
        principal = call.principal
        record.key_id = principal.key_id
        action = match.route.action
        is_order = action is not Action.INFER and action in ASKS_NODES
        if action is not Action.INFER and action is not Action.SHOW and not is_order:
            return self._local(view, match, principal, record)
        if principal.limits is not None and call.place is None:
            call.place = self._enter(call, principal.limits)
        if is_order:
            return None
        if self._gate.is_full:
            why = SHORT_OF_MEMORY if self._gate.is_memory_short else FULL
            raise RefusedRequestError(ErrorCode.OVERLOADED, why, closes=_has_unread_body(call))
        return None

    def _parse_head(self, call: Call, record: Record, reply: Reply) -> tuple[Match, Caller]:
        match = call.match
        if match is None:
            path = intake.path(call)
            if path is not call.target:
                record.dialect = dialect_of(path)
            call.caller = caller_of(call, self._origins, self._hosts)
            if call.caller.headers:
                reply.headers.update(call.caller.headers)
            match = call.match = _found(call.method, path)
        elif call.caller.headers:
            reply.headers.update(call.caller.headers)
        record.route = match.route.path
        record.dialect = match.route.dialect
        call.route = match.route
        return match, call.caller

    def _options(self, match: Match, caller: Caller, record: Record) -> Answer:
        headers = {"Allow": match.allow, "X-Request-Id": record.request_id}
        if caller.origin is not None:
            headers.update(preflight_headers(caller.origin))
        record.status, record.outcome = 204, Outcome.OK
        return Answer(204, headers)

    def _view(self) -> Applied:
        """The snapshot of this request: taken once, whatever is applied meanwhile."""
        if self._lifecycle.phase is Phase.CLOSING:
            raise RefusedRequestError(ErrorCode.DRAINING, closes=True)
        view = self._state.current
        if view is None:
            raise RefusedRequestError(ErrorCode.NOT_READY)
        return view

    def _admit(self, call: Call, view: Applied, match: Match, caller: Caller) -> Principal:
        if not caller.is_host_ours and self._identifier.is_open(view.keys):
            raise RefusedRequestError(ErrorCode.HOST_NOT_ALLOWED, closes=_has_unread_body(call))
        if match.route.access is Access.ANYONE and match.key is None:
            return ANYONE
        try:
            return self._identifier.judge(
                view.keys,
                caller.given,
                path_key=match.key,
                query=call.target.partition("?")[2],
                address=call.client,
            )
        except NotIdentifiedError as error:
            wait = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else None
            raise RefusedRequestError(
                error.code, status=error.status, headers=wait, closes=_has_unread_body(call)
            ) from error

    def _enter(self, call: Call, key: ApiKey) -> Place:
        try:
            return self._limits.enter(key)
        except OverLimitError as error:
            raise RefusedRequestError(
                ErrorCode.RATE_LIMITED,
                error.sentence,
                headers={"Retry-After": str(error.wait_s)},
                closes=_has_unread_body(call),
            ) from error

    def _local(self, view: Applied, match: Match, principal: Principal, record: Record) -> Answer:
        """What is answered from memory."""
        if match.route.action is Action.ONE_NODE:
            raise RefusedRequestError(ErrorCode.NOT_IMPLEMENTED, closes=True)
        content_type, body = self._shelf.take(view, match, principal.visible)
        record.status, record.outcome, record.bytes_out = 200, Outcome.OK, len(body)
        headers = {"Content-Type": content_type, "X-Request-Id": record.request_id}
        return Answer(200, headers, body, closes=self._lifecycle.is_draining)

    # 2. parse, the body
    def job(self, call: Call, body: bytes | Outline) -> Job:
        """What a node is to be asked. Raises RefusedRequestError."""
        record, view = call.record, call.view
        record.bytes_in = len(body)
        try:
            ask = (
                self._form_ask(call, body)
                if call.route.takes_form and isinstance(body, bytes)
                else asking.parse(call.route, body, max_body_bytes=self.max_body_bytes)
            )
        except BadRequestError as error:
            raise RefusedRequestError(error.code, error.detail, status=error.status) from error
        record.is_stream = ask.streaming
        principal, wish = call.principal, None
        if ask.form is Form.RUN:
            if not is_allowed(ask.canonical, principal.allowed_models):
                raise RefusedRequestError(ErrorCode.MODEL_NOT_ALLOWED)
        else:
            wish = _wish(call, ask.form)
            _check_permitted(principal, ask, wish)
        entry = view.pools.models.get(ask.canonical)
        if entry is not None:
            # Only models of the snapshot become labels and log fields.
            record.model = entry.model.name
        interval_s = filler_after_s(view.config, call.route.framing) if ask.streaming else 0.0
        if interval_s:
            call.reply.filler = Filler(
                call.reply, call.route.framing, interval_s, record.request_id
            )
        return Job(
            view=view,
            ask=ask,
            fields=b"%bX-Request-Id: %b\r\n"
            % (
                call.caller.fields if not ask.content_type else _fields_of_form(call, ask),
                record.request_id.encode(),
            ),
            record=record,
            reply=call.reply,
            closes=self._lifecycle.is_draining,
            priority=principal.priority,
            wish=wish,
        )

    def _form_ask(self, call: Call, body: bytes) -> Ask:
        limit = self.max_body_bytes
        # It is written anew beside what came, so that for a moment there are two.
        intake.claim(call.claim, 2 * len(body), 2 * limit)
        kind = call.headers.get("Content-Type", "")
        return asking.parse_form(call.route, body, kind, max_body_bytes=limit)


def _wish(call: Call, form: Form) -> targets.Wish | None:
    """Where to load or unload, if the query says anything of nodes."""
    query = call.target.partition("?")[2].partition("#")[0]
    if not query or form not in {Form.LOAD, Form.UNLOAD}:
        return None
    wish = targets.wish_in(query, may_replicate=form is Form.LOAD)
    return wish if wish.names or wish.replicas is not None else None


def _check_permitted(principal: Principal, ask: Ask, wish: targets.Wish | None) -> None:
    """What is no mere question: to unload, or to say where to load, is to manage nodes.

    A load without that is the beginning of a chat (`ollama run` begins with one).
    """
    allowed = [principal.allowed_models]
    if ask.form is Form.SHOW:
        allowed = [principal.visible]
    elif ask.form is Form.UNLOAD or wish is not None:
        if principal.manageable == ():
            raise RefusedRequestError(ErrorCode.SCOPE_REQUIRED)
        allowed = [principal.manageable]
    elif ask.form is Form.LOAD:
        allowed.append(principal.manageable)
    if not any(is_allowed(ask.canonical, patterns) for patterns in allowed):
        raise RefusedRequestError(ErrorCode.MODEL_NOT_ALLOWED)


def _fields_of_form(call: Call, ask: Ask) -> bytes:
    """What a node is told of a client, with the type that the body has for once."""
    return call.caller.fields.replace(
        b"Content-Type: application/json\r\n", f"Content-Type: {ask.content_type}\r\n".encode()
    )


def _found(method: str, path: str) -> Match:
    try:
        return lookup(method, path)
    except NoRouteError as error:
        raise RefusedRequestError(ErrorCode.ROUTE_NOT_FOUND) from error
    except WrongMethodError as wrong:
        raise RefusedRequestError(
            ErrorCode.METHOD_NOT_ALLOWED, headers={"Allow": wrong.allow}
        ) from wrong


def _has_unread_body(call: Call) -> bool:
    return not call.content.is_eof()
