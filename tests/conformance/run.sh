#!/usr/bin/env bash
# Run our client against theupdateframework/tuf-conformance.
#   tests/conformance/run.sh CHECKOUT [pytest options]
# CHECKOUT: a clone of the suite. It pins its own tuf, so it gets its own environment, beside it in
# CHECKOUT/env, made once. Needs `faketime` (Debian: apt-get install faketime).
set -euo pipefail
checkout=$(cd "${1:?a clone of theupdateframework/tuf-conformance}" && pwd)
shift
client=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/tuf-client
command -v faketime >/dev/null || { echo "faketime is missing: apt-get install faketime" >&2; exit 69; }
if [[ ! -e $checkout/env/.ready ]]; then
  python3 -m venv "$checkout/env"
  "$checkout/env/bin/python" -m pip install --quiet --disable-pip-version-check -e "$checkout"
  touch "$checkout/env/.ready"
fi
cd "$checkout"
# The = matters: apart from its value, pytest takes the value for tests and loads our conftest.
exec env/bin/python -m pytest -q -p no:cacheprovider tuf_conformance "--entrypoint=$client" "$@"
