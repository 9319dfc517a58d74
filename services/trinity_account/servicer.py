"""AccountService: each RPC in a few lines. Whose things may be touched is decided here, by the caller's principal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import grpc.aio

from trinity.account.v1 import account_pb2, account_service_pb2, account_service_pb2_grpc
from trinity_account.encoding import associate_to_message, key_to_message, plan_to_message
from trinity_account.following import Following
from trinity_account.issuing import Issuer, Wish, check_owner
from trinity_account.places import Places
from trinity_account.rules import associate_change, check_text, networks, new_associate, new_plan, plan_change
from trinity_account.sessions import Sessions
from trinity_account.watching import Watching
from trinity_admission.principal import ADMIN, Principal, principal_of, require
from trinity_core.account_errors import unknown_associate, unknown_plan
from trinity_core.accounts import AccountRepo, Author
from trinity_core.errors import Reason, TrinityError, invalid_field
from trinity_mesh.clock import Clock
from trinity_mesh.server import Service
from trinity_mesh.validate import method_rules

_PAGE_SIZE: Final = 100
_GRACE_NS: Final = 86_400 * 10**9
_MINTS_MAX: Final = 3
DESCRIPTOR: Final = account_service_pb2.DESCRIPTOR.services_by_name["AccountService"]
_SCOPES: Final = {method.name: tuple(method_rules(method.GetOptions()).scopes) for method in DESCRIPTOR.methods}
Context = grpc.aio.ServicerContext[Any, Any]


class AccountServicer(account_service_pb2_grpc.AccountServiceServicer):
    """The RPCs. Requests were judged by their contract's rules before they come here."""

    def __init__(
        self,
        *,
        repo: AccountRepo,
        issuer: Issuer,
        sessions: Sessions,
        following: Following,
        watching: Watching,
        places: Places,
        clock: Clock,
    ) -> None:
        self._repo = repo
        self._issuer = issuer
        self._sessions = sessions
        self._following = following
        self._watching = watching
        self._places = places
        self._clock = clock

    async def CreateAssociate(  # noqa: N802 - named by the contract
        self, request: account_pb2.CreateAssociateRequest, context: Context
    ) -> account_pb2.CreateAssociateResponse:
        """See account_service.proto."""
        caller = _caller(context, "CreateAssociate")
        made = await self._repo.create_associate(new_associate(request.associate), author=self._author(caller))
        return account_pb2.CreateAssociateResponse(associate=associate_to_message(made))

    async def GetAssociate(  # noqa: N802 - named by the contract
        self, request: account_pb2.GetAssociateRequest, context: Context
    ) -> account_pb2.GetAssociateResponse:
        """See account_service.proto."""
        name = _whose(_caller(context, "GetAssociate"), request.associate)
        found = await self._repo.get_associate(name)
        if found is None:
            raise unknown_associate(name)
        return account_pb2.GetAssociateResponse(associate=associate_to_message(found))

    async def ListAssociates(  # noqa: N802 - named by the contract
        self, request: account_pb2.ListAssociatesRequest, context: Context
    ) -> account_pb2.ListAssociatesResponse:
        """See account_service.proto."""
        _caller(context, "ListAssociates")
        after = self._places.read_name("ListAssociates", request.page_token)
        size = request.page_size or _PAGE_SIZE
        found = await self._repo.list_associates(after=after, limit=size + 1)
        return account_pb2.ListAssociatesResponse(
            associates=map(associate_to_message, found[:size]),
            next_page_token=self._places.name("ListAssociates", found[size - 1].associate) if found[size:] else "",
        )

    async def UpdateAssociate(  # noqa: N802 - named by the contract
        self, request: account_pb2.UpdateAssociateRequest, context: Context
    ) -> account_pb2.UpdateAssociateResponse:
        """See account_service.proto."""
        author = self._author(_caller(context, "UpdateAssociate"))
        changed = await self._repo.update_associate(
            request.associate.associate, associate_change(request), author=author
        )
        self._following.wake()
        return account_pb2.UpdateAssociateResponse(associate=associate_to_message(changed))

    async def CreatePlan(  # noqa: N802 - named by the contract
        self, request: account_pb2.CreatePlanRequest, context: Context
    ) -> account_pb2.CreatePlanResponse:
        """See account_service.proto."""
        caller = _caller(context, "CreatePlan")
        made = await self._repo.create_plan(new_plan(request.plan), author=self._author(caller))
        return account_pb2.CreatePlanResponse(plan=plan_to_message(made))

    async def GetPlan(  # noqa: N802 - named by the contract
        self, request: account_pb2.GetPlanRequest, context: Context
    ) -> account_pb2.GetPlanResponse:
        """See account_service.proto."""
        caller = _caller(context, "GetPlan")
        if not caller.holds(ADMIN):
            own = await self._repo.get_associate(caller.associate)
            if own is None or own.plan != request.plan:
                raise unknown_plan(request.plan)
        found = await self._repo.get_plan(request.plan)
        if found is None:
            raise unknown_plan(request.plan)
        return account_pb2.GetPlanResponse(plan=plan_to_message(found))

    async def ListPlans(  # noqa: N802 - named by the contract
        self, request: account_pb2.ListPlansRequest, context: Context
    ) -> account_pb2.ListPlansResponse:
        """See account_service.proto."""
        _caller(context, "ListPlans")
        after = self._places.read_name("ListPlans", request.page_token)
        size = request.page_size or _PAGE_SIZE
        found = await self._repo.list_plans(after=after, limit=size + 1)
        return account_pb2.ListPlansResponse(
            plans=map(plan_to_message, found[:size]),
            next_page_token=self._places.name("ListPlans", found[size - 1].plan) if found[size:] else "",
        )

    async def UpdatePlan(  # noqa: N802 - named by the contract
        self, request: account_pb2.UpdatePlanRequest, context: Context
    ) -> account_pb2.UpdatePlanResponse:
        """See account_service.proto."""
        author = self._author(_caller(context, "UpdatePlan"))
        changed = await self._repo.update_plan(request.plan.plan, plan_change(request), author=author)
        self._following.wake()
        return account_pb2.UpdatePlanResponse(plan=plan_to_message(changed))

    async def CreateKey(  # noqa: N802 - named by the contract
        self, request: account_pb2.CreateKeyRequest, context: Context
    ) -> account_pb2.CreateKeyResponse:
        """See account_service.proto."""
        caller = _caller(context, "CreateKey")
        associate = _whose(caller, request.associate or caller.associate)
        if not associate:
            raise invalid_field("associate", "it is needed; name the associate that the key is for")
        check_text("name", request.name)
        wish = Wish(
            name=request.name,
            scopes=tuple(request.scopes),
            allowed_networks=networks(request.allowed_networks),
            # Down to what stores keep.
            lifetime_ns=request.lifetime.ToMicroseconds() * 1_000 if request.HasField("lifetime") else None,
        )
        author = self._author(caller)
        for attempt in range(1, _MINTS_MAX + 1):
            issue = self._issuer.issue(wish, caller, now_ns=author.at_ns)
            try:
                made = await self._repo.create_key(associate, issue.make, author=author)
                break
            except TrinityError as error:
                _raise_unless_taken(error, attempt)
        self._following.wake()
        return account_pb2.CreateKeyResponse(key=key_to_message(made, now_ns=author.at_ns), secret=issue.text.text)

    async def ListKeys(  # noqa: N802 - named by the contract
        self, request: account_pb2.ListKeysRequest, context: Context
    ) -> account_pb2.ListKeysResponse:
        """See account_service.proto."""
        caller = _caller(context, "ListKeys")
        everybody = not request.associate and caller.holds(ADMIN)
        whose = None if everybody else _whose(caller, request.associate or caller.associate)
        after = self._places.read_key(whose, request.page_token)
        size = request.page_size or _PAGE_SIZE
        found = await self._repo.list_keys(associate=whose, after=after, limit=size + 1)
        if whose is not None and not found and await self._repo.get_associate(whose) is None:
            raise unknown_associate(whose)
        now_ns = self._clock.unix_ns()
        return account_pb2.ListKeysResponse(
            keys=[key_to_message(held, now_ns=now_ns) for held in found[:size]],
            next_page_token=self._places.key(whose, found[size - 1].key) if found[size:] else "",
        )

    async def RotateKey(  # noqa: N802 - named by the contract
        self, request: account_pb2.RotateKeyRequest, context: Context
    ) -> account_pb2.RotateKeyResponse:
        """See account_service.proto."""
        caller = _caller(context, "RotateKey")
        author = self._author(caller)
        grace_ns = request.grace.ToMicroseconds() * 1_000 if request.HasField("grace") else _GRACE_NS
        for attempt in range(1, _MINTS_MAX + 1):
            succession = self._issuer.succeed(caller, grace_ns=grace_ns, now_ns=author.at_ns)
            try:
                new, old = await self._repo.rotate_key(request.key_id, succession.change, author=author)
                break
            except TrinityError as error:
                _raise_unless_taken(error, attempt)
        self._following.wake()
        return account_pb2.RotateKeyResponse(
            key=key_to_message(new, now_ns=author.at_ns),
            secret=succession.text.text,
            previous=key_to_message(old, now_ns=author.at_ns),
        )

    async def RevokeKey(  # noqa: N802 - named by the contract
        self, request: account_pb2.RevokeKeyRequest, context: Context
    ) -> account_pb2.RevokeKeyResponse:
        """See account_service.proto."""
        caller = _caller(context, "RevokeKey")
        author = self._author(caller)
        revoked = await self._repo.revoke_key(request.key_id, lambda key: check_owner(key, caller), author=author)
        self._following.wake()
        return account_pb2.RevokeKeyResponse(key=key_to_message(revoked, now_ns=author.at_ns))

    async def WatchKeys(  # type: ignore[override]  # noqa: N802 - bytes: see `service`
        self, request: account_pb2.WatchKeysRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """See account_service.proto. Yields serialised responses."""
        _caller(context, "WatchKeys")
        async for data in self._watching.stream(request.resume_version):
            yield data

    async def CreateUdpSession(  # noqa: N802 - named by the contract
        self, request: account_pb2.CreateUdpSessionRequest, context: Context
    ) -> account_pb2.CreateUdpSessionResponse:
        """See account_service.proto."""
        return await self._sessions.open(_caller(context, "CreateUdpSession"))

    def _author(self, caller: Principal) -> Author:
        return Author(self._clock.unix_ns() // 1_000 * 1_000, caller.key_id)


def service(servicer: AccountServicer) -> Service:
    """The servicer as a server takes it: WatchKeys answers in bytes."""
    return Service(
        descriptor=DESCRIPTOR,
        add=lambda server: account_service_pb2_grpc.add_AccountServiceServicer_to_server(servicer, server),
        raw_responses=frozenset({"WatchKeys"}),
    )


def _caller(context: Context, method: str) -> Principal:
    """Who asks. Raises TrinityError where nobody does, or MISSING_SCOPE by the contract's scopes of the method."""
    principal = principal_of(context)
    for scope in _SCOPES[method]:
        require(principal, scope)
    return principal


def _whose(caller: Principal, associate: str) -> str:
    """An associate that the caller may look into. Raises UNKNOWN_ASSOCIATE for one that is another's."""
    if associate != caller.associate and not caller.holds(ADMIN):
        raise unknown_associate(associate)
    return associate


def _raise_unless_taken(error: TrinityError, attempt: int) -> None:
    """Let a key be minted again whose id is taken, by a chance of one in a great many."""
    if error.reason is not Reason.ALREADY_EXISTS or attempt == _MINTS_MAX:
        raise error
