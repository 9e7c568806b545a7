#!/usr/bin/env bash
# Builds the systems that devlink's resolver modes are tested on, into the user's cache: Debian bookworm, trixie and sid
# with systemd-resolved and NetworkManager, one each with openresolv and with Debian's resolvconf, and one with Docker.
# Each is a root file system to be booted in a container (tests/system/machine.py); nothing is installed on this machine.
# `systems.sh [NAME...]` builds those, without a name all. Needs root and apt-get. A second run does nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly VERSION=2 # raise it when this script lays the systems out in another way
readonly ALL=(bookworm trixie sid openresolv resolvconf docker)
readonly BASE=(
    systemd-sysv libnss-systemd libnss-myhostname libnss-mdns dbus dbus-user-session libpam-systemd polkitd iproute2
    iputils-ping nftables python3 procps dnsmasq-base curl bind9-dnsutils e2fsprogs util-linux ca-certificates
    # what devlink's package depends on and recommends, and what a desktop brings
    init-system-helpers python3-yaml python3-cryptography libnftables1 gnome-keyring libpam-gnome-keyring libsecret-tools
)
readonly TOOLS=(mmdebstrap systemd-container libsystemd-shared)
readonly PROGRAMS=(usr/bin/mmdebstrap usr/bin/systemd-nspawn)
readonly AT_ONCE=3

systems=${XDG_CACHE_HOME:-$HOME/.cache}/devlink/systems
tools=$systems/tools

say() { printf 'systems: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }

suite() {
    case $1 in
        bookworm | trixie | sid) printf '%s\n' "$1" ;;
        openresolv | docker) printf 'trixie\n' ;;
        resolvconf) printf 'bookworm\n' ;;
        *) die "there is no system $1; there are: ${ALL[*]}" ;;
    esac
}

packages() {
    case $1 in
        openresolv) printf '%s\n' "${BASE[@]}" openresolv dhcpcd-base ;;
        resolvconf) printf '%s\n' "${BASE[@]}" resolvconf ifupdown isc-dhcp-client ;;
        docker) printf '%s\n' "${BASE[@]}" systemd-resolved libnss-resolve network-manager docker.io docker-cli iptables ;;
        *) printf '%s\n' "${BASE[@]}" systemd-resolved libnss-resolve network-manager ;;
    esac
}

stamp() {
    printf 'version %s\nsuite %s\n' "$VERSION" "$(suite "$1")"
    packages "$1"
}

complete() { [[ -r $systems/$1/.stamp && $(stamp "$1") == "$(cat "$systems/$1/.stamp")" ]]; }

complete_tools() {
    local program
    [[ "$(cat "$tools/.packages" 2>/dev/null)" == "${TOOLS[*]}" ]] || return 1
    for program in "${PROGRAMS[@]}"; do [[ -x $tools/$program ]] || return 1; done
}

# What apt would install: the packages, and of what they need all that is missing here.
wanted() {
    printf '%s\n' "${TOOLS[@]}"
    apt-get --simulate install --no-install-recommends "${TOOLS[@]}" 2>/dev/null | awk '$1 == "Inst" {print $2}' || true
}

# Unpacked, never installed: with systemd-container apt would bring this machine another systemd.
fetch_tools() {
    local names folder=$scratch/tools deb
    mkdir -p "$folder/debs" "$folder/root"
    mapfile -t names < <(wanted | sort -u)
    if ! (cd "$folder/debs" && apt-get -o APT::Sandbox::User=root download "${names[@]}") >"$folder/log" 2>&1 &&
        ! (apt-get update && cd "$folder/debs" && apt-get -o APT::Sandbox::User=root download "${names[@]}") \
            >"$folder/log" 2>&1; then
        tail -n 20 "$folder/log" >&2
        die "apt-get could not fetch ${TOOLS[*]}"
    fi
    for deb in "$folder"/debs/*.deb; do dpkg -x "$deb" "$folder/root"; done
    printf '%s\n' "${TOOLS[*]}" >"$folder/root/.packages"
    rm -rf "$tools"
    mv -T "$folder/root" "$tools"
    complete_tools || die "the packages lack a program: ${PROGRAMS[*]}"
}

# Where this machine gets its own packages, if it is a Debian; else mmdebstrap knows a server.
mirror() {
    local repository label
    apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Created-By: Packages' 2>/dev/null |
        while read -r repository label; do
            if [[ $label == Debian ]]; then
                printf '%s\n' "$repository"
                break
            fi
        done || true
}

# Two people: alice, who will be there without having logged in, and bob.
add_users() {
    local root=$1
    chroot "$root" useradd --create-home --shell /bin/bash --uid 1000 alice
    chroot "$root" useradd --create-home --shell /bin/bash --uid 1001 bob
    install -d "$root/var/lib/systemd/linger"
    touch "$root/var/lib/systemd/linger/alice"
}

# As an installer leaves a laptop, and not as a first boot that would still set things up.
settle() {
    local name=$1 root=$2
    printf 'laptop\n' >"$root/etc/hostname"
    printf '127.0.0.1\tlocalhost\n127.0.1.1\tlaptop\n::1\tlocalhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
    printf '%s\n' "$name" | md5sum | cut -c 1-32 >"$root/etc/machine-id"
    case $name in
        # What the packages do on a machine that is installed by an installer; under mmdebstrap the file is the host's.
        openresolv) rm -f "$root/etc/resolv.conf" ;;
        resolvconf) ln -sfn ../run/resolvconf/resolv.conf "$root/etc/resolv.conf" ;;
        *) ln -sfn ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf" ;;
    esac
    # What is installed later shall be complete.
    rm -f "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
    # These wait for hardware, for the network or for the hour, which costs each boot and shows nothing.
    local unit
    for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
        fstrim.timer systemd-modules-load.service NetworkManager-wait-online.service systemd-networkd-wait-online.service; do
        ln -sfn /dev/null "$root/etc/systemd/system/$unit"
    done
}

# Runs as a job of its own, never in a condition: there bash would go on after a step that failed.
build() {
    local name=$1 folder=$scratch/$1 start=$SECONDS list options=()
    list=$(packages "$name" | paste -sd,)
    # sid's lists are signed for a week: a mirror that lags behind, or a snapshot, would give no system at all. The
    # signature itself is checked all the same, and nothing of it runs outside a container.
    [[ $name != sid ]] || options+=(--aptopt='Acquire::Check-Valid-Until "false"')
    PATH=$PATH:$tools/usr/bin mmdebstrap --quiet --variant=minbase --include="$list" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' "${options[@]}" \
        "$(suite "$name")" "$folder/root" ${source:+"$source"}
    add_users "$folder/root"
    settle "$name" "$folder/root"
    stamp "$name" >"$folder/.stamp"
    rm -rf "${systems:?}/$name"
    mv -T "$folder" "$systems/$name"
    say "$name is built, in $((SECONDS - start)) s" >&3
}

names=("${@:-${ALL[@]}}")
missing=()
for name in "${names[@]}"; do
    suite "$name" >/dev/null
    complete "$name" || missing+=("$name")
done
if complete_tools && ((!${#missing[@]})); then
    say "they are in $systems"
    exit 0
fi
[[ $(id -u) == 0 ]] || die "root is needed: the systems have files of several users"
command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    die "apt-get is missing: the systems are made of Debian packages, so here their tests are left out"

mkdir -p "$systems"
scratch=$(mktemp -d "$systems/.new.XXXXXX")
trap 'rm -rf --one-file-system "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

complete_tools || fetch_tools
source=$(mirror)
say "building ${missing[*]} in $systems"
exec 3>&1
for name in "${missing[@]}"; do
    while (($(jobs -rp | wc -l) >= AT_ONCE)); do wait -n || true; done
    mkdir "$scratch/$name"
    build "$name" >"$scratch/$name.log" 2>&1 </dev/null &
done
wait
failed=()
for name in "${missing[@]}"; do
    complete "$name" && continue
    failed+=("$name")
    tail -n 20 "$scratch/$name.log" >&2
done
((!${#failed[@]})) || die "could not be built: ${failed[*]}"
say "they are in $systems, after $SECONDS s"
