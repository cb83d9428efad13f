#!/usr/bin/env bash
# The whole way over HTTP with curl, in both shapes: an endpoint and a deployment are made, invoked, watched, listed, and the
# rows fetched; then the same once more as clients of Azure ML batch endpoints do it.
#
#   batchmill coordinator start          (and a worker node that has joined)
#   examples/rest/walk.sh
#
# BATCHMILL_URL    where the coordinator serves HTTP (http://127.0.0.1:7078)
# BATCHMILL_TOKEN  a token of role admin, where the coordinator asks for one
# BATCHMILL_CA     file of the certificate authority, for https
# WALK_ENDPOINT    name of the endpoint (walk-digits); it is removed at the end
set -euo pipefail

url=${BATCHMILL_URL:-http://127.0.0.1:7078}
endpoint=${WALK_ENDPOINT:-walk-digits}
example=$(cd "$(dirname "$0")/../digits" && pwd)

# Prints the body; fails like a command when the status is not the one wanted: call STATUS METHOD URL [curl's arguments]
call() {
  local wanted=$1 method=$2 address=$3 body status
  shift 3
  body=$(curl --silent --show-error ${BATCHMILL_CA:+--cacert "$BATCHMILL_CA"} \
    ${BATCHMILL_TOKEN:+--header "Authorization: Bearer $BATCHMILL_TOKEN"} \
    --header 'Content-Type: application/json' --write-out '\n%{http_code}' --request "$method" "$address" "$@")
  status=${body##*$'\n'}
  body=${body%$'\n'*}
  if [ "$status" != "$wanted" ]; then
    echo "$method $address answered $status, not $wanted: $body" >&2
    return 1
  fi
  printf '%s' "$body"
}

# One field of a JSON text: field .properties.status
field() { node -e "const body = JSON.parse(require('fs').readFileSync(0, 'utf8')); console.log(body$1)"; }

echo "== an endpoint, and a deployment that is its default"
call 201 PUT "$url/v1/endpoints/$endpoint" --data '{"description": "handwritten digits"}' > /dev/null
call 201 PUT "$url/v1/endpoints/$endpoint/deployments/onnx" \
  --data "{\"deployment\": \"$example/deployment.yml\", \"set_default\": true}" > /dev/null
scoring_uri=$(call 200 GET "$url/v1/endpoints/$endpoint" | field .scoring_uri)
echo "scoring_uri $scoring_uri"

echo "== invoked; the same request again, as a client does that has lost the answer, is the same job"
invocation="{\"input\": \"$example/inputs\", \"overrides\": {\"mini_batch_size\": 50}}"
key="Idempotency-Key: walk-$$-$RANDOM"
job=$(call 201 POST "$url/v1/endpoints/$endpoint/jobs" --header "$key" --data "$invocation" | field .name)
again=$(call 200 POST "$url/v1/endpoints/$endpoint/jobs" --header "$key" --data "$invocation" | field .name)
echo "job $job"
[ "$job" = "$again" ]

echo "== asked until it has ended"
status=
until [ "$status" = Completed ]; do
  status=$(call 200 GET "$url/v1/jobs/$job" | field .status)
  case $status in Failed | Canceled) echo "the job $status" >&2 && exit 1 ;; esac
  sleep 0.2
done
echo "status $status"

echo "== listed, and its rows, whole and in part"
call 200 GET "$url/v1/jobs?endpoint=$endpoint&limit=1" | field '.value[0].name'
lines=$(call 200 GET "$url/v1/jobs/$job/output/predictions.csv" | wc -l)
echo "rows $((lines - 1))"
echo "begin $(call 206 GET "$url/v1/jobs/$job/output/predictions.csv" --header 'Range: bytes=0-8')"

echo "== what is wrong has a code"
call 404 GET "$url/v1/jobs/nobody" | field .code
call 400 POST "$url/v1/endpoints/$endpoint/jobs" --data '{"inputs": 1}' | field .code

echo "== the same as Azure's clients write it"
azure=$(call 201 POST "$scoring_uri" --header 'azureml-model-deployment: onnx' --data "{
  \"properties\": {
    \"InputData\": { \"digits\": { \"JobInputType\": \"UriFolder\", \"Uri\": \"$example/inputs\" } },
    \"errorThreshold\": \"10\",
  },
}")
id=$(printf '%s' "$azure" | field .id)
status=
until [ "$status" = Completed ]; do
  status=$(call 200 GET "$scoring_uri/${id##*/}" | field .properties.status)
  case $status in Failed | Canceled) echo "the job $status" >&2 && exit 1 ;; esac
  sleep 0.2
done
echo "status $status"
echo "jobs $(call 200 GET "$scoring_uri?deployment=onnx" | field .value.length)"
call 404 POST "$scoring_uri" --header 'azureml-model-deployment: other' --data '{"properties": {}}' | field .error.message

echo "== cleared away; the jobs stay"
call 204 DELETE "$url/v1/endpoints/$endpoint" > /dev/null
call 404 GET "$url/v1/endpoints/$endpoint" | field .code
