#compdef devlink
# Completion of devlink in zsh: the program itself says what fits. /usr/sbin/devlink is another one, iproute2's.

_devlink() {
    local program=${(Q)words[1]} kind value help
    local -a plain described
    [[ $program != '~/'* ]] || program=$HOME/${program:2}
    case $(whence -p -- $program) in
        /usr/sbin/devlink | /sbin/devlink) _default; return ;;
    esac
    while IFS=$'\t' read -r kind value help; do
        case $kind in
            file) compset -P '--*='; _files ;;
            dir) _files -/ ;;
            plain) if [[ -n $help ]]; then described+=("${value//:/\\:}:$help"); else plain+=("$value"); fi ;;
        esac
    done < <(
        _DEVLINK_COMPLETE=zsh _DEVLINK_WORDS="${(pj:\x1f:)${(@Q)words[1,CURRENT]}}" $program 2>/dev/null </dev/null
    )
    (( ! $#described )) || _describe -V devlink described
    (( ! $#plain )) || compadd -- $plain
}

if [[ $funcstack[1] == _devlink ]]; then
    _devlink "$@" # this file is on fpath, and was loaded at the first TAB
elif (( $+functions[compdef] )); then
    compdef _devlink devlink
fi
