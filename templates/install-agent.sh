#!/bin/sh
# Installs the OctoPerf agent {{ name | plain }} on this host, from the private registry {{ registry | plain }}.
#   sh install-agent.sh               checks this host, then starts the agent; run again, it changes what differs
#   sh install-agent.sh --uninstall   takes away what it made
# The image is {{ digest | plain }} in the bundle.
set -u
umask 077

engine={{ engine }}
name={{ name }}
image={{ image }}
registry={{ registry }}
server_url={{ server_url }}
# Changes with the command that starts the agent.
revision={{ revision }}
registry_user={{ registry_user }}
# For trials: everything that is written goes below this folder.
root=${OCTOBUNDLE_ROOT-}
env_file=$root{{ env_file }}
{% if authority %}
certificates=$root{{ certificates }}/$registry
{% endif %}
token_file=
password_file=
force=
uninstall=

usage() {
    cat <<'END_OF_USAGE'
usage: install-agent.sh [--token-file FILE] [--registry-user USER] [--password-file FILE] [--force]
       install-agent.sh --uninstall

  --token-file FILE      the agent's token; without it the one that is installed is kept, or it is asked for
  --registry-user USER   who pulls from the registry, where it wants a login
  --password-file FILE   this user's password; without it it is asked for
  --force                go on though a check fails
  --uninstall            remove the agent, its env-file and the certificate that this script put there
END_OF_USAGE
}

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }

# fail MESSAGE NEXT-STEP
fail() {
    printf 'error: %s\n' "$1" >&2
    [ -z "${2-}" ] || printf '  help: %s\n' "$2" >&2
    exit 1
}

# A check that --force overrides.
refuse() {
    if [ -n "$force" ]; then warn "$1 (--force goes on)"; else fail "$1" "$2; or go on with --force"; fi
}

while [ $# -gt 0 ]; do
    case $1 in
        --token-file | --registry-user | --password-file)
            [ $# -ge 2 ] || { usage >&2; exit 2; }
            case $1 in
                --token-file) token_file=$2 ;;
                --registry-user) registry_user=$2 ;;
                --password-file) password_file=$2 ;;
            esac
            shift
            ;;
        --force) force=1 ;;
        --uninstall) uninstall=1 ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done

work=$(mktemp -d) || fail "no temporary folder can be made" "set TMPDIR to a folder that can be written"
# What is typed is shown again, should this end while a secret is asked for.
trap '[ ! -e "$work/asking" ] || stty echo; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

{% if authority %}
write_authority() {
    cat <<'END_OF_AUTHORITY'
{{ authority | plain }}END_OF_AUTHORITY
}
{% endif %}

# The agent's variables, but for a token that was not known when this script was made.
write_variables() {
    cat <<'END_OF_VARIABLES'
{{ variables | plain }}END_OF_VARIABLES
}

{% raw %}
inspect() { "$engine" inspect --type container --format "$1" "$name" 2>/dev/null; }

is_running() { [ "$(inspect '{{.State.Running}}')" = true ]; }

check_engine() {
    command -v "$engine" >/dev/null 2>&1 ||
        fail "$engine is not installed on this host" "install it from the packages of this host's distribution"
    "$engine" info >"$work/info" 2>&1 ||
        fail "$engine does not answer: $(tail -n 1 "$work/info")" "start it, and run this script as a user who may use it (root)"
}

{% endraw %}
{% if socket %}
# Without it an engine makes a folder of its name, or starts no agent.
check_socket() {
    [ -S {{ socket }} ] ||
{% if engine == "podman" %}
        refuse "podman's socket is not at "{{ socket }} "switch it on: systemctl enable --now podman.socket"
{% else %}
        refuse "docker's socket is not at "{{ socket }} "the agent needs this host's own docker: systemctl enable --now docker"
{% endif %}
}
{% endif %}
{% if engine == "podman" %}

check_restart() {
    systemctl is-enabled --quiet podman-restart.service 2>/dev/null ||
        warn "after a restart of this host podman leaves the agent as it is, until: systemctl enable podman-restart.service"
}
{% endif %}
{% raw %}

# Whether the container of that name is an agent: what somebody else runs under it is not touched.
is_ours() {
    case $(inspect '{{.Config.Image}}') in */docker-agent:* | */docker-agent@* | */docker-agent) return 0 ;; esac
    [ -n "$(inspect '{{index .Config.Labels "octobundle.revision"}}')" ]
}

exists() { "$engine" inspect --type container "$name" >/dev/null 2>&1; }

refuse_strangers() {
    if exists && ! is_ours; then
        fail "the container \`$name\` on this host is no agent" "remove or rename it: $engine rename $name OTHER"
    fi
}

check_one_agent() {
    "$engine" ps --all --format '{{.Names}} {{.Image}}' >"$work/containers" || fail "$engine lists no containers" ""
    while read -r other used; do
        case $used in
            */docker-agent:* | */docker-agent@* | */docker-agent)
                [ "$other" = "$name" ] ||
                    refuse "the agent \`$other\` is on this host already, and a host takes one" "remove it: $engine rm -f $other"
                ;;
        esac
    done <"$work/containers"
}

check_memory() {
    kib=$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo 2>/dev/null)
    # 8 GB, less what the kernel keeps for itself.
    if [ -n "$kib" ] && [ "$kib" -lt 7500000 ]; then warn "this host has $((kib / 1024)) MiB of memory; OctoPerf advises 8 GB or more"; fi
    cores=$(grep -c '^processor' /proc/cpuinfo 2>/dev/null)
    if [ "${cores:-4}" -lt 4 ]; then warn "this host has $cores processors; OctoPerf advises 4 or more"; fi
}

check_disk() {
    storage=$("$engine" info --format '{{.DockerRootDir}}' 2>/dev/null) ||
        storage=$("$engine" info --format '{{.Store.GraphRoot}}' 2>/dev/null) || return 0
    free=$(df -Pk "$storage" 2>/dev/null | awk 'NR == 2 { print $4 }')
    if [ -n "$free" ] && [ "$free" -lt 16000000 ]; then warn "$storage has $((free / 1024)) MiB free; OctoPerf advises 16 GB or more"; fi
}
{% endraw %}

check_server() {
    # The agent's own proxies; `-k` as this asks only whether something answers.
    {% for proxy in proxies %}export {{ proxy[0] | plain }}={{ proxy[1] }}
    {% endfor %}

    if command -v curl >/dev/null 2>&1; then
        curl -sSk -o /dev/null --max-time 15 "$server_url" 2>"$work/server"
    elif command -v wget >/dev/null 2>&1; then
        wget -q -T 15 -O /dev/null --no-check-certificate "$server_url" 2>"$work/server"
        # 8: the server answered, with a status that is no success.
        case $? in 0 | 8) true ;; *) false ;; esac
    else
        warn "neither curl nor wget is here: whether $server_url can be reached is not checked"
    fi
}

{% if authority %}
install_authority() {
    write_authority >"$work/ca.crt"
    cmp -s "$work/ca.crt" "$certificates/ca.crt" && return
    # Folders of the engine's: everybody may read them.
    (umask 022 && mkdir -p "$certificates" && cp "$work/ca.crt" "$certificates/ca.crt" && chmod 644 "$certificates/ca.crt") ||
        fail "\`$certificates/ca.crt\` cannot be written" "run this script as root"
}
{% endif %}

# ask QUESTION: a line that is not shown while it is typed
ask() {
    [ -t 0 ] || return 1
    : >"$work/asking"
    stty -echo
    printf '%s: ' "$1" >&2
    IFS= read -r answer
    stty echo
    rm -f "$work/asking"
    printf '\n' >&2
    printf '%s\n' "$answer"
}

log_in() {
    [ -n "$registry_user" ] || fail "$registry wants a login" "add --registry-user USER --password-file FILE"
{% if password %}
    if [ -z "$password_file" ]; then
        # By the shell itself: no other process sees it.
        printf '%s' {{ password }} >"$work/password"
        password_file=$work/password
    fi
{% endif %}
    if [ -z "$password_file" ]; then
        ask "password of $registry_user at $registry" >"$work/password" || fail "the password is missing" "add --password-file FILE"
        password_file=$work/password
    fi
    # docker takes the line's end for a part of what it reads.
    tr -d '\r\n' <"$password_file" >"$work/plain-password" || fail "\`$password_file\` cannot be read" "check the path"
    "$engine" login --username "$registry_user" --password-stdin "$registry" <"$work/plain-password" >"$work/login" 2>&1 ||
        fail "$registry refuses the login of $registry_user: $(grep . "$work/login" | tail -n 1)" "check user and password"
}

# Engines tell a login that is missing in many words.
wants_login() { grep -Eqi 'unauthorized|denied|authentication required|no basic auth|invalid username/password' "$work/pull"; }

pull() {
    "$engine" pull "$image" >"$work/pull" 2>&1 && return
    # docker tries a registry that it takes for insecure by plain HTTP as well, and tells of that alone.
    if wants_login || [ -n "$registry_user" ]; then
        log_in
        "$engine" pull "$image" >"$work/pull" 2>&1 && return
    fi
    why=$(tail -n 1 "$work/pull")
    case $why in
        *x509* | *certificate*) fail "$engine does not trust $registry: $why" "put the authority's certificate at {{ certificates | plain }}/$registry/ca.crt" ;;
        *"not found"* | *"manifest unknown"*) fail "$registry does not have $image: $why" "push the bundle: octobundle push BUNDLE --registry ..." ;;
        *"no such host"* | *"server misbehaving"*) fail "the name $registry is not known on this host: $why" "check DNS, or /etc/hosts" ;;
        *) fail "$image cannot be pulled: $why" "check that this host reaches $registry, and $engine's proxy" ;;
    esac
}

# The env-file as it should be, at $work/env.
prepare_variables() {
    write_variables >"$work/rest" || fail "\`$work\` cannot be written" "make room in TMPDIR"
    if grep -q '^AGENT_TOKEN=' "$work/rest" && [ -z "$token_file" ]; then
        cp "$work/rest" "$work/env"
        return
    fi
    if [ -n "$token_file" ]; then
        # A file that was written on Windows ends its line in two characters.
        token=$(tr -d '\r' <"$token_file") || fail "\`$token_file\` cannot be read" "check the path"
    elif [ -r "$env_file" ]; then
        token=$(sed -n 's/^AGENT_TOKEN=//p' "$env_file")
    else
        token=$(ask "token of the agent, from OctoPerf's \"Add Agent\"") || fail "the agent's token is missing" "add --token-file FILE"
    fi
    case $token in
        '') fail "the agent's token is empty" "copy it again from OctoPerf's \"Add Agent\"" ;;
        *[[:cntrl:]]*) fail "the agent's token has more than one line" "copy it again from OctoPerf's \"Add Agent\"" ;;
    esac
    { printf 'AGENT_TOKEN=%s\n' "$token" && grep -v '^AGENT_TOKEN=' "$work/rest"; } >"$work/env"
}

install_variables() {
    changed=
    cmp -s "$work/env" "$env_file" && return
    changed=1
    mkdir -p "${env_file%/*}" || fail "\`${env_file%/*}\` cannot be made" "run this script as root"
    # Written beside and renamed: the file is whole or not there.
    if ! { cp "$work/env" "$env_file.new" && chmod 600 "$env_file.new" && mv "$env_file.new" "$env_file"; }; then
        fail "\`$env_file\` cannot be written" "run this script as root"
    fi
}

run_agent() {
    {{ engine }} run --label "octobundle.revision=$revision"{% for word in arguments[2:] %} {% if word == env_file %}"$env_file"{% else %}{{ word }}{% endif %}{% endfor %}

}

{% raw %}
start() {
    wanted=$("$engine" image inspect --format '{{.Id}}' "$image")
    if [ -z "$changed" ] && is_running &&
        [ "$(inspect '{{.Image}}')" = "$wanted" ] &&
        [ "$(inspect '{{index .Config.Labels "octobundle.revision"}}')" = "$revision" ]; then
        say "$name runs already, as it should"
        return
    fi
    "$engine" rm -f "$name" >/dev/null 2>&1
    run_agent >"$work/run" 2>&1 ||
        fail "$name does not start: $(tail -n 1 "$work/run")" "look at it with: $engine logs $name"
    say "started $name"
}

# Up is what has run for five seconds without a restart.
wait_until_up() {
    steady=0
    tries=0
    while [ $steady -lt 5 ] && [ $tries -lt 60 ]; do
        sleep 1
        tries=$((tries + 1))
        if is_running && [ "$(inspect '{{.RestartCount}}')" = 0 ]; then steady=$((steady + 1)); else steady=0; fi
        case $(inspect '{{.State.Status}} {{.RestartCount}}') in
            exited* | dead* | *" "[3-9]*) break ;;
        esac
    done
    "$engine" logs "$name" >"$work/log" 2>&1
    tell_errors
    [ $steady -ge 5 ] || fail "$name does not stay up" "see all that it said: $engine logs $name"
    say "$name is up"
}
{% endraw %}

# The first errors in the log, each with what helps.
tell_errors() {
    grep -Ei 'error|exception|refused|unauthorized' "$work/log" | head -n 5 >"$work/errors"
    [ -s "$work/errors" ] || return 0
    warn "$name said:"
    LC_ALL=C tr -d '\000-\011\013-\037\177' <"$work/errors" | cut -c 1-300 | sed 's/^/  /' >&2
    cure 'UnknownHost|no such host|Name or service not known' "the server's name is not known in the container: check DNS, or use its IP address"
    cure 'PKIX|certificate' "Java does not trust the server's certificate: see the agent's documentation on private authorities"
    cure 'Connection refused|No route to host' "nothing answers at $server_url from this host: check the address and the firewall"
    cure 'timed out|ConnectTimeout' "the server cannot be reached: check the firewall and the agent's proxy"
    cure '401|403|[Uu]nauthorized|[Ff]orbidden' "the token is refused: generate a new command under \"Add Agent\" and give its token with --token-file"
    cure 'docker.sock|permission denied' "the agent cannot use the engine: check the mount of its socket, and SELinux"
}

# cure PATTERN NEXT-STEP
cure() {
    if grep -Eq "$1" "$work/errors"; then printf '  help: %s\n' "$2" >&2; fi
}

remove_all() {
    if exists; then
        "$engine" rm -f "$name" >/dev/null || fail "$name cannot be removed" "run this script as root"
        say "removed the container $name"
    fi
    if [ -e "$env_file" ]; then
        rm -f "$env_file" || fail "\`$env_file\` cannot be removed" "run this script as root"
        say "removed $env_file"
    fi
    rmdir "${env_file%/*}" 2>/dev/null
{% if authority %}
    write_authority >"$work/ca.crt"
    if cmp -s "$work/ca.crt" "$certificates/ca.crt"; then
        rm -f "$certificates/ca.crt"
        rmdir "$certificates" 2>/dev/null
        say "removed $certificates/ca.crt"
    fi
{% endif %}
    say "$name is not on this host; its image stays, until: $engine rmi $image"
    [ -z "$registry_user" ] || say "the login at $registry stays too, until: $engine logout $registry"
}

check_engine
refuse_strangers
if [ -n "$uninstall" ]; then
    remove_all
    exit 0
fi
check_one_agent
{% if socket %}
check_socket
{% endif %}
{% if engine == "podman" %}
check_restart
{% endif %}
check_memory
check_disk
(check_server) || refuse "$server_url does not answer: $(tail -n 1 "$work/server" 2>/dev/null)" "check the address, the firewall and the agent's proxy"
{% if authority %}
install_authority
{% endif %}
{% if password %}
log_in
{% endif %}
pull
prepare_variables
install_variables
start
wait_until_up
