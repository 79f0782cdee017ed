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
    responses: dict[str, jsonschema_rs.Validator]

    def check(self, response: httpx.Response) -> None:
        """Raises unless a response is a success as documented.

        The generated client must not see any other: it fails at a status that Python does not know, such as 466.
        """
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
                responses={status: validator(document, response) for status, response in operation["responses"].items()},
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


def validator(document: Any, response: dict[str, Any]) -> jsonschema_rs.Validator:
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    schema = response["content"]["application/json"]["schema"]
    # Without the mask, an error would show the tokens in a response.
    return jsonschema_rs.validator_for(schema | {"components": document["components"]}, mask="it")
