"""What schemathesis cannot know: how to get in, and what the document says in words alone."""

import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
import schemathesis
from bunq import TOKEN, new_key, public_key_pem, sign
from document import Document
from schemathesis.transport.serialization import Binary
from urllib3.util import SKIP_HEADER

BASE_URL = os.environ["BUNQ_BASE_URL"]
API_KEY = os.environ["BUNQ_API_KEY"]


class Access:
    """An installation with a device and a session."""

    def __init__(self) -> None:
        self.key = new_key()
        installed = self.call("installation", {"client_public_key": public_key_pem(self.key)})
        self.installation_token = find(installed, "Token")["token"]
        self.call("device-server", {"description": "schemathesis", "secret": API_KEY}, self.installation_token)
        self.session_token, self.user_id = self.open_session(API_KEY, "UserCompany")

    def open_session(self, secret: str, kind: str) -> tuple[str, int]:
        opened = self.call("session-server", {"secret": secret}, self.installation_token)
        return str(find(opened, "Token")["token"]), int(find(opened, kind)["id"])

    def provisions(self) -> Iterator[int]:
        """The ids of those in use, each once: so it can still be closed or reset."""
        page = first = "partner-user-provision?status=ACTIVE&count=200"
        while items := self.call(page, None, self.session_token):
            ids = [item["PartnerUserProvision"]["id"] for item in items]
            yield from ids
            page = f"{first}&older_id={ids[-1]}"

    def id_of(self, path: str, name: str, body: dict[str, Any] | None = None) -> int:
        """The id of the first item, or of what the body makes."""
        return int(find(self.call(path, body, self.session_token), name)["id"])

    def call(self, path: str, body: Any, token: str | None = None, content_type: str = "application/json") -> Any:
        headers = {"Cache-Control": "no-cache", "Content-Type": content_type} | ({TOKEN: token} if token else {})
        method, signed = "GET" if body is None else "POST", Signed(self)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        response = requests.request(method, f"{BASE_URL}/{path}", data=data, headers=headers, auth=signed, timeout=10)
        response.raise_for_status()
        return response.json()["Response"]


class Signed(requests.auth.AuthBase):
    """Gives each request an id of its own, and signs the bytes that are sent."""

    def __init__(self, access: Access, case: schemathesis.Case | None = None) -> None:
        self.access = access
        # The HTTP library would put on a header that was left out on purpose.
        self.is_anonymous = case is not None and "User-Agent" not in (case.headers or {})

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["X-Bunq-Client-Request-Id"] = str(uuid.uuid4())
        if self.is_anonymous:
            request.headers["User-Agent"] = SKIP_HEADER
        if TOKEN in request.headers:
            body = request.body.encode() if isinstance(request.body, str) else request.body or b""
            request.headers["X-Bunq-Client-Signature"] = sign(self.access.key, body)
        return request


class User:
    """The user of the seed, with a session under the partner's installation."""

    def __init__(self, access: Access) -> None:
        self.access = access
        found = access.call(f"partner-user-provision?external_uuid={os.environ['SEEDED_USER']}", None, access.session_token)
        token_value = str(find(found, "PartnerUserProvision")["credential"]["token_value"])
        self.session_token, self.user_id = access.open_session(token_value, "UserApiKey")

    def make(self, path: str, body: Any, content_type: str = "application/json") -> int:
        made = self.access.call(f"user/{self.user_id}/{path}", body, self.session_token, content_type)
        return int(find(made, "Id")["id"])

    def inquiries(self) -> Iterator[tuple[int, int]]:
        """The ids of those that wait for an answer, and of the first entry of each, each once."""
        path = f"user/{self.user_id}/user-information-inquiry"
        page = first = f"{path}?status=EXPECTING_REPLY_FROM_USER&count=200"
        while items := self.access.call(page, None, self.session_token):
            inquiries = [item["UserInformationInquiry"] for item in items]
            for each in inquiries:
                yield each["id"], each["all_entry"][0]["UserInformationInquiryEntry"]["id"]
            page = f"{first}&older_id={inquiries[-1]['id']}"


def find(items: list[dict[str, Any]], name: str) -> Any:
    return next(item[name] for item in items if item.get(name))


DOCUMENT = Document(Path(os.environ["BUNQ_OPENAPI"]) / "bunq-partner.yaml")
FILES = list(DOCUMENT.named("create_attachment").content_types["x-bunq-files"].items())
ACCESS = Access()
PROVISIONS = ACCESS.provisions()
USER = User(ACCESS)
ENTRIES = dict(USER.inquiries())
INQUIRIES = iter(ENTRIES)
ATTACHMENT = USER.make("attachment", bytes.fromhex(FILES[0][1]), FILES[0][0])
PARTNER = f"user/{ACCESS.user_id}"
CLIENTS = f"{PARTNER}/oauth-client"
CREDENTIALS = f"{PARTNER}/credential-password-ip"
CREDENTIAL = ACCESS.id_of(CREDENTIALS, "CredentialPasswordIp")
CHAIN = {"certificate_chain": [{"certificate": "-----BEGIN CERTIFICATE-----\nTm90IGEgcmVhbCBvbmU=\n-----END CERTIFICATE-----"}]}

# What each id in a path can be, given those before it. What a call may end is made for the call.
IDS: dict[str, Callable[[dict[str, Any]], int]] = {
    "user_id": lambda path: ACCESS.user_id,
    "provision_id": lambda path: next(PROVISIONS),
    "installation_id": lambda path: ACCESS.id_of("installation", "Id"),
    "device_server_id": lambda path: ACCESS.id_of("device-server", "DeviceServer"),
    "credential_id": lambda path: CREDENTIAL,
    "credential_ip_id": lambda path: ACCESS.id_of(f"{CREDENTIALS}/{CREDENTIAL}/ip", "Id", {"ip": "192.0.2.1"}),
    "oauth_client_id": lambda path: ACCESS.id_of(CLIENTS, "Id", {}),
    "oauth_callback_url_id": lambda path: ACCESS.id_of(
        f"{CLIENTS}/{path['oauth_client_id']}/callback-url", "Id", {"url": "https://partner.example.com/callback"}
    ),
    "certificate_pinned_id": lambda path: ACCESS.id_of(f"{PARTNER}/certificate-pinned", "Id", CHAIN),
    "user_onboarding_id": lambda path: USER.make("user-onboarding", {"type": "PARTNER_USER"}),
    "identity_verification_session_id": lambda path: USER.make(
        "identity-verification-session", {"purpose": "VERIFICATION", "provider": "INCODE"}
    ),
    "user_information_inquiry_id": lambda path: next(INQUIRIES),
    "user_information_inquiry_entry_id": lambda path: ENTRIES[path["user_information_inquiry_id"]],
}


@schemathesis.auth(refresh_interval=None)
class Tokens:
    """The token that an operation needs. What ends its session has one of its own."""

    def get(self, case: schemathesis.Case, context: schemathesis.AuthContext) -> str:
        policy = case.operation.definition.raw["x-bunq-auth"]
        if policy == "installation":
            return ACCESS.installation_token
        if is_users(case):
            return USER.session_token
        ends_session = case.operation.method == "delete"
        return ACCESS.open_session(API_KEY, "UserCompany")[0] if ends_session else ACCESS.session_token

    def set(self, case: schemathesis.Case, data: str, context: schemathesis.AuthContext) -> None:
        case.headers[TOKEN] = data


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    if isinstance(case.body, dict):
        case.body = meaningful(case.body)
    if isinstance(case.body, Binary):
        content_type, file = FILES[len(case.body.data) % len(FILES)]
        case.body, case.headers["Content-Type"] = bytes.fromhex(file), content_type
    path = dict(case.path_parameters or {})
    # Where requests follow each other, the objects are those of the one before.
    is_linked = case.meta is not None and case.meta.phase.name == "stateful"
    if all(is_id(value) for value in path.values()):
        for name in IDS:
            if name in path and (name == "user_id" or not is_linked):
                path[name] = USER.user_id if name == "user_id" and is_users(case) else IDS[name](path)
        case.path_parameters = path
    if case.meta and case.meta.generation.mode.is_positive and "older_id" in (case.query or {}):
        case.query = {name: value for name, value in case.query.items() if name != "newer_id"}
    kwargs["auth"] = Signed(ACCESS, case)


def is_users(case: schemathesis.Case) -> bool:
    """Whether the operation takes the session of a user."""
    return bool(case.operation.definition.raw.get("x-bunq-user") == "user")


def meaningful(body: dict[str, Any]) -> dict[str, Any]:
    """The body with what has the right form replaced by what means something; what is wrong stays wrong."""
    body = dict(body)
    real = {"client_public_key": public_key_pem(ACCESS.key), "secret": API_KEY}
    for name, value in real.items():
        if isinstance(body.get(name), str):
            body[name] = value
    addresses = body.get("permitted_ips")
    if isinstance(addresses, list) and all(DOCUMENT.takes("PermittedIp", address) for address in addresses):
        # bunq takes a device only from an address that it may be used from.
        body["permitted_ips"] = ["127.0.0.1"]
    for name in ("document_attachment_id", "document_back_attachment_id"):
        if is_id(body.get(name)):
            body[name] = ATTACHMENT
    attachments = body.get("all_attachment_id")
    if isinstance(attachments, list) and all(is_id(each) for each in attachments):
        body["all_attachment_id"] = [ATTACHMENT for _ in attachments]
    filters = body.get("notification_filters")
    if isinstance(filters, list) and DOCUMENT.takes("ReplaceNotificationFiltersRequest", body):
        # A category has two targets at most.
        body["notification_filters"] = [each | {"category": f"{i} {each['category']}"} for i, each in enumerate(filters)]
    if is_uuid(body.get("external_uuid")):
        body["external_uuid"] = str(uuid.uuid4())
    if is_list_of_text(body.get("products")) and "USER_ANONYMOUS_TRANSACTION_AUDIT" in body["products"]:
        body = {"date_of_birth": "1990-01-31", "country_of_residence": "NL"} | body
    if body.get("user_verified_type") == "PARTNER_USER_COMPANY":
        if is_id(body.get("director_relation_provision_id", 1)):
            body["director_relation_provision_id"] = next(PROVISIONS)
    pointer = body.get("pointer")
    if pointer is not None and DOCUMENT.takes("Pointer", pointer):
        value = "user@example.com" if pointer["type"] == "EMAIL" else "+31600000000"
        body["pointer"] = pointer | {"value": value}
    return body


def is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and len(value) == 36 and bool(uuid.UUID(value))
    except ValueError:
        return False
