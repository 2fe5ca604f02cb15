#!/bin/sh
# Makes sure that there is a redis-server for the tests: $REDIS_SERVER, one on the PATH, or one from the system's package manager.
set -eu

if [ -n "${REDIS_SERVER:-}" ]; then
  "$REDIS_SERVER" --version && exit 0
  echo "REDIS_SERVER is set to $REDIS_SERVER, which doesn't run: correct it or unset it." >&2
  exit 1
fi
for server in redis-server valkey-server; do
  if command -v "$server" >/dev/null 2>&1; then exit 0; fi
done

as_root=''
if [ "$(id -u)" -ne 0 ]; then as_root='sudo -n'; fi

give_up() {
  echo "The tests need redis-server 6.2 or newer: install it (https://redis.io/docs/latest/operate/oss_and_stack/install/), or set REDIS_SERVER to its path." >&2
  exit 1
}

if command -v brew >/dev/null 2>&1; then
  echo 'redis-server is missing: installing it with brew.'
  brew install redis || give_up
elif command -v apt-get >/dev/null 2>&1; then
  echo 'redis-server is missing: installing it with apt-get. It is not started as a service.'
  # A policy that forbids it keeps the package from starting a server, where there is none yet and so nobody's to lose.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee /usr/sbin/policy-rc.d >/dev/null || give_up
    $as_root chmod +x /usr/sbin/policy-rc.d
    trap '$as_root rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  { $as_root apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends redis-server >/dev/null; } || give_up
elif command -v apk >/dev/null 2>&1; then
  echo 'redis-server is missing: installing it with apk.'
  $as_root apk add --no-cache redis || give_up
else
  give_up
fi
