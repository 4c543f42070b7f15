#!/bin/sh
# Looks up all that PeerAgent is installed with for known vulnerabilities; exits with 1 where there are some.
# Needs uv and the network: `sh flows/peeragent/audit.sh`. Arguments go to pip-audit.
set -eu
cd "$(dirname "$0")/../.."
uv=$(command -v uv || echo .uv/uv)
list=$(mktemp)
trap 'rm -f "$list"' EXIT
"$uv" export --quiet --frozen --no-dev --no-emit-workspace --package penguiflow-peeragent --extra mongo -o "$list"
"$uv" tool run pip-audit --require-hashes --disable-pip -r "$list" "$@"
