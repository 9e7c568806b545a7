# Completion of devlink in fish 3.4 or later: the program itself says what fits. /usr/sbin/devlink is iproute2's.

function __devlink_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l typed (string unescape -- "$current")
    or set typed (string trim --left --chars '"\'' -- "$current") # a quote is open
    set -l program (command -s -- $words[1])
    contains -- "$program" '' /usr/sbin/devlink /sbin/devlink
    and return
    for line in (_DEVLINK_COMPLETE=fish _DEVLINK_WORDS=(string join \x1f -- $words "$typed") $program 2>/dev/null </dev/null)
        set -l parts (string split -m 2 \t -- $line)
        switch $parts[1]
            case plain
                string join \t -- $parts[2..]
            case file
                set -l option (string match -r -- '^--[^=]*=' "$typed")
                string join \n -- "$option"(__fish_complete_path (string replace -- "$option" '' "$typed"))
            case dir
                __fish_complete_directories "$typed"
        end
    end
end

complete --command devlink --no-files --arguments '(__devlink_complete)'
