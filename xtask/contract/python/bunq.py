"""What the client that openapi-python-client makes of the document lacks: bunq's tokens, headers and signatures."""

import base64
import binascii
import json
import uuid
from collections.abc import Generator, Iterable

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from document import Document

TOKEN = "X-Bunq-Client-Authentication"
SIGNATURE = b"X-Bunq-Server-Signature"


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_key_pem(key: rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign(key: rsa.RSAPrivateKey, body: bytes) -> str:
    return base64.b64encode(key.sign(body, PKCS1v15(), SHA256())).decode()


def bunqs_key(pem: str) -> rsa.RSAPublicKey:
    """bunq's public key. The library also reads keys that are too short, and takes those for PSS as if they were for any padding."""
    key = load_pem_public_key(pem.encode())
    if not isinstance(key, rsa.RSAPublicKey) or not 2048 <= key.key_size <= 8192:
        raise ValueError("bunq's key is not RSA of 2048 to 8192 bits")
    forms = (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1)
    if pem.strip().encode() not in (key.public_bytes(Encoding.PEM, form).strip() for form in forms):
        raise ValueError("bunq's key is not for PKCS#1 v1.5 padding")
    return key


def verifies(public_key_pem: str, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
    """Whether a response carries this key's signature, over its body or in the older form with the headers."""
    key = bunqs_key(public_key_pem)
    named = {canonical(name): value for name, value in headers}
    try:
        signature = base64.b64decode(named.pop(SIGNATURE, b""), validate=True)
    except binascii.Error:
        return False
    signed = b"".join(b"%b: %b\n" % (name, named[name]) for name in sorted(named) if name.startswith(b"X-Bunq-"))
    older = b"%d\n%b\n%b" % (status, signed, body)
    for message in (body, older):
        try:
            key.verify(signature, message, PKCS1v15(), SHA256())
            return True
        except InvalidSignature:
            continue
    return False


def canonical(name: bytes) -> bytes:
    return b"-".join(word.capitalize() for word in name.split(b"-"))


class BunqAuth(httpx.Auth):
    """Signs what goes out, and verifies and checks what comes in, over the bytes that are on the wire.

    It keeps no rate limit, repeats nothing and renews no session.
    """

    requires_request_body = True
    requires_response_body = True

    def __init__(self, document: Document) -> None:
        self.document = document
        self.key = new_key()
        self.tokens: dict[str, str] = {}
        self.server_key: str | None = None
        self.verified = 0
        self.last_answer: httpx.Response | None = None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        operation = self.document.operation(request)
        request.headers["X-Bunq-Client-Request-Id"] = str(uuid.uuid4())
        # What is signed is what comes, and not what it was packed from.
        request.headers["Accept-Encoding"] = "identity"
        # The generated client repeats the parameter, which bunq does not understand.
        if statuses := request.url.params.get_list("status"):
            request.url = request.url.copy_set_param("status", ",".join(statuses))
        # The generated client puts an empty one on.
        request.headers.pop(TOKEN, None)
        if operation.auth != "none":
            request.headers[TOKEN] = self.tokens[operation.auth]
            # The generated client says that every file is `application/octet-stream`.
            if operation.content_types and "Content-Type" in request.headers:
                request.headers["Content-Type"] = operation.content_type(request.content)
            if request.content:
                request.headers["X-Bunq-Client-Signature"] = sign(self.key, request.content)
        response = yield request
        if response.is_success:
            if self.server_key is None:
                # The first response brings the key that it is verified with, so it has to be read before.
                operation.check(response)
            key = self.server_key or introduced_key(response.content)
            if not verifies(key, response.status_code, response.headers.raw, response.content):
                raise ValueError("a response is not bunq's")
            self.server_key, self.last_answer = key, response
            self.verified += 1
        operation.check(response)


def introduced_key(body: bytes) -> str:
    for item in json.loads(body)["Response"]:
        if key := item.get("ServerPublicKey"):
            return str(key["server_public_key"])
    raise ValueError("the installation brings no key")
