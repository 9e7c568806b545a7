#!/usr/bin/env bash
# Makes this checkout ready to run: `setup.sh system` the programs that the private world needs, `setup.sh venv` the
# virtual environment. Called by make. Asks nothing, and is silent where there is nothing to do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV=.venv REQUIREMENTS=packaging/requirements/dev.txt
# Debian leaves these out of an ordinary user's PATH, and nft lives there.
PATH=$PATH:/usr/sbin:/sbin

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Runs a command as root, without asking anybody; fails where there is no such way.
as_root() {
    if [[ $(id -u) == 0 ]]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
    command -v apt-get >/dev/null && { [[ $(id -u) == 0 ]] || sudo -n true 2>/dev/null; }
}

apt_install() {
    local log
    log=$(mktemp)
    say "installing $* by apt-get"
    if ! { as_root apt-get update -q &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"; } \
        >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# A program of each package, and Debian's name of the package.
PROGRAMS=(
    ip:iproute2 nft:nftables iptables:iptables dig:bind9-dnsutils curl:curl openssl:openssl unshare:util-linux
    getent:libc-bin tmux:tmux redis-cli:redis-tools nghttpd:nghttp2-server
)
# Only there: on a desktop with another keyring gnome-keyring would be one too many, lintian is only for the tests of the
# package, and nobody needs shells that he does not use.
[[ ${CI:-} != true ]] || PROGRAMS+=(
    gnome-keyring-daemon:gnome-keyring lintian:lintian
    dh_bash-completion:bash-completion zsh:zsh fish:fish man:man-db mandoc:mandoc
)
readonly PROGRAMS

system() {
    local entry missing=()
    for entry in "${PROGRAMS[@]}"; do
        command -v "${entry%%:*}" >/dev/null || missing+=("${entry#*:}")
    done
    ((${#missing[@]})) || return 0
    if may_install && apt_install "${missing[@]}"; then
        return 0
    fi
    # Much can be done without them: the format, the types and the unit tests. What cannot says so itself.
    say "missing packages: ${missing[*]}. Going on without them; as root: apt-get install ${missing[*]}"
}

# The one that PYTHON names, else the first that really runs (a pyenv shim on PATH may not) and is new enough.
find_python() {
    local candidate candidates=(python3 python3.{11..20} /usr/bin/python3)
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "Python 3.11 or later is needed, and none of these is: ${candidates[*]}; name one: make PYTHON=/path/to/python3"
}

new_venv_by_pip() {
    local python=$1 package
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        if ! { may_install && apt_install "$package"; }; then
            die "$python cannot make a virtual environment; as root: apt-get install $package (or install uv)"
        fi
    fi
    "$python" -m venv --clear "$VENV"
}

venv() {
    local python has_uv='' tool='venv and pip'
    # pyenv's shim of uv is on PATH even where no uv is behind it.
    if uv --version >/dev/null 2>&1; then has_uv=1 tool=uv; fi
    if ! "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$(find_python)
        say "making $VENV with $("$python" --version) by $tool"
        if [[ $has_uv ]]; then
            uv venv --quiet --clear --python "$(command -v "$python")" "$VENV"
        else
            new_venv_by_pip "$python"
        fi
    fi
    # The project itself comes last and alone: it has no hash, and its build tools are among the pinned ones.
    if [[ $has_uv ]]; then
        uv pip install --quiet --python "$VENV/bin/python" --compile-bytecode --require-hashes -r "$REQUIREMENTS"
        uv pip install --quiet --python "$VENV/bin/python" --no-deps --no-build-isolation --editable .
    else
        # An environment that uv made has no pip of its own.
        "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || "$VENV/bin/python" -m ensurepip >/dev/null
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$REQUIREMENTS"
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
            --editable .
    fi
    # uv compiles nothing by itself, and an environment that forbids it (PYTHONDONTWRITEBYTECODE) would keep every
    # start of the command at twice its time.
    "$VENV/bin/python" -m compileall -q devlink
}

case ${1:-} in
    system | venv) "$1" ;;
    *) die "usage: setup.sh system|venv" ;;
esac
