#!/usr/bin/env python3
"""Prints a document with 44 operations more: 15 lists, 15 reads and 14 creations of objects that there are not.

    python3 more_operations.py DOCUMENT

An object has twelve members, and so has the request that creates one.
"""

import json
import sys
from pathlib import Path

OBJECTS = ["Account", "Alert", "Attachment", "Card", "Contact", "Contract", "Draft", "Export", "Invoice", "Limit", "Note",
           "Payment", "Request", "Schedule", "Statement"]
# The last one cannot be created.
CREATED = OBJECTS[:14]

UUID = "550e8400-e29b-41d4-a716-446655440000"


def ref(name, kind="schemas"):
    return {"$ref": f"#/components/{kind}/{name}"}


def described(schema, description, **more):
    return {**schema, "description": description, **more}


def text(description, **more):
    return described({"type": "string"}, description, **more)


def one_of(name, description):
    """A member of a request with the type `name`."""
    return {"description": description, "allOf": [ref(name)]}


def or_null(name, description, **more):
    """A member of a response with the type `name`."""
    return {"description": description, **more, "anyOf": [ref(name), {"type": "object", "nullable": True, "enum": [None]}]}


def values(keyword, description, *names):
    described_values = {name: f"It is {name.lower()}." for name in names}
    return text(description, **{keyword: list(names), "x-enum-descriptions": described_values})


def items(description, most, item, **more):
    return {"type": "array", "maxItems": most, "description": description, **more, "items": item}


def response_object(name):
    members = {
        "id": described({"type": "integer", "format": "int64"}, "Its id."),
        "created": or_null("Timestamp", "When it was created.", **{"x-bunq-lenient": True}),
        "updated": or_null("Timestamp", "When it was last changed.", **{"x-bunq-lenient": True}),
        "status": or_null(f"{name}Status", "How far it is."),
        "description": text("What it is for.", nullable=True),
        "amount": or_null("SyntheticAmount", "How much it is about."),
        "counterparty": or_null("LabelUser", "Who is at the other end.", **{"x-bunq-lenient": True}),
        "reference": text("The caller's own reference.", nullable=True),
        "external_uuid": text("The caller's own key.", nullable=True, format="uuid"),
        "due_date": or_null("Date", "The day by which it is due."),
        "item_count": described({"type": "integer", "format": "int64"}, "How many items it has.", nullable=True),
        "is_active": described({"type": "boolean"}, "Whether it is active.", nullable=True),
    }
    return {"type": "object", "description": f"An object of the kind {name}.", "required": ["id"], "properties": members}


def request_object(name):
    members = {
        "external_uuid": text("The caller's own key.", format="uuid"),
        "amount": one_of("SyntheticAmount", "How much it is about."),
        "kind": one_of(f"{name}Kind", "The kind."),
        "reference": one_of("SyntheticReference", "The caller's own reference."),
        "counterparty": one_of("Pointer", "Who is at the other end."),
        "due_date": one_of("Date", "The day by which it is due."),
        "country": one_of("CountryCode", "The country in which it is done."),
        "email": one_of("EmailAddress", "Where news of it go."),
        "item_count": described({"type": "integer", "format": "int64"}, "How many items it has."),
        "is_active": described({"type": "boolean"}, "Whether it is active."),
        "labels": items("Words to find it by.", 20, text("A word.")),
        "description": text("What it is for."),
    }
    required = ["external_uuid", "amount", "kind", "reference"]
    return {"type": "object", "description": f"A new {name}.", "required": required, "properties": members}


def operation(operation_id, summary, is_read, calls, result, response, example, parameters, request=None):
    headers = ["CacheControl", "UserAgent", "ClientRequestId", "Language", "Region", "Geolocation", "ClientSignature"]
    answered = {"X-Bunq-Client-Request-Id": "ClientRequestId", "X-Bunq-Client-Response-Id": "ClientResponseId",
                "X-Bunq-Server-Signature": "ServerSignature", "X-Bunq-Warning": "Warning"}

    def content(schema, example):
        examples = {"one": {"summary": "An example", "value": example}}
        return {"application/json": {"schema": ref(schema), "examples": examples}}

    body = {} if request is None else {
        "requestBody": {"description": "What is wanted.", "required": True, "content": content(*request)}}
    return {
        "operationId": operation_id,
        "tags": ["Provisions"],
        "summary": summary,
        "description": f"{summary}. There is no such operation at bunq.",
        "x-bunq-auth": "session",
        "x-bunq-idempotent": is_read,
        "x-bunq-rate-limit": {"calls": calls, "seconds": 3},
        "x-bunq-result": result,
        "security": [{"sessionToken": []}],
        "parameters": parameters + [ref(name, "parameters") for name in headers],
        **body,
        "responses": {
            "200": {
                "description": "What was asked for.",
                "headers": {name: ref(header, "headers") for name, header in answered.items()},
                "content": content(response, example),
            },
            "4XX": ref("ClientError", "responses"),
            "5XX": ref("ServerError", "responses"),
        },
    }


def parameter(name, where, description, schema):
    schema = schema or {"type": "integer", "format": "int64", "minimum": 1}
    return {"name": name, "in": where, "required": where == "path", "description": description, "schema": schema,
            "example": 5}


def additions():
    """What is added: after which line, with which indent, and each by its name."""
    paths = {}
    schemas = {
        "SyntheticAmount": {
            "type": "object",
            "description": "An amount of money.",
            "required": ["value", "currency"],
            "properties": {"value": text("The number, with two decimals."), "currency": text("The currency, as three letters.")},
        },
        "SyntheticReference": text("A reference of the caller's.", pattern="^[A-Z]{2}[0-9]{1,12}$",
                                   **{"x-bunq-rule": "a reference is two capital letters and up to twelve digits"}),
    }
    for object_ in OBJECTS:
        name, snake = f"Synthetic{object_}", f"synthetic_{object_.lower()}"
        path = f"/user/{{user_id}}/synthetic-{object_.lower()}"
        object_id = f"{snake}_id"
        user = parameter("user_id", "path", "The id of the user.", None)
        response = {"Response": [{name: {"id": 5, "status": "OPEN", "amount": {"value": "1.00", "currency": "EUR"}}}]}
        page = {**response, "Pagination": {"future_url": None, "newer_url": None, "older_url": None}}
        item = ref(f"{name}Item")
        paths[path] = {
            "get": operation(
                f"list_{snake}s", "List objects", True, 3, {"page": name}, f"{name}Page", page,
                [user,
                 parameter("count", "query", "The greatest number of objects on the page.", ref("PageSize")),
                 parameter("older_id", "query", "Only objects older than this one.", None),
                 parameter("newer_id", "query", "Only objects newer than this one.", None)]),
        }
        paths[f"{path}/{{{object_id}}}"] = {
            "get": operation(
                f"get_{snake}", "Read an object", True, 3, {"item": name, "repeats": {"id": object_id}},
                f"{name}Response", response, [user, parameter(object_id, "path", "The id of the object.", None)]),
        }
        schemas |= {
            name: response_object(name),
            f"{name}Status": values("x-extensible-enum", "How far it is.", "OPEN", "PENDING", "DONE", "REJECTED"),
            f"{name}Item": {"type": "object", "description": "One item of a response.",
                            "properties": {name: or_null(name, "The object.")}},
            f"{name}Response": {"type": "object", "description": "One object.", "required": ["Response"],
                                "properties": {"Response": items("The items.", 20, item)}},
            f"{name}Page": {"type": "object", "description": "A page of objects.", "required": ["Response", "Pagination"],
                            "properties": {"Response": items("The items.", 400, item),
                                           "Pagination": one_of("Pagination", "The neighbours of the page.")}},
        }
        if object_ in CREATED:
            new = {"external_uuid": UUID, "amount": {"value": "1.00", "currency": "EUR"}, "kind": "ONCE", "reference": "AB12"}
            paths[path]["post"] = operation(
                f"create_{snake}", "Create an object", False, 5, {"item": "Id"}, "IdResponse",
                {"Response": [{"Id": {"id": 5}}]}, [user], (f"New{name}", new))
            schemas |= {f"New{name}": request_object(name),
                        f"{name}Kind": values("enum", "The kind.", "ONCE", "DAILY", "MONTHLY")}
    return [("\npaths:\n", "  ", paths), ("\n  schemas:\n", "    ", schemas)]


def main():
    document = Path(sys.argv[1]).read_text()
    for after, indent, added in additions():
        before, found, rest = document.partition(after)
        if not found:
            sys.exit(f"the document has no {after!r}")
        # JSON is YAML.
        lines = "".join(f"{indent}{json.dumps(name)}: {json.dumps(value)}\n" for name, value in added.items())
        document = before + after + lines + rest
    print(document, end="")


main()
