#!/bin/sh
# Installs tokensession into this folder as its users get it: built, packed, and with the ioredis, Express and Koa that are installed
# here as its peers. A link to the folder above would measure with two copies of ioredis, ours being the one above.
# With --built, it takes the dist/ that is there.
set -eu
cd "$(dirname "$0")"

# `npm --prefix bench` tells the npm runs inside it to work here, too.
unset npm_config_prefix npm_config_local_prefix

[ -d ../node_modules ] || npm --prefix .. ci
[ "${1:-}" = --built ] || npm --prefix .. run build
rm -rf packed node_modules/tokensession
mkdir packed
(cd .. && npm pack --ignore-scripts --silent --pack-destination bench/packed) >/dev/null
npm install --no-save --no-audit --no-fund --prefer-offline --loglevel=error ./packed/*.tgz
