"""What the client that openapi-python-client makes of the document lacks: bunq's signatures and headers."""

import base64
import binascii
import json
import uuid
from collections.abc import Generator, Iterable

import httpx
from answers import Answers
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

SIGNATURE = "X-Bunq-Server-Signature"


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_key_pem(key: rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign(key: rsa.RSAPrivateKey, body: bytes) -> str:
    return base64.b64encode(key.sign(body, PKCS1v15(), SHA256())).decode()


def verifies(public_key_pem: str, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> bool:
    """Whether an answer carries this key's signature, over its body or in the older form with the headers."""
    key = load_pem_public_key(public_key_pem.encode())
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("bunq's key is not RSA")
    named = [(name.title(), value) for name, value in headers]
    try:
        signature = base64.b64decode(dict(named).get(SIGNATURE, ""), validate=True)
    except binascii.Error:
        return False
    signed = sorted(f"{name}: {value}\n" for name, value in named if name.startswith("X-Bunq-") and name != SIGNATURE)
    older = f"{status}\n{''.join(signed)}\n".encode() + body
    for message in (body, older):
        try:
            key.verify(signature, message, PKCS1v15(), SHA256())
            return True
        except InvalidSignature:
            continue
    return False


class BunqAuth(httpx.Auth):
    """Signs what goes out, and verifies and checks what comes in, over the bytes that are on the wire."""

    requires_request_body = True
    requires_response_body = True

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.key = new_key()
        self.server_key: str | None = None
        self.verified = 0
        self.last_answer: httpx.Response | None = None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["X-Bunq-Client-Request-Id"] = str(uuid.uuid4())
        # The generated client repeats the parameter, which bunq does not understand.
        if statuses := request.url.params.get_list("status"):
            request.url = request.url.copy_set_param("status", ",".join(statuses))
        if request.content and self.server_key:
            request.headers["X-Bunq-Client-Signature"] = sign(self.key, request.content)
        answer = yield request
        if answer.is_success:
            # The first answer brings the key that it is verified with.
            key = self.server_key or introduced_key(answer.content)
            if not verifies(key, answer.status_code, answer.headers.items(), answer.content):
                raise ValueError("an answer is not bunq's")
            self.server_key, self.last_answer = key, answer
            self.verified += 1
        # Not before it is known who says it.
        self.answers.check(answer)


def introduced_key(body: bytes) -> str:
    items = json.loads(body)["Response"]
    return next(str(item["ServerPublicKey"]["server_public_key"]) for item in items if "ServerPublicKey" in item)
