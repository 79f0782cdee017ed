"""Proves the generated client: with the vectors, then from nothing to a closed provision.

Takes BUNQ_BASE_URL, BUNQ_API_KEY and BUNQ_OPENAPI, the folder of the document and the vectors. Prints each step that is done.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from io import BytesIO
from pathlib import Path
from pkgutil import walk_packages
from typing import Any, TypeVar
from uuid import uuid4

import httpx
from bunq import TOKEN, BunqAuth, bunqs_key, public_key_pem, sign, verifies
from bunq_partner import api, models
from bunq_partner.api.attachments import create_attachment, get_attachment, get_attachment_content
from bunq_partner.api.authentication import create_device_server, create_installation, create_session, delete_session
from bunq_partner.api.provisions import create_provision, get_provision, list_provisions, update_provision
from bunq_partner.client import AuthenticatedClient, Client
from bunq_partner.models import (
    DeviceServerRequest,
    ErrorResponse,
    InstallationRequest,
    ListProvisionsStatusItem,
    NewProvision,
    Provision,
    RequestedProduct,
    RequestedStatus,
    SessionServerRequest,
    UpdateProvisionRequest,
    UserVerifiedType,
)
from bunq_partner.types import File, Response, Unset
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from document import BunqError, Document

OPENAPI = Path(os.environ["BUNQ_OPENAPI"])

# bunq allows three reads in three seconds; the sandbox keeps no limit unless asked to.
PAUSE_SECONDS = 0.02
MOST_READS = 100

T = TypeVar("T")

# The document demands both in every request.
HEADERS: Any = {"cache_control": "no-cache", "user_agent": "bunq-partner-contract/1.0"}

# No text has all of them.
ALL_BYTES = bytes(range(256))

CLOSE = UpdateProvisionRequest(status=RequestedStatus.CANCELLED)

# The module that is generated of each operation, in a package for its tag.
GENERATED = {name.rpartition(".")[2]: name for _, name, _ in walk_packages(api.__path__, "bunq_partner.api.")}


def done(step: str, detail: object) -> None:
    print(f"{step}: {detail}", flush=True)


def data(response: Response[T | ErrorResponse]) -> T:
    """The success response: for all else there was a BunqError."""
    if response.parsed is None or isinstance(response.parsed, ErrorResponse):
        raise RuntimeError(f"{response.status_code}: the response is empty")
    return response.parsed


def first(found: Iterable[T | Unset | None]) -> T:
    """The first that is there, wherever it stands."""
    for item in found:
        if item is not None and not isinstance(item, Unset):
            return item
    raise LookupError("the response lacks what was asked for")


def prove_by_vectors(document: Document) -> None:
    signing = cases("signing.json")
    for case in signing:
        key = load_pem_private_key(case["private_key_pem"].encode(), None)
        assert isinstance(key, RSAPrivateKey), case["name"]
        if sign(key, case["body"].encode()) != case["signature"]:
            raise ValueError(f"signing: {case['name']}")
    verifying = cases("verifying.json")
    for case in verifying:
        headers = [(name.encode(), value.encode()) for name, value in case["headers"]]
        believed = verifies(case["public_key_pem"], case["status"], headers, case["body"].encode())
        if believed != case["valid"]:
            raise ValueError(f"verifying: {case['name']}")
    keys = cases("keys.json")
    for case in keys:
        if is_usable(case["public_key_pem"]) != case["usable"]:
            raise ValueError(f"keys: {case['name']}")
    texts = cases("texts.json")
    for case in texts:
        if document.takes(case["schema"], case["text"]) != case["valid"]:
            raise ValueError(f"texts: {case['name']}")
    decoding = cases("decoding.json")
    # This client validates each response as it is. One that reads odd values as absent has to take them out before.
    for case in (case for case in decoding if not case.get("lenient", False)):
        shown = decoded(case, document)
        if "bytes" in case and shown != case["bytes"]:
            raise ValueError(f"decoding: {case['name']}: the bytes are others")
        if (shown is None) != case.get("refuse", False):
            raise ValueError(f"decoding: {case['name']}")
        for pointer, expected in case.get("expect", {}).items():
            found = at(shown, pointer)
            if (found not in (None, [])) if expected is None else (found != expected):
                raise ValueError(f"decoding: {case['name']}: {pointer} is {found!r}")
    done("vectors", len(signing) + len(verifying) + len(keys) + len(texts) + len(decoding))


def is_usable(pem: str) -> bool:
    try:
        bunqs_key(pem)
    except ValueError:
        return False
    return True


def decoded(case: dict[str, Any], document: Document) -> Any:
    """What the generated client makes of a response, or of what bunq sends by itself, as JSON; None if it refuses it."""
    if "callback" in case:
        schema = document.callbacks[case["callback"]]
        if not document.takes(schema, case["body"]):
            return None
        return getattr(models, schema).from_dict(case["body"]).to_dict()
    operation = document.named(case["operation"])
    body = {"content": bytes.fromhex(case["bytes"])} if "bytes" in case else {"json": case["body"]}
    response = httpx.Response(case["status"], **body)
    try:
        operation.check(response)
    except BunqError as error:
        return error.response
    # The part of a generated call that reads a response, which is the same without its arguments.
    generated = import_module(GENERATED[operation.id])
    parsed = generated._parse_response(client=Client("http://bunq"), response=response)
    return parsed.payload.read().hex() if isinstance(parsed, File) else parsed.to_dict()


def at(value: Any, pointer: str) -> Any:
    """What a JSON pointer leads to, None if there is nothing."""
    for name in pointer.split("/")[1:]:
        value = value[int(name)] if isinstance(value, list) else (value or {}).get(name)
    return value


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((OPENAPI / "vectors" / name).read_text("utf-8"))["cases"]
    if not found:
        raise LookupError(f"{name} has no cases")
    return found


def client_of(base_url: str, **httpx_args: Any) -> AuthenticatedClient:
    """The generated client, which unless it is told waits for ever. Which token it sends, its `auth` says."""
    return AuthenticatedClient(
        base_url=base_url,
        token="",
        auth_header_name=TOKEN,
        timeout=httpx.Timeout(30),
        httpx_args=httpx_args,
    )


def authenticate(client: AuthenticatedClient, auth: BunqAuth) -> int:
    """Opens a session, and returns the id of its user."""
    secret = os.environ["BUNQ_API_KEY"]
    key = InstallationRequest(client_public_key=public_key_pem(auth.key))
    installed = data(create_installation.sync_detailed(client=client, body=key, **HEADERS))
    auth.tokens["installation"] = first(item.token for item in installed.response).token
    device = DeviceServerRequest(description="contract", secret=secret)
    data(create_device_server.sync_detailed(client=client, body=device, **HEADERS))
    opened = data(create_session.sync_detailed(client=client, body=SessionServerRequest(secret=secret), **HEADERS))
    auth.tokens["session"] = first(item.token for item in opened.response).token
    done("authenticate", f"session {first(item.id for item in opened.response).id}")
    return first(item.user_company.id for item in opened.response if item.user_company)


def exchange_files(client: AuthenticatedClient, document: Document, user_id: int) -> None:
    """Uploads a file of each content type, and downloads it again."""
    files = document.named("create_attachment").content_types["x-bunq-files"]
    for content_type, example in files.items():
        file = bytes.fromhex(example) + ALL_BYTES
        body, description = File(BytesIO(file)), "contract"
        uploaded = data(
            create_attachment.sync_detailed(
                user_id, client=client, body=body, x_bunq_attachment_description=description, **HEADERS
            )
        )
        id = first(item.id for item in uploaded.response).id
        described = data(get_attachment.sync_detailed(user_id, id, client=client, **HEADERS))
        attachment = first(item.attachment_user for item in described.response).attachment
        if not attachment or attachment.content_type != content_type:
            raise ValueError(f"{content_type} was taken for {attachment}")
        downloaded = get_attachment_content.sync_detailed(user_id, id, client=client, **HEADERS)
        if data(downloaded).payload.read() != file:
            raise ValueError(f"{content_type} came back as another file")
        if downloaded.headers["Content-Type"] != content_type:
            raise ValueError(f"{content_type} came back as {downloaded.headers['Content-Type']}")
    done("files", len(files))


def new_provision() -> NewProvision:
    return NewProvision(
        external_uuid=uuid4(),
        user_verified_type=UserVerifiedType.PARTNER_USER_PERSON,
        email="user@example.com",
        phone_number="+31600000000",
        products=[RequestedProduct.USER_VERIFIED],
    )


def create(client: AuthenticatedClient) -> int:
    new = new_provision()
    created = data(create_provision.sync_detailed(client=client, body=new, **HEADERS))
    # Both responses are documented: the id alone, or the whole provision.
    ids = [held.id for item in created.response for held in (item.id or item.partner_user_provision,) if held]
    if len(ids) != 1:
        raise LookupError("the creation does not response one id")
    id = ids[0]
    status = [ListProvisionsStatusItem.CREATED, ListProvisionsStatusItem.ACTIVE]
    listed = data(
        list_provisions.sync_detailed(client=client, status=status, external_uuid=new.external_uuid, **HEADERS)
    )
    if first(item.partner_user_provision for item in listed.response).id != id:
        raise ValueError("the list has another provision")
    done("create", f"provision {id}")
    return id


def follow(client: AuthenticatedClient, id: int, until: Callable[[Provision], bool]) -> str:
    changes: list[str] = []
    for _ in range(MOST_READS):
        response = data(get_provision.sync_detailed(client=client, provision_id=id, **HEADERS))
        seen = first(item.partner_user_provision for item in response.response)
        change = f"{seen.status}/{seen.sub_status}"
        if changes[-1:] != [change]:
            changes.append(change)
        if until(seen):
            return ", ".join(changes)
        if seen.status in ("FAILED", "CLOSED"):
            break
        time.sleep(PAUSE_SECONDS)
    raise RuntimeError(f"provision {id} did not get there: {', '.join(changes)}")


def is_ready(seen: Provision) -> bool:
    credential = seen.credential
    return credential is not None and credential.status == "PENDING_FIRST_USE" and credential.token_value is not None


def is_closed(seen: Provision) -> bool:
    return seen.status == "CLOSED" and seen.credential is None


def close(client: AuthenticatedClient, id: int) -> None:
    data(update_provision.sync_detailed(client=client, provision_id=id, body=CLOSE, **HEADERS))
    changes = follow(client, id, is_closed)
    data(delete_session.sync_detailed(client=client, session_id=0, **HEADERS))
    done("close", changes)


def prove_verification(auth: BunqAuth) -> None:
    response = auth.last_answer
    if response is None or auth.server_key is None:
        raise RuntimeError("nothing was verified")
    if verifies(auth.server_key, response.status_code, response.headers.raw, response.content + b" "):
        raise RuntimeError("a changed response passes")
    done("verify", auth.verified)


def main() -> None:
    document = Document(OPENAPI / "bunq-partner.yaml")
    prove_by_vectors(document)
    auth = BunqAuth(document)
    client = client_of(os.environ["BUNQ_BASE_URL"], auth=auth)
    user = authenticate(client, auth)
    exchange_files(client, document, user)
    id = create(client)
    done("follow", follow(client, id, is_ready))
    close(client, id)
    prove_verification(auth)


if __name__ == "__main__":
    main()
