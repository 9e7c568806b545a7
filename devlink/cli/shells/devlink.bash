# Completion of devlink in bash: the program itself says what fits.
# iproute2 has a devlink too, /usr/sbin/devlink: where that one is meant, its own completion answers.

_devlink_completion() {
    local program=$1 kind value
    COMPREPLY=()
    case $(type -P -- "$program") in
        /usr/sbin/devlink | /sbin/devlink)
            if ! declare -F _devlink >/dev/null && [[ -r /usr/share/bash-completion/completions/devlink ]]; then
                . /usr/share/bash-completion/completions/devlink
                complete -F _devlink_completion devlink # it took the name for itself
            fi
            # It asks `devlink` by that name alone.
            if declare -F _devlink >/dev/null; then PATH=/usr/sbin:$PATH _devlink "$@"; fi
            return
            ;;
    esac
    [[ $program != '~/'* ]] || program=$HOME/${program:2}
    while IFS=$'\t' read -r kind value; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            file) compopt -o default 2>/dev/null ;; # bash 3, of macOS, has none
            dir) compopt -o dirnames 2>/dev/null ;;
        esac
    done < <(
        _DEVLINK_COMPLETE=bash _DEVLINK_LINE=${COMP_LINE:0:COMP_POINT} _DEVLINK_BREAKS=$COMP_WORDBREAKS \
            "$program" 2>/dev/null </dev/null
    )
}

complete -F _devlink_completion devlink
