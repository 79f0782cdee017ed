"""What the document says at run time: which token an operation takes, and what its responses are."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
from ruamel.yaml import YAML


class BunqError(Exception):
    """A response that is no success, or cannot be used. Its message holds nothing of the body but bunq's own words."""

    def __init__(self, operation: str, response: httpx.Response, problem: str, error: Any = None) -> None:
        self.status = response.status_code
        self.response_id = response.headers.get("X-Bunq-Client-Response-Id")
        # What bunq says; None where it is not known to be bunq that says it.
        self.response = error
        super().__init__(f"{operation}: {self.status}: {problem} (response id {self.response_id or 'unknown'})")


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: re.Pattern[str]
    auth: str
    # What a success response is, beside an item of the envelope.
    result: Any
    # Of an operation that sends or returns a file: `x-bunq-first-bytes` has what a file of each content type can begin with, and
    # `x-bunq-files` a whole one, in hexadecimal.
    content_types: dict[str, Any]
    responses: dict[str, jsonschema_rs.Validator]

    def content_type(self, file: bytes) -> str:
        """The content type of a file that the operation takes, by the bytes that it begins with."""
        for content_type, beginnings in self.content_types["x-bunq-first-bytes"].items():
            if any(file.startswith(bytes.fromhex(beginning)) for beginning in beginnings):
                return str(content_type)
        raise ValueError(f"{self.id}: the file begins as none of those that it takes")

    def check(self, response: httpx.Response) -> None:
        """Raises unless a response is a success as documented.

        The generated client must not see any other: it fails at a status that Python does not know, such as 466.
        """
        if response.is_success and self.result == "bytes":
            return
        status = str(response.status_code)
        schema = self.responses.get(status if response.is_success else f"{status[0]}XX")
        try:
            body = response.json()
            if schema is None:
                raise ValueError("it is not documented")
            schema.validate(body)
        except ValueError as problem:
            reason = "the response cannot be used" if response.is_success else "not in bunq's form"
            raise BunqError(self.id, response, f"{reason}: {str(problem).splitlines()[0]}") from None
        if not response.is_success:
            said = "; ".join(item.get("error_description") or "" for item in body["Error"])
            raise BunqError(self.id, response, said, body)


class Document:
    """The document's operations and schemas."""

    def __init__(self, file: Path) -> None:
        document = plain(YAML(typ="safe").load(file))
        self.components = document["components"]
        # The schema of what bunq sends by itself, by the name of the callback.
        self.callbacks: dict[str, str] = {
            name: call["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            for item in document["paths"].values()
            for operation in item.values()
            if "operationId" in operation
            for name, calls in operation.get("callbacks", {}).items()
            for call in calls.values()
        }
        self.operations = [
            Operation(
                id=operation["operationId"],
                method=method.upper(),
                path=re.compile(re.sub(r"\{\w+\}", "[^/]+", path) + "$"),
                auth=operation["x-bunq-auth"],
                result=operation["x-bunq-result"],
                content_types=referenced(document, operation.get("x-bunq-content-type", {})),
                responses={
                    status: validator(document, content["application/json"])
                    for status, response in operation["responses"].items()
                    # A file has no schema.
                    if "application/json" in (content := referenced(document, response)["content"])
                },
            )
            for path, item in document["paths"].items()
            for method, operation in item.items()
            if "operationId" in operation
        ]

    def named(self, id: str) -> Operation:
        return next(operation for operation in self.operations if operation.id == id)

    def operation(self, request: httpx.Request) -> Operation:
        for operation in self.operations:
            if operation.method == request.method and operation.path.search(request.url.path):
                return operation
        raise LookupError(f"the document has no {request.method} {request.url.path}")

    def takes(self, schema: str, value: Any) -> bool:
        """Whether the schema of that name takes a value."""
        named = {"$ref": f"#/components/schemas/{schema}", "components": self.components}
        return jsonschema_rs.validator_for(named).is_valid(value)


def plain(part: Any) -> Any:
    """The document with `nullable` said as JSON Schema says it."""
    if isinstance(part, list):
        return [plain(item) for item in part]
    if not isinstance(part, dict):
        return part
    part = {name: plain(value) for name, value in part.items()}
    return {"anyOf": [part, {"type": "null"}]} if part.get("nullable") is True else part


def referenced(document: Any, part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, or what it refers to."""
    if "$ref" not in part:
        return part
    _, kind, name = part["$ref"].rsplit("/", 2)
    found: dict[str, Any] = document["components"][kind][name]
    return found


def validator(document: Any, media: dict[str, Any]) -> jsonschema_rs.Validator:
    # Without the mask, an error would show the tokens in a response.
    return jsonschema_rs.validator_for(media["schema"] | {"components": document["components"]}, mask="it")
