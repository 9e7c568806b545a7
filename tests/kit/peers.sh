#!/usr/bin/env bash
# Fetches the programs that devlink is tested against and measured beside, into the user's cache: the name servers and
# clients dnsmasq, unbound, NSD, systemd-resolved, kdig and ldns-signzone; BIRD for the lab's routers; iperf3, sshuttle
# and OpenSSH for the throughput. They are unpacked, never installed: Debian's maintainer scripts would start daemons on
# this machine. tests/kit/peers.py says how to run one.
# Needs apt-get, and no root unless the lists of packages are missing or old. A second run does nothing.
set -euo pipefail

PACKAGES=(
    dnsmasq-base unbound nsd knot-dnsutils ldnsutils systemd systemd-resolved
    bird2 iperf3 sshuttle openssh-server openssh-client
)
PROGRAMS=(
    usr/sbin/dnsmasq usr/sbin/unbound usr/sbin/nsd usr/bin/kdig usr/bin/ldns-signzone lib/systemd/systemd-resolved
    usr/sbin/bird usr/bin/iperf3 usr/bin/sshuttle usr/sbin/sshd usr/bin/ssh usr/bin/ssh-keygen
)

peers=${XDG_CACHE_HOME:-$HOME/.cache}/devlink/peers

say() { printf 'peers: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }

complete() {
    local program
    [[ "$(cat "$1/.packages" 2>/dev/null)" == "${PACKAGES[*]}" ]] || return 1
    for program in "${PROGRAMS[@]}"; do [[ -x $1/$program ]] || return 1; done
}

if complete "$peers"; then
    say "they are in $peers"
    exit 0
fi
command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    die "apt-get is missing: the other programs are fetched as Debian packages, so here the tests with them are left out"

mkdir -p "$peers"
scratch=$(mktemp -d "$peers.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# What apt would install: the packages, and of what they need all that is missing or older than they want. One at a
# time, because two of them may not be installable together, which does not matter to who only unpacks.
wanted() {
    local package
    for package in "${PACKAGES[@]}"; do
        printf '%s\n' "$package"
        apt-get --simulate install --no-install-recommends "$package" 2>/dev/null | awk '$1 == "Inst" {print $2}' || true
    done | sort -u
}

download() {
    local names
    mkdir -p "$scratch/debs"
    mapfile -t names < <(wanted)
    (cd "$scratch/debs" && apt-get -o APT::Sandbox::User=root download "${names[@]}") >"$scratch/log" 2>&1
}

update() {
    if [[ $(id -u) == 0 ]]; then apt-get update; else sudo -n apt-get update; fi >"$scratch/log" 2>&1 </dev/null
}

say "fetching ${PACKAGES[*]} into $peers"
if ! download && ! { update && download; }; then
    tail -n 20 "$scratch/log" >&2
    die "apt-get could not fetch them; as root: apt-get update, then run this again"
fi
mkdir "$scratch/root"
for deb in "$scratch"/debs/*.deb; do dpkg -x "$deb" "$scratch/root"; done
# The stamp last: whoever sees it may run the programs.
cp -a --remove-destination "$scratch/root/." "$peers/"
printf '%s\n' "${PACKAGES[*]}" >"$scratch/stamp"
mv -f "$scratch/stamp" "$peers/.packages"
complete "$peers" || die "the packages lack a program: ${PROGRAMS[*]}"
say "they are in $peers"
