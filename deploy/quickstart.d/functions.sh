# Functions of the quickstart: running commands in sight, starting servers, ending them.

exec 3>&1 # commands are shown here also where their output goes elsewhere

# Colours for a terminal only.
bold='' command_colour='' alarm='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\033[1m' command_colour=$'\033[36m' alarm=$'\033[31m' plain=$'\033[0m'
fi

title() { printf '\n%s== %s%s\n' "$bold" "$1" "$plain"; }
note() { printf '   %s\n' "$1"; }

# A word as one would type it, with $Q for our folder and $R for the repository.
show_word() {
    local word=${1//"$folder"/\$Q}
    word=${word//"$repo"/\$R}
    case $word in
    *[!A-Za-z0-9_./:=@,+%\$-]* | '')
        # In double quotes where the word has $Q or an apostrophe and nothing that they would change.
        case $1 in
        *[\"\`\\\$!]*) printf "'%s'" "${1//\'/\'\\\'\'}" ;;
        *\'*) printf '"%s"' "$word" ;;
        *) if [ "$word" = "$1" ]; then printf "'%s'" "$1"; else printf '"%s"' "$word"; fi ;;
        esac
        ;;
    *) printf '%s' "$word" ;;
    esac
}

# Prints the command; the words that make it run as nobody are shown as $S.
show() {
    local word words="$*" rest
    printf '%s$' "$command_colour" >&3
    rest=${words#"${as_server[*]} "}
    if [ ${#as_server[@]} -gt 0 ] && [ "$rest" != "$words" ]; then
        printf ' $S' >&3
        shift ${#as_server[@]}
    fi
    for word in "$@"; do
        printf ' ' >&3
        case $word in
        '&' | '|' | '>' | '>>') printf '%s' "$word" >&3 ;;
        *) show_word "$word" >&3 ;;
        esac
    done
    printf '%s\n' "$plain" >&3
}

# Prints the command, then runs it.
run() {
    show "$@"
    "$@"
}
run_in() {
    local where=$1
    shift
    (cd "$where" && "$@")
}

# Where we are root, servers run as nobody: PostgreSQL refuses root, and so does good sense.
if [ "$(id -u)" = 0 ]; then
    as_server=(setpriv --reuid=nobody --regid=nogroup --clear-groups --)
else
    as_server=()
fi
own() { if [ "$(id -u)" = 0 ]; then chown -R nobody:nogroup "$@"; fi; }

# start NAME COMMAND...: in the background, its words in NAME.log, its process id in pids.
start() {
    local name=$1
    shift
    show "$@" '&'
    setsid "$@" >"$folder/log/$name.log" 2>&1 </dev/null 3>&- &
    echo "$! $name" >>"$folder/pids"
}

# until_true NAME COMMAND...: waits until the command succeeds, or the process NAME has ended.
until_true() {
    local name=$1 pid tries=0
    shift
    pid=$(awk -v name="$name" '$2 == name { pid = $1 } END { print pid }' "$folder/pids")
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if ! kill -0 "$pid" 2>/dev/null || [ $tries -gt 600 ]; then
            echo "quickstart: $name did not start; its last words:" >&2
            tail -n 20 "$folder/log/$name.log" >&2
            exit 1
        fi
        sleep 0.1
    done
}

# Whether the folder is one that we made: nobody else's files are believed or removed.
is_ours() { [ ! -L "$folder" ] && [ -O "$folder" ] && [ -f "$folder/.renkei-quickstart" ]; }

# Ends the processes of the pids file, the last started first, each waited for.
stop_everything() {
    local pid name tries
    is_ours || return 0
    if [ -f "$folder/pids" ]; then
        tac "$folder/pids" | while read -r pid name; do
            # The number may belong to somebody else by now: only what runs in our folder is ended.
            grep -qsF "$folder" "/proc/$pid/cmdline" || continue
            case $name in
            postgresql) kill -INT "$pid" ;;
            *) kill -TERM "$pid" ;;
            esac
            tries=0
            while [ -d "/proc/$pid" ] && ! grep -qs '^State:.*Z' "/proc/$pid/status"; do
                tries=$((tries + 1))
                [ $tries -lt 150 ] || kill -KILL "$pid" 2>/dev/null || true
                sleep 0.1
            done
        done
    fi
    rm -rf "$folder"
}

finish() {
    local status=$?
    trap - EXIT
    if [ $status = 0 ] && [ $stay = yes ]; then return; fi
    if [ $status != 0 ]; then
        echo "quickstart: ended with status $status; the last words of what was running:" >&2
        tail -qn 3 "$folder"/log/*.log "$folder"/*/log/*.log 2>/dev/null | tail -n 20 >&2 || true
    fi
    stop_everything
    exit $status
}

# A fresh folder; what an earlier run left in it is ended first. A folder that is not ours stays.
prepare_folder() {
    if [ ! -e /proc/self/exe ]; then
        echo "quickstart: /proc is not mounted here" >&2
        echo "  hint: in a chroot: mount -t proc proc /proc" >&2
        exit 1
    fi
    if { [ -e "$folder" ] || [ -L "$folder" ]; } && ! is_ours; then
        echo "quickstart: $folder exists and was not made by the quickstart" >&2
        echo "  hint: choose another place with --folder DIR" >&2
        exit 1
    fi
    stop_everything
    mkdir -p "$folder/log" "$folder/data"
    chmod 755 "$folder"
    : >"$folder/.renkei-quickstart"
}

free_ports() {
    /usr/bin/python3 - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))
PYTHON
}

build_renkei() {
    if [ ! -f "$build/build.ninja" ]; then
        run meson setup "$build" --buildtype=release >"$repo/.quickstart.log" 2>&1 ||
            { cat "$repo/.quickstart.log"; exit 1; }
        rm -f "$repo/.quickstart.log"
    fi
    run ninja -C "$build" --quiet
}

# set_sources NAME: the mappings become the sources of that institution's gateway.
set_sources() {
    show printf "$sources" '>>' "$folder/$1/gateway.yaml"
    printf "$sources" >>"$folder/$1/gateway.yaml"
}

# fetch PATH FILE: as the patient, from the clinic's gateway, by curl.
fetch() {
    local url=https://127.0.0.1:${ports[0]}$1
    show "$renkei" sign GET "$url" --key "$folder/patient.pem" --ca "$folder/clinic/tls/gateway.crt" \
        '|' curl --fail-with-body -sS --config - '|' jq . '>' "$2"
    "$renkei" sign GET "$url" --key "$folder/patient.pem" --ca "$folder/clinic/tls/gateway.crt" |
        curl --fail-with-body -sS --config - >"$2.raw"
    jq . "$2.raw" >"$2"
    rm "$2.raw"
}
show_file() {
    show cat "$1"
    cat "$1"
}
verdicts() {
    run jq -r '.records[] | [.verdict, .date // "          ", .address] | join("  ")' "$1"
}
