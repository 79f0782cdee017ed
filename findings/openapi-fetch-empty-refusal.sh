#!/usr/bin/env bash
# openapi-fetch 0.17.0: a refusal without a body has neither `data` nor an `error` that is true, so that `if (error)` takes it for a success.
# Its README says that `error` is present if the response is a 4XX or 5XX. `response.ok` tells.
#
# Seen: `error` is undefined with `Content-Length: 0`, and an empty text without that header; `data` is undefined with both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund openapi-fetch@0.17.0
cat > refused.mjs <<'END_OF_SCRIPT'
import http from "node:http";
import createClient from "openapi-fetch";

const server = http.createServer(({ url }, response) => {
  response.writeHead(401, url === "/sized" ? { "Content-Length": 0 } : {});
  response.end();
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const client = createClient({ baseUrl: `http://127.0.0.1:${server.address().port}` });
for (const path of ["/sized", "/chunked"]) {
  const { data, error, response } = await client.GET(path);
  console.log(`${path}: ${response.status}, data ${data}, error ${JSON.stringify(error)}`);
}
process.exit();
END_OF_SCRIPT
seen=$(node refused.mjs)
echo "$seen"
[ "$seen" = '/sized: 401, data undefined, error undefined
/chunked: 401, data undefined, error ""' ]
