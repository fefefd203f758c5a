#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# The image of a host, in its ostree repository and in both stores, takes the space of one.
#
# bats file_tags=oldest-and-newest

load helpers
load os-images
load containers

FILES=1200 # of the image, of 50 kB each

# system VERSION - the image of a system: an archive for podman, and a directory as
# skopeo's transport dir has it. The second version changes 10 % of the files.
system() {
    local i file dir=/srv/host/$1
    mkdir -p "$dir"
    if [ "$1" == 1 ]; then
        os_tree "$dir/root" 1
        rm "$dir/root/ostree"
        shell_context "$dir"
        cp -L "$(type -P sha256sum)" "$(type -P stat)" "$dir/root/bin"
        # shellcheck disable=SC2046 # one word each
        cp -L --parents $(ldd "$(type -P sha256sum)" "$(type -P stat)" | grep -o ' /[^ ]*') "$dir/root"
        mkdir -p "$dir/root/usr/share/"{0..49}
        for ((i = 0; i < FILES; i++)); do
            file=$dir/root/usr/share/$((i % 50))/$i
            echo "$i" >"$file"
            head -c $(((i * i % 30011 + i % 100 * 200) * 2)) random >>"$file"
        done
        head -c 100000 /dev/urandom >"$dir/root/usr/etc/large.conf"
        ln "$dir/root/usr/share/7/7" "$dir/root/usr/share/again"
    else
        cp -a 1/root 1/Containerfile "$dir"
        for ((i = 0; i < FILES; i += 10)); do
            echo changed >>"$dir/root/usr/share/$((i % 50))/$i"
        done
        rm "$dir/root/usr/share/again"
    fi
    scratch_podman build -q -t localhost/os:"$1" "$dir"
    scratch_podman save -q -o "$1.tar" "localhost/os:$1"
    scratch_podman push -q --compress "localhost/os:$1" "dir:$dir/image"
}

setup_file() {
    mkdir -p /srv/host
    cd /srv/host || return 1
    container_conf
    head -c 120000 /dev/urandom >random
    system 1
    system 2
}

setup() { cd /srv/host; }

teardown() {
    podman rm -aft 0 >/dev/null || true
    umount -q /var/lib/containers/storage/overlay /var/lib/containers/storage || true
    umount -q /sysroot || true
}

# host FSTYPE - a host without images, /sysroot read-only as on a real one.
host() {
    mount_sysroot "$1"
    empty=$(used)
    new_sysroot
    own_store ostree/deploy/default/var/lib/containers/storage
    oracle_init
}

# both_stores VERSION - the image in both stores, as copies.
both_stores() {
    podman load -q -i "/srv/host/$1.tar"
    oracle_push "localhost/os:$1"
}

# at_most FACTOR BYTES - what is used is at most so many times BYTES, each without what an
# empty filesystem takes.
at_most() {
    local now
    now=$(used)
    echo "empty: $empty, now: $now, before: $2: $(((now - empty) * 1000 / ($2 - empty))) of 1000"
    [ $(((now - empty) * 1000)) -le $((($2 - empty) * $1)) ]
}

# files - every file of the repository and of the layers of both stores, with all that may
# not change.
files() {
    local place
    for place in "$REPO/objects" "$STORE/overlay" /var/lib/containers/storage/overlay; do
        (
            cd "$place"
            find . \( -path './*/diff/*' -o -name '*.file' \) -printf '%p %i %y %m %U %G %n %s %T@ %C@ %l\n' | LC_ALL=C sort
            find . \( -path './*/diff/*' -o -name '*.file' \) -type f -exec sha256sum {} + | LC_ALL=C sort
        )
    done
}

# still_good VERSION - ostree, podman and bootc read what is theirs, and the layer has the
# digest that it was made with.
still_good() {
    local name
    ostree --repo="$REPO" fsck -q
    for name in podman bootc; do
        rm -rf "$name"
        case $name in
        podman) podman image push -q "localhost/os:$1" "dir:/srv/host/$name" ;;
        bootc) bp image push -q "localhost/os:$1" "dir:/srv/host/$name" ;;
        esac
        assert "$(config_of "$name" | sha256sum)" == "$(config_of "$1/image" | sha256sum)"
    done
    if podman system check --help | grep -q -- --quick; then
        podman system check
        bp exec -- podman system check
    fi
    podman image mount "localhost/os:$1" >mountpoint
    diff -r --no-dereference "$1/root" "$(cat mountpoint)"
    podman image unmount "localhost/os:$1" >/dev/null
}

# config_of DIR - the configuration of the image in a directory, with its diff IDs, which
# podman compares with what it pushes.
config_of() { cat "$1/$(jq -r '.config.digest | ltrimstr("sha256:")' "$1/manifest.json")"; }

# start_watcher - a container of the image that compares its files all the time, holds one
# open, and has a copy of another in the directory that is its own. Blocks are compared at
# the end: XFS counts those of both files for a moment, with any program that shares.
start_watcher() {
    # Where space is reserved for what is not written yet, the blocks of a file change later.
    sync
    run_container -d --name watcher localhost/os:1 /bin/sh -c '
        trap "stop=1" TERM
        cat /usr/share/9/9 >/tmp/copy
        exec 3</usr/share/11/11
        sha256sum /usr/share/*/*1 /bin/* >/tmp/sums
        stat -c "%n %i %s %Y %Z" /usr/share/*/* >/tmp/stat
        stat -c "%n %b" /usr/share/*/* >/tmp/blocks
        echo started >/tmp/log
        while [ -z "$stop" ]; do
            sha256sum --quiet -c /tmp/sums >>/tmp/log 2>&1
            sha256sum </proc/self/fd/3 >>/tmp/open
            stat -c "%n %i %s %Y %Z" /usr/share/*/* >/tmp/stat.now
            [ "$(cat /tmp/stat)" = "$(cat /tmp/stat.now)" ] || { echo changed; cat /tmp/stat.now >/tmp/stat.changed; } >>/tmp/log
        done
        stat -c "%n %b" /usr/share/*/* >/tmp/blocks.now
        echo stopped >>/tmp/log' 3>&- 4>&-
    upper=$(podman container inspect --format '{{.GraphDriver.Data.UpperDir}}' watcher)
    wait_for test -e "$upper/tmp/open"
    place_of "$upper/tmp/copy" >place
}

# place_of FILE - where it lies on the disk, whether that is shared or not.
place_of() { filefrag -v "$1" | sed 's/\bshared,\?//'; }

stop_watcher() {
    podman kill --signal TERM watcher >/dev/null
    timeout 60 podman wait watcher >/dev/null
    [ ! -e "$upper/tmp/stat.changed" ] || diff "$upper/tmp/stat" "$upper/tmp/stat.changed"
    diff "$upper/tmp/blocks" "$upper/tmp/blocks.now"
    assert "$(cat "$upper/tmp/log")" == "$(printf '%s\n' started stopped)"
    assert "$(sort -u "$upper/tmp/open")" == "$(sha256sum <1/root/usr/share/11/11)"
    place_of "$upper/tmp/copy" | diff place -
    podman rm watcher >/dev/null
}

# one_copy FSTYPE
one_copy() {
    local empty alone upper
    host "$1"
    os_import docker_3A__2F__2F_localhost_2F_os_3A_1 1/image >commit
    os_deploy "$(cat commit)" ostree-unverified-registry:localhost/os:1
    alone=$(used)
    both_stores 1
    files >before
    start_watcher
    mount -o remount,bind,ro /sysroot
    bp dedup --dry-run
    bp dedup
    stop_watcher
    files | diff before -
    at_most 1050 "$alone"
    still_good 1
    bp dedup
    assert "${lines[-1]}" == "Nothing to do."
    # An upgrade, while the version before is still deployed.
    mount -o remount,bind,rw /sysroot
    alone=$((alone - $(used)))
    os_import docker_3A__2F__2F_localhost_2F_os_3A_2 2/image >commit
    alone=$((alone + $(used)))
    both_stores 2
    files >before
    mount -o remount,bind,ro /sysroot
    # Killed at 50 moments.
    local moment
    for moment in $(seq 0.005 0.005 0.25); do
        run timeout -s KILL "$moment" "$BOOTC_PODMAN" dedup --quiet
        echo "after $moment s: $status"
    done
    bp dedup
    files | diff before -
    still_good 2
    still_good 1
    # What is left beside the repository is the metadata of the files.
    at_most 1090 "$alone"
    podman rmi -f localhost/os:1 >/dev/null
    bp image rm --force-in-use -f localhost/os:1
    at_most 1050 "$alone"
    bp dedup
    assert "${lines[-1]}" == "Nothing to do."
}

@test "dedup: one copy of a host's image on xfs" { one_copy xfs; }
@test "dedup: one copy of a host's image on btrfs" { one_copy btrfs; }
