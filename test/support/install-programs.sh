#!/bin/sh
# Makes sure that the programs are there which the tests run: redis-server, which REDIS_SERVER may name, curl and openssl.
# Installs what is missing with the system's package manager, and says so.
set -eu

has() { command -v "$1" >/dev/null 2>&1; }

missing=''
if [ -n "${REDIS_SERVER:-}" ]; then
  if ! "$REDIS_SERVER" --version; then
    echo "REDIS_SERVER is set to $REDIS_SERVER, which doesn't run: correct it or unset it." >&2
    exit 1
  fi
elif ! has redis-server && ! has valkey-server; then
  missing='redis-server'
fi
has curl || missing="$missing curl"
has openssl || missing="$missing openssl"
[ -n "$missing" ] || exit 0

as_root=''
[ "$(id -u)" -eq 0 ] || as_root='sudo -n'

give_up() {
  echo "The tests need these programs: $missing. Install them (Redis 6.2 or newer, or set REDIS_SERVER to its path)." >&2
  exit 1
}

# Debian starts a server when it is installed, unless a policy forbids it. Where there is a policy already, it is not ours to change.
forbid_services() {
  [ ! -e /usr/sbin/policy-rc.d ] || return 0
  printf '#!/bin/sh\nexit 101\n' | $as_root tee /usr/sbin/policy-rc.d >/dev/null || give_up
  $as_root chmod +x /usr/sbin/policy-rc.d
  trap '$as_root rm -f /usr/sbin/policy-rc.d' EXIT
}

echo "Installing what the tests need: ${missing# }"
if has brew; then
  brew install $(echo "$missing" | sed 's/redis-server/redis/') || give_up
elif has apt-get; then
  forbid_services
  $as_root apt-get update -qq || give_up
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null || give_up
elif has apk; then
  $as_root apk add --no-cache $(echo "$missing" | sed 's/redis-server/redis/') || give_up
else
  give_up
fi
