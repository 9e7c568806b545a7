"""What is told of devlink beside its help: exit codes, environment variables and files."""

EXIT_STATUS = {
    0: "Fine.",
    1: "Unexpected: a defect of devlink's.",
    2: "The command cannot be meant as it was given.",
    3: "Nothing is up, or not what was named.",
    4: "Degraded, or it carried no traffic and was rolled back.",
    5: "Another program, user or session owns what is wanted.",
    6: "The helper is missing or could not do its work, or the caller or the profile has not the right.",
    7: "The cluster does not answer, or does not let us in.",
    8: "The profile is invalid.",
    130: "Cancelled by Ctrl-C; what was begun is taken back.",
}
"""By the code; above 128 it is a signal's number added, as of a shell."""
ENVIRONMENT = {
    "KUBECONFIG": "The kubeconfig files, parted by colons; else `~/.kube/config`.",
    "XDG_RUNTIME_DIR": "Where the agent's socket is, in `devlink/`. A login session sets it; without it there is none.",
    "XDG_CONFIG_HOME": "Where `devlink/config.toml`, `devlink/profiles/` and the logins are; else `~/.config`.",
    "XDG_CACHE_HOME": "Where the profiles that clusters gave are kept; else `~/.cache`.",
    "XDG_STATE_HOME": "Where an agent that `up` started writes its log; else `~/.local/state`.",
    "HTTPS_PROXY, ALL_PROXY, NO_PROXY": "How the cluster's API is reached, in capitals or not; a kubeconfig's "
    "`proxy-url` goes before them.",
    "KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT": "In a pod: its cluster's API, unless a kubeconfig names one.",
    "DEVLINK_DEBUG": "Where it is set, an error that nobody foresaw shows where it came from.",
}
"""What devlink heeds. Its own processes and tests use more, which is nobody's to set."""
FILES = {
    "~/.config/devlink/config.toml": "The user's settings.",
    "~/.config/devlink/profiles/": "The user's own profiles, `*.yaml` or `*.yml`.",
    "~/.config/devlink/logins/": "Logins. Their tokens are in the keyring.",
    "~/.config/systemd/user/devlink-agent.service": "What `devlink service install` wrote.",
    "~/.cache/devlink/profiles/": "What clusters gave, for when their API is away.",
    "~/.local/state/devlink/log/agent.log": "The log of an agent that `up` started.",
    "/etc/devlink/policy.toml": "The machine's settings, read by the helper when it starts.",
    "/etc/devlink/trust.d/": "Trust records that configuration management lays down, `NAME.json`; only read.",
    "/var/lib/devlink/trust/": "Trust records that `devlink trust` had written.",
    "/var/lib/devlink/journal.json": "What is to be undone; `devlink helper restore` goes by it.",
    "/run/devlink/helper": "The helper's socket.",
    "/usr/local/lib/devlink/": "What `devlink helper install` copied, and `manifest.json`: all that it wrote.",
}
"""What devlink reads and writes; below `~` it is elsewhere where a variable of the above says so."""
