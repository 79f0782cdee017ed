#!/usr/bin/env bash
# openapi-python-client 0.29.1: an operation whose request is an image is left out of the client with a warning, and the generator ends
# with 0. A build that does not read the warnings loses the operation. `--fail-on-warning` makes it end with 1.
#
# Seen: `send_bytes` is generated and `send_image` is not; 0, and 1 with the option.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check openapi-python-client==0.29.1
cat > files.yaml <<'END_OF_DOCUMENT'
openapi: 3.0.3
info: {title: Files, version: '1'}
paths:
  /image:
    post:
      operationId: send_image
      tags: [files]
      requestBody: {required: true, content: {image/png: {schema: {type: string, format: binary}}}}
      responses: {'204': {description: It is stored.}}
  /bytes:
    post:
      operationId: send_bytes
      tags: [files]
      requestBody: {required: true, content: {application/octet-stream: {schema: {type: string, format: binary}}}}
      responses: {'204': {description: It is stored.}}
END_OF_DOCUMENT
generate() {
  PATH="$folder/venv/bin:$PATH" openapi-python-client generate --path files.yaml --output-path out --meta none --overwrite "$@" > log 2>&1
}
with_warnings=0; generate || with_warnings=$?
strictly=0; generate --fail-on-warning || strictly=$?
seen="$(cd out/api/files && echo send_*.py): $with_warnings, $strictly"
echo "$seen"
[ "$seen" = 'send_bytes.py: 0, 1' ]
