#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Equal files of both stores share their place on the disk.
#
# bats file_tags=oldest-and-newest

load helpers

setup_file() {
    mkdir -p /srv/dedup/tree
    cd /srv/dedup || return 1
    local i
    for i in {1..200}; do
        mkdir -p "tree/$((i % 10))"
        { echo "$i" && head -c $((i * 211)) /dev/urandom; } >"tree/$((i % 10))/$i"
    done
    head -c 60000000 /dev/urandom >tree/blob
    ln tree/blob tree/link
    ln -s /etc/hostname tree/symlink
    printf 'FROM scratch\nCOPY tree /tree\n' >Containerfile
    head -c 9000000 /dev/urandom >top
    printf 'FROM localhost/base\nCOPY top /top\n' >Containerfile.top
}

setup() { cd /srv/dedup; }

teardown() {
    umount -q /var/lib/containers/storage/overlay /var/lib/containers/storage || true
    umount -q /sysroot || true
}

# two_stores FSTYPE - podman's own store and the bootc-owned one on a filesystem, as
# on a host with /sysroot read-only, and an image of two layers in both.
two_stores() {
    mount_sysroot "$1"
    new_sysroot
    own_store ostree/deploy/default/var/lib/containers/storage
    podman build -q --layers -t localhost/base .
    podman build -q --layers -t localhost/app -f Containerfile.top .
    oracle_init
    mount -o remount,bind,ro /sysroot
    oracle_push localhost/app
}

# files - every file of the layers of both stores, with all that may not change.
files() {
    local place
    for place in "$STORE" /var/lib/containers/storage; do
        (
            cd "$place/overlay"
            find . -path './*/diff/*' -printf '%p %i %y %m %U %G %n %s %T@ %C@ %l\n' | LC_ALL=C sort
            find . -path './*/diff/*' -type f -exec sha256sum {} + | LC_ALL=C sort
        )
    done
}

# still_good - podman and bootc read the image of their stores: every layer has its
# digest.
still_good() {
    local name
    for name in podman oracle; do
        rm -rf "$name.tar" "$name"
        "$name" save -q -o "$PWD/$name.tar" localhost/app
        mkdir "$name"
        tar -xf "$name.tar" -C "$name"
        jq -r '.rootfs.diff_ids[]' "$name/$(jq -r '.[0].Config' "$name/manifest.json")" | LC_ALL=C sort >"$name/want"
        jq -r '.[0].Layers[]' "$name/manifest.json" | while read -r layer; do
            echo "sha256:$(sha256sum <"$name/$layer" | cut -d' ' -f1)"
        done | LC_ALL=C sort | diff "$name/want" -
        rm -rf "$name.tar"
    done
    diff podman/want oracle/want
    diff -r --no-dereference tree "$(podman image mount localhost/app)/tree"
    podman image unmount localhost/app
    oracle_mounts localhost/app
}

# oracle_mounts NAME - the image can be mounted from the bootc-owned store.
oracle_mounts() {
    bp exec -- sh -c 'diff -r --no-dereference tree "$(podman image mount "$1")/tree"' sh "$1"
}

# writes_to_pipe PID - a thread of it waits for the reader of a pipe.
writes_to_pipe() { cat "/proc/$1/task/"*/stack | grep -q pipe_write; }

# saves_space FSTYPE
saves_space() {
    two_stores "$1"
    local before duplicate after
    files >before
    duplicate=$(find "$STORE"/overlay/*/diff -type f -printf '%i %s\n' | sort -u | awk '{ n += $2 } END { print n }')
    [ "$duplicate" -gt 69000000 ]
    before=$(used)
    bp dedup --scope stores --dry-run --format json
    assert "$(jq -r '.dry_run, .changed, .layers, .files, .bytes_shared' <<<"$output")" == "$(printf '%s\n' true false 2 202 0)"
    assert "$(used)" == "$before" "a dry run changes nothing"
    local promised
    promised=$(jq .bytes_saved <<<"$output")
    bp dedup --scope stores --format json
    after=$(used)
    echo "before: $before, after: $after, duplicate: $duplicate"
    [ $(((before - after) * 100)) -ge $((duplicate * 95)) ]
    assert "$(jq .changed <<<"$output")" == true
    assert "$(jq -r '.complete, .layers, .files, .bytes_shared, .bytes_saved, .files_different, .files_failed' <<<"$output")" == \
        "$(printf '%s\n' true 2 202 0 "$promised" 0 0)"
    [ $((promised * 100)) -ge $(((before - after) * 99)) ]
    [ $((promised * 99)) -le $(((before - after) * 100)) ]
    files | diff before -
    still_good
    bp dedup
    assert "${lines[-1]}" == "Nothing to do."
    bp dedup --format json
    assert "$(jq .changed <<<"$output")" == false
    files | diff before -
}

@test "dedup: xfs" { saves_space xfs; }
@test "dedup: btrfs" { saves_space btrfs; }

@test "dedup: ext4 is refused, and both stores are named" {
    two_stores ext4
    bp 1 dedup --scope stores
    assert "$output" == ""
    local want='^Error: share files of "/sysroot/ostree/bootc/storage" \(/dev/loop[0-9]+, ext4, on "/sysroot"\) with "/var/lib/containers/storage" \(/dev/loop[0-9]+, ext4, .*cannot share extents'
    assert "$stderr" =~ "$want"
    bp 1 dedup --scope stores --dry-run
    assert "$stderr" =~ "$want"
    bp 1 dedup
    assert "$stderr" =~ '^Error: share files of "/sysroot/ostree/bootc/storage" \(/dev/loop[0-9]+, ext4, .*cannot share extents'
}

@test "dedup: podman's own store on another filesystem is refused" {
    mount_sysroot xfs
    new_sysroot
    oracle_init
    podman build -q --layers -t localhost/base .
    podman build -q --layers -t localhost/app -f Containerfile.top .
    oracle_push localhost/app
    bp 1 dedup --scope stores
    local want='xfs, on "/sysroot"\) with "/var/lib/containers/storage" \(containers, tmpfs, .*different filesystems'
    assert "$stderr" =~ "$want"
}

@test "dedup: podman's own store on a read-only mount, nothing left behind" {
    two_stores xfs
    mountpoint -q /var/lib/containers/storage/overlay || mount --bind /var/lib/containers/storage/overlay{,}
    mount -o remount,bind,ro /var/lib/containers/storage/overlay
    mount_table >before
    bp dedup --quiet
    assert "$stderr" == ""
    assert "${lines[-1]}" =~ "Saved:   [67].* MB"
    mount_table | diff before -
}

@test "dedup: killed at many moments, everything is whole and the rest is done" {
    two_stores xfs
    files >before
    local start moment
    start=$(used)
    for moment in 0.0{02..30}; do
        run timeout -s KILL "$moment" "$BOOTC_PODMAN" dedup --quiet
        echo "after $moment s: $status, $(used) bytes used"
    done
    files | diff before -
    bp dedup
    bp dedup
    assert "${lines[-1]}" == "Nothing to do."
    [ $((start - $(used))) -ge 66000000 ]
    files | diff before -
    still_good
}

@test "dedup: a damaged file is warned of and left unchanged, the rest is done, and the status is 1" {
    two_stores btrfs
    local damaged
    damaged=$(echo /var/lib/containers/storage/overlay/*/diff/tree/3/113)
    printf damaged | dd of="$damaged" bs=1 seek=9000 conv=notrunc status=none
    files >before
    bp 1 dedup --quiet
    assert "${stderr_lines[0]}" == "Warning: share \"$damaged\": content differs between the stores, though the layer is the same"
    assert "${stderr_lines[1]}" == "Error: share files of both stores: 1 file differs, though it is of the same layer"
    assert "${stderr_lines[2]}" =~ '^Hint: "podman image push IMAGE dir:DIR" fails'
    assert "${lines[-2]}" =~ "Saved:   [67].* MB"
    assert "${lines[-1]}" =~ "Differ:  1"
    files | diff before -
    bp 1 dedup --quiet --format json
    assert "$(jq -r '.complete, .files_different' <<<"$output")" == "$(printf '%s\n' true 1)"
    # What the hint says.
    run podman image push -q localhost/app dir:pushed
    [ "$status" -ne 0 ]
    bp image push -q localhost/app dir:whole
}

@test "dedup: interrupted, it says what it saved" {
    two_stores xfs
    # A warning that no process reads stops the run until the signal arrives.
    local damaged
    for damaged in /var/lib/containers/storage/overlay/*/diff/tree/*/*; do
        printf x | dd of="$damaged" bs=1 conv=notrunc status=none
    done
    mkfifo pipe
    exec 8<>pipe
    head -c 65536 /dev/zero >&8
    "$BOOTC_PODMAN" dedup --quiet --format json >result 2>pipe 3>&- &
    local pid=$!
    wait_for writes_to_pipe "$pid"
    kill -INT "$pid"
    cat <&8 >err &
    local reader=$!
    status=0
    wait "$pid" || status=$?
    wait_for grep -aq "^Error: share files of both stores: interrupt signal received; the next run continues from here" err
    kill "$reader"
    exec 8>&-
    rm pipe
    assert "$status" == 1
    assert "$(jq .complete result)" == false
    bp 1 dedup --quiet
    assert "${lines[-1]}" =~ "Differ:  200"
}
