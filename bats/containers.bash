# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Containers that run on a scratch host (see scratch-host), for tests of hooks.

# What makes podman run here, where the limits are low, and cgroups are another's.
container_conf() {
    mkdir -p /etc/containers/containers.conf.d
    cat >/etc/containers/containers.conf <<'END'
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
pids_limit = 0
[engine]
runtime = "runc"
events_logger = "file"
END
}

# shell_context DIR [TEXT] - a build context of a shell and a few programs, with
# the libraries they need; nothing is fetched. Its label and a file identify an image.
shell_context() {
    local program path
    mkdir -p "$1/root/bin" "$1/root/tmp" "$1/root/x"
    for program in sh cat sleep touch true; do
        path=$(type -P "$program")
        cp -L "$path" "$1/root/bin/$program"
        # shellcheck disable=SC2046 # one word each
        cp -L --parents $(ldd "$path" | grep -o '/[^ ]*') "$1/root"
    done
    printf '%s\n' "${2:-shell}" >"$1/root/text"
    printf 'FROM scratch\nCOPY root /\nLABEL text="%s"\nCMD ["/bin/sh"]\n' "${2:-shell}" >"$1/Containerfile"
}

# install_hooks [RC] ARG... - install the hooks, with a copy of the program in a place that
# is root's alone, which the project's folder need not be.
install_hooks() {
    local rc=0 program=/usr/lib/hooks-under-test/bootc-podman
    [[ ${1-} != [0-9]* ]] || { rc=$1 && shift; }
    [ -e "$program" ] || install -D -m 0755 "$BOOTC_PODMAN" "$program"
    bp "$rc" hooks install --program "$program" "$@"
}

# run_container ARG... - podman run as it works here.
run_container() { podman run --network none "$@"; }

# final_config NAME - the configuration that the runtime was given for a container.
final_config() {
    local id
    id=$(podman container inspect --format '{{.Id}}' "$1")
    cat "$(podman info --format '{{.Store.GraphRoot}}')/overlay-containers/$id/userdata/config.json"
}

# journal_start - a journal of our own on this scratch host, in /srv/journal.
# shellcheck disable=SC2016 # perl's variables
journal_start() {
    mkdir -p /run/systemd/journal
    perl -MIO::Socket::UNIX -MSocket -e '
        unlink "/run/systemd/journal/socket";
        my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => "/run/systemd/journal/socket") or die $!;
        open(my $out, ">>", "/srv/journal") or die $!; $out->autoflush(1);
        while (defined $s->recv(my $record, 1 << 20)) { print $out "$record\n"; }' 3>&- &
    JOURNAL_PID=$!
    wait_for test -S /run/systemd/journal/socket
}

journal_stop() { kill "$JOURNAL_PID" && rm -f /run/systemd/journal/socket; }
