"""Holds answers against the document, for the types of the generated client check little at run time."""

import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
from ruamel.yaml import YAML


class Answers(httpx.Auth):
    """What the document says that each operation answers. By itself it authenticates nobody."""

    requires_response_body = True

    def __init__(self, file: Path) -> None:
        document = plain(YAML(typ="safe").load(file))
        self.routes: list[tuple[str, re.Pattern[str], dict[str, jsonschema_rs.Validator]]] = []
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if "operationId" in operation:
                    schemas = {
                        status: validator(document, answer) for status, answer in operation["responses"].items()
                    }
                    pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", path) + "$")
                    self.routes.append((method.upper(), pattern, schemas))

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self.check((yield request))

    def check(self, answer: httpx.Response) -> None:
        """Raises unless an answer is as the document says."""
        request = answer.request
        for method, path, schemas in self.routes:
            if method == request.method and path.search(request.url.path):
                family = f"{answer.status_code // 100}XX"
                schema = schemas.get(str(answer.status_code)) or schemas[family]
                return schema.validate(answer.json())
        raise LookupError(f"the document has no {request.method} {request.url.path}")


def plain(part: Any) -> Any:
    """The document with `nullable` said as JSON Schema says it."""
    if isinstance(part, list):
        return [plain(item) for item in part]
    if not isinstance(part, dict):
        return part
    part = {name: plain(value) for name, value in part.items()}
    return {"anyOf": [part, {"type": "null"}]} if part.get("nullable") is True else part


def validator(document: Any, answer: dict[str, Any]) -> jsonschema_rs.Validator:
    if "$ref" in answer:
        answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    schema = answer["content"]["application/json"]["schema"]
    # Without the mask, an error would show the tokens in an answer.
    return jsonschema_rs.validator_for(schema | {"components": document["components"]}, mask="it")
