"""Whom each RPC is for, and every way to name another's thing in it: one row an RPC.

`test_tenant_matrix.py` compares the rows with the descriptor set: an RPC without a row, and a field that names
somebody's thing without a question that sets it, fail there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from account.tenant_things import Admins, Ask, Commons, Meshs, Own, Row
from account.tenant_webhooks import WEBHOOK_ROWS
from trinity.account.v1 import account_pb2 as account
from trinity.feed.v1 import feed_pb2 as feed
from trinity.price.v1 import price_pb2 as price
from trinity.report.v1 import report_pb2 as report
from trinity.usage.v1 import usage_pb2 as usage


def _reports(make: Callable[..., Any], **more: Any) -> dict[str, Ask]:
    """How a report may be asked for what is another's."""
    return {
        "associate": lambda _, whose: make(associate=whose.associate, **more),
        "key": lambda _, whose: make(key_ids=[whose.key_id], **more),
        "key beside one's own": lambda own, whose: make(key_ids=sorted({own.key_id, whose.key_id}), **more),
        "key under one's own associate": lambda own, whose: make(
            associate=own.associate, key_ids=[whose.key_id], **more
        ),
        "ended key": lambda _, whose: make(key_ids=[whose.key_id, whose.revoked], **more),
        "both": lambda _, whose: make(associate=whose.associate, key_ids=[whose.key_id], **more),
    }


_BY_KEY = [report.GROUP_BY_KEY]

ROWS: Mapping[str, Row] = {
    "AccountService.CreateAssociate": Admins(
        lambda own: account.CreateAssociateRequest(associate=account.Associate(associate="newone", plan=own.plan))
    ),
    "AccountService.GetAssociate": Own({"id": lambda _, whose: account.GetAssociateRequest(associate=whose.associate)}),
    "AccountService.ListAssociates": Admins(lambda _: account.ListAssociatesRequest()),
    "AccountService.UpdateAssociate": Admins(
        lambda own: account.UpdateAssociateRequest(
            associate=account.Associate(associate=own.associate, name="renamed", plan=own.plan),
            update_mask=FieldMask(paths=["name"]),
        )
    ),
    "AccountService.CreatePlan": Admins(
        lambda _: account.CreatePlanRequest(plan=account.Plan(plan="newone", rate_per_s=1, burst=1))
    ),
    "AccountService.GetPlan": Own({"id": lambda _, whose: account.GetPlanRequest(plan=whose.plan)}),
    "AccountService.ListPlans": Admins(lambda _: account.ListPlansRequest()),
    "AccountService.UpdatePlan": Admins(
        lambda own: account.UpdatePlanRequest(
            plan=account.Plan(plan=own.plan, rate_per_s=9_999_999, burst=1), update_mask=FieldMask(paths=["rate_per_s"])
        )
    ),
    "AccountService.CreateKey": Own(
        {"associate": lambda _, whose: account.CreateKeyRequest(associate=whose.associate, scopes=["keys.manage"])},
        unnamed=(account.CreateKeyRequest(scopes=["keys.manage"]),),
    ),
    "AccountService.ListKeys": Own(
        {
            "associate": lambda _, whose: account.ListKeysRequest(associate=whose.associate),
            "token": lambda _, whose: account.ListKeysRequest(page_token=whose.tokens["ListKeys"], page_size=1),
            "token and associate": lambda own, whose: account.ListKeysRequest(
                page_token=whose.tokens["ListKeys"], page_size=1, associate=own.associate
            ),
        },
        unnamed=(account.ListKeysRequest(), account.ListKeysRequest(page_size=1_000)),
    ),
    "AccountService.RotateKey": Own(
        {
            "id": lambda _, whose: account.RotateKeyRequest(key_id=whose.to_rotate),
            "ended": lambda _, whose: account.RotateKeyRequest(key_id=whose.revoked),
        },
        own_reason={"ended": "KEY_NOT_ACTIVE"},
    ),
    "AccountService.RevokeKey": Own(
        {
            "id": lambda _, whose: account.RevokeKeyRequest(key_id=whose.to_revoke),
            "ended": lambda _, whose: account.RevokeKeyRequest(key_id=whose.revoked),
        }
    ),
    "AccountService.WatchKeys": Meshs(lambda _: account.WatchKeysRequest()),
    "AccountService.CreateUdpSession": Own({}, unnamed=(account.CreateUdpSessionRequest(),)),
    "UsageService.RecordUsage": Meshs(
        lambda own: usage.RecordUsageRequest(
            incarnation="forged-00000000",
            counters=[
                usage.Counter(
                    key_id=own.key_id,
                    hour_unix=3_600,
                    transport=account.TRANSPORT_HTTP,
                    method="GetPrice",
                    outcome=usage.OUTCOME_LOCAL,
                    count=1_000_000,
                )
            ],
        )
    ),
    "UsageService.LeaseQuota": Meshs(
        lambda own: usage.LeaseQuotaRequest(holder="forged", key_id=own.key_id, wanted=1_000_000)
    ),
    "UsageService.GetQuota": Own(
        {"associate": lambda _, whose: usage.GetQuotaRequest(associate=whose.associate)},
        unnamed=(usage.GetQuotaRequest(),),
    ),
    "ReportService.ListUsage": Own(
        {
            **_reports(report.ListUsageRequest),
            "token": lambda _, whose: report.ListUsageRequest(page_token=whose.tokens["ListUsage"], page_size=1),
            "token and associate": lambda own, whose: report.ListUsageRequest(
                page_token=whose.tokens["ListUsage"], page_size=1, associate=own.associate
            ),
        },
        unnamed=(report.ListUsageRequest(), report.ListUsageRequest(page_size=1_000, assets=["BTC"])),
    ),
    "ReportService.SummarizeUsage": Own(
        _reports(report.SummarizeUsageRequest, group_by=_BY_KEY),
        unnamed=(report.SummarizeUsageRequest(group_by=_BY_KEY),),
    ),
    "ReportService.ExportUsage": Own(
        _reports(report.ExportUsageRequest, format=report.FORMAT_CSV),
        unnamed=(report.ExportUsageRequest(), report.ExportUsageRequest(format=report.FORMAT_CSV)),
    ),
    "PriceService.GetPrice": Commons(price.GetPriceRequest(asset="BTC")),
    "PriceService.BatchGetPrices": Commons(price.BatchGetPricesRequest(assets=["BTC"])),
    "PriceService.WatchPrices": Commons(price.WatchPricesRequest(assets=["BTC"])),
    "PriceService.ListAssets": Commons(price.ListAssetsRequest()),
    "PriceService.ExplainPrice": Commons(price.ExplainPriceRequest(asset="BTC")),
    "FeedService.StreamTicks": Commons(feed.StreamTicksRequest()),
    "FeedService.FetchQuote": Commons(feed.FetchQuoteRequest(asset="BTC", venue="kraken")),
    "FeedService.ListVenues": Commons(feed.ListVenuesRequest()),
    **WEBHOOK_ROWS,
}
"""By "Service.Method"."""
