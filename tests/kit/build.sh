#!/bin/sh
# Builds the real cluster programs that the lab uses when they are there: CoreDNS, into the user's cache.
# A stamp beside each program names its version, so that a second run does nothing. About two minutes on two cores.
set -eu

COREDNS=1.14.7

kit=${XDG_CACHE_HOME:-$HOME/.cache}/devlink/kit

has() { [ -x "$kit/$1" ] && [ "$(cat "$kit/$1.version" 2>/dev/null)" = "$2" ]; }

if has coredns "$COREDNS"; then
    echo "kit: CoreDNS $COREDNS is in $kit"
    exit 0
fi
if ! command -v go >/dev/null 2>&1; then
    echo "kit: Go is missing (1.25 or later builds CoreDNS $COREDNS): install it from https://go.dev/dl, then run 'make kit' again." >&2
    exit 1
fi

mkdir -p "$kit"
# On the disk of the cache, because the build cache passes 1 GB and /tmp is memory on many machines.
scratch=$(mktemp -d "$kit/build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

echo "kit: building CoreDNS $COREDNS into $kit (about two minutes)"
GOCACHE=$scratch/cache GOBIN=$scratch/bin CGO_ENABLED=0 \
    go install -trimpath -ldflags='-s -w' "github.com/coredns/coredns@v$COREDNS"
# The program before its stamp, each by rename: whoever sees the stamp may run the program.
mv -f "$scratch/bin/coredns" "$kit/coredns"
echo "$COREDNS" >"$scratch/version"
mv -f "$scratch/version" "$kit/coredns.version"
echo "kit: CoreDNS $COREDNS is in $kit"
