#!/usr/bin/env bash
# Prism 5.16.0 (@stoplight/prism-cli): numbers of `format: int64` above 2^53 are refused by the mock, and changed by the proxy. The proxy
# writes the JSON of both directions anew, so that no signature over the bytes holds.
#
# Seen: the mock refuses 9007199254740993, which is valid, with 422; through the proxy the server receives 9007199254740992 in the
# body, without the space that was sent, and so does the client.
set -euo pipefail
folder=$(mktemp -d)
processes=()
trap 'kill "${processes[@]}" 2> /dev/null; rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund @stoplight/prism-cli@5.16.0
cat > things.yaml <<'END_OF_DOCUMENT'
openapi: 3.0.3
info: {title: Things, version: '1'}
paths:
  /thing/{id}:
    put:
      operationId: update_thing
      parameters: [{name: id, in: path, required: true, schema: {type: integer, format: int64}}]
      requestBody: {required: true, content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}}}}
      responses: {'200': {description: The thing., content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}}}}}
components:
  schemas:
    Thing: {type: object, properties: {id: {type: integer, format: int64}}}
END_OF_DOCUMENT
cat > server.mjs <<'END_OF_SCRIPT'
import { writeFileSync } from "node:fs";
import http from "node:http";

const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (data) => (body += data)).on("end", () => {
    writeFileSync("received", body);
    response.writeHead(200, { "Content-Type": "application/json" }).end('{"id": 9007199254740993}');
  });
});
server.listen(0, "127.0.0.1", () => writeFileSync("port", String(server.address().port)));
END_OF_SCRIPT
await() { for _ in $(seq 600); do "$@" && return; sleep 0.1; done; echo "not in time: $*" >&2; return 1; }
free_port() { node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'; }
put() { curl --silent --request PUT --header 'Content-Type: application/json' --data "$2" --write-out ' %{http_code}' "$1"; }
node server.mjs & processes+=($!)
await test -s port
mock=$(free_port)
node_modules/.bin/prism mock --port "$mock" things.yaml > mock.log 2>&1 & processes+=($!)
await grep --quiet listening mock.log
proxy=$(free_port)
node_modules/.bin/prism proxy --port "$proxy" things.yaml "http://127.0.0.1:$(cat port)" > proxy.log 2>&1 & processes+=($!)
await grep --quiet listening proxy.log
seen="mock:$(put "http://127.0.0.1:$mock/thing/9007199254740993" '{"id": 1}' | grep --only-matching ' [0-9]*$')
proxy:$(put "http://127.0.0.1:$proxy/thing/1" '{"id": 9007199254740993}' | sed 's/^/ /')
server: $(cat received)"
echo "$seen"
[ "$seen" = 'mock: 422
proxy: {"id":9007199254740992} 200
server: {"id":9007199254740992}' ]
