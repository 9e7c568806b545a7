#!/bin/sh
# Builds the real cluster programs that the lab uses when they are there, into the user's cache: etcd, the Kubernetes
# control plane with kubectl and kube-proxy, the kubelet's port-forward, and CoreDNS, from the modules that the folders
# beside this script pin. A stamp beside each program names its version, so that a second run does nothing, and the rest
# is left alone where one is missing. About eight minutes on two cores.
set -eu

KUBERNETES=1.34.4 ETCD=3.6.4 COREDNS=1.14.7

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
kit=${XDG_CACHE_HOME:-$HOME/.cache}/devlink/kit
# Its main is ours: the stamp is of that too.
PORTFORWARD=$KUBERNETES-$(cksum <"$here/portforward/main.go" | tr ' ' -)
about="Kubernetes $KUBERNETES with the kubelet's port-forward, etcd $ETCD and CoreDNS $COREDNS are in $kit"

has() { [ -x "$kit/$1" ] && [ "$(cat "$kit/$1.version" 2>/dev/null)" = "$2" ]; }
has_kubernetes() {
    has etcd "$ETCD" || return 1
    for program in kube-apiserver kube-controller-manager kube-proxy kubectl; do has "$program" "$KUBERNETES" || return 1; done
}

if has_kubernetes && has kubelet-portforward "$PORTFORWARD" && has coredns "$COREDNS"; then
    echo "kit: $about"
    exit 0
fi
if ! command -v go >/dev/null 2>&1; then
    echo "kit: Go is missing (1.25 or later builds Kubernetes $KUBERNETES): install it from https://go.dev/dl, then run 'make kit' again." >&2
    exit 1
fi

mkdir -p "$kit"
# On the disk of the cache, because the build cache passes 4 GB and /tmp is memory on many machines.
scratch=$(mktemp -d "$kit/build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# Go's own caches would keep 7 GB that nobody needs again. A module cache is read-only unless told otherwise.
export GOCACHE="$scratch/cache" GOMODCACHE="$scratch/modules" GOFLAGS='-mod=readonly -modcacherw -trimpath' CGO_ENABLED=0

# build FOLDER LDFLAGS [PACKAGE]: the tools of that module, or the package, into $scratch/bin; what Go says of each
# download only if it fails
build() {
    (cd "$here/$1" && go build -ldflags="$2" -o "$scratch/bin/" "${3:-tool}") 2>"$scratch/log" && return
    tail -n 20 "$scratch/log" >&2
    return 1
}
# The program before its stamp, each by rename: whoever sees the stamp may run the program.
install() {
    mv -f "$scratch/bin/$1" "$kit/$1"
    echo "$2" >"$scratch/version"
    mv -f "$scratch/version" "$kit/$1.version"
}

mkdir "$scratch/bin"
if ! has coredns "$COREDNS"; then
    echo "kit: building CoreDNS $COREDNS into $kit (about two minutes)"
    build coredns '-s -w'
    install coredns "$COREDNS"
fi
if ! has kubelet-portforward "$PORTFORWARD"; then
    echo "kit: building the kubelet's port-forward into $kit (about a minute)"
    build portforward '-s -w' .
    mv "$scratch/bin/portforward" "$scratch/bin/kubelet-portforward"
    install kubelet-portforward "$PORTFORWARD"
fi
if ! has_kubernetes; then
    echo "kit: building Kubernetes $KUBERNETES and etcd $ETCD into $kit (about five minutes)"
    versions=k8s.io/component-base/version # without these kubectl refuses to parse its own version
    build kubernetes "-s -w -X $versions.gitVersion=v$KUBERNETES -X $versions.gitMajor=1 -X $versions.gitMinor=34 -X $versions.gitTreeState=clean -X $versions.gitCommit=kit"
    mv "$scratch/bin/server" "$scratch/bin/etcd"
    install etcd "$ETCD"
    for program in kube-apiserver kube-controller-manager kube-proxy kubectl; do install "$program" "$KUBERNETES"; done
fi
echo "kit: $about"
