#!/bin/bash
# Makes an authority and a certificate for each NATS server: FOLDER/ca.pem, FOLDER/NAME.pem and FOLDER/NAME.key.
#
#   deploy/nats/certificates.sh FOLDER alpha beta gamma
#
# NAME is the host name that coordinators and the other servers reach it by; NAME=ADDRESS adds an address. What is there is kept,
# so that a fourth server, or a new certificate for one whose .pem was removed, comes from the same authority.
set -euo pipefail
umask 077

fail() {
  echo "certificates: $*" >&2
  exit 2
}

[[ $# -ge 2 ]] || fail "wanted a folder and the names of servers: certificates.sh FOLDER alpha beta gamma"
folder="$1"
shift
mkdir -p "$folder"
days="${NATS_CERTIFICATE_DAYS:-825}"

new_key() {
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null
}

if [[ ! -e "$folder/ca.pem" ]]; then
  new_key "$folder/ca.key"
  openssl req -x509 -new -key "$folder/ca.key" -sha256 -days 3650 -subj "/CN=batchmill-nats" -out "$folder/ca.pem" \
    -addext "keyUsage=critical,keyCertSign,cRLSign"
fi

for server in "$@"; do
  name="${server%%=*}"
  [[ "$name" =~ ^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$ && "$name" != ca ]] || fail "$name is not the name of a host"
  if [[ -e "$folder/$name.pem" ]]; then
    echo "$folder/$name.pem is there already"
    continue
  fi
  names="DNS:$name,DNS:localhost,IP:127.0.0.1"
  if [[ "$server" == *=* ]]; then names="$names,IP:${server#*=}"; fi
  [[ -e "$folder/$name.key" ]] || new_key "$folder/$name.key"
  openssl req -new -key "$folder/$name.key" -subj "/CN=$name" |
    openssl x509 -req -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial -sha256 -days "$days" -out "$folder/$name.pem" \
      -extfile <(printf '%s\n' "subjectAltName=$names" "keyUsage=critical,digitalSignature" "extendedKeyUsage=serverAuth,clientAuth") 2>/dev/null
  echo "$folder/$name.pem until $(openssl x509 -in "$folder/$name.pem" -noout -enddate | cut -d= -f2)"
done
