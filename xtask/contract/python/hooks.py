"""What schemathesis cannot know: how to get in, and what the document says in words alone."""

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
        self.session_token, self.user_id = self.open_session()

    def open_session(self) -> tuple[str, int]:
        opened = self.call("session-server", {"secret": API_KEY}, self.installation_token)
        return str(find(opened, "Token")["token"]), int(find(opened, "UserCompany")["id"])

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

    def call(self, path: str, body: dict[str, Any] | None, token: str | None = None) -> Any:
        headers = {"Cache-Control": "no-cache"} | ({TOKEN: token} if token else {})
        method, signed = "GET" if body is None else "POST", Signed(self)
        response = requests.request(method, f"{BASE_URL}/{path}", json=body, headers=headers, auth=signed, timeout=10)
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


def find(items: list[dict[str, Any]], name: str) -> Any:
    return next(item[name] for item in items if item.get(name))


ACCESS = Access()
PROVISIONS = ACCESS.provisions()
USER = f"user/{ACCESS.user_id}"
CLIENTS = f"{USER}/oauth-client"
CREDENTIALS = f"{USER}/credential-password-ip"
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
    "certificate_pinned_id": lambda path: ACCESS.id_of(f"{USER}/certificate-pinned", "Id", CHAIN),
}


@schemathesis.auth(refresh_interval=None)
class Tokens:
    """The token that an operation needs. What ends its session has one of its own."""

    def get(self, case: schemathesis.Case, context: schemathesis.AuthContext) -> str:
        policy = case.operation.definition.raw["x-bunq-auth"]
        if policy == "installation":
            return ACCESS.installation_token
        return ACCESS.open_session()[0] if case.operation.method == "delete" else ACCESS.session_token

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
                path[name] = IDS[name](path)
        case.path_parameters = path
    if case.meta and case.meta.generation.mode.is_positive and "older_id" in (case.query or {}):
        case.query = {name: value for name, value in case.query.items() if name != "newer_id"}
    kwargs["auth"] = Signed(ACCESS, case)


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


DOCUMENT = Document(Path(os.environ["BUNQ_OPENAPI"]) / "bunq-partner.yaml")
FILES = list(DOCUMENT.named("create_attachment").content_types["x-bunq-files"].items())


def is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and len(value) == 36 and bool(uuid.UUID(value))
    except ValueError:
        return False
