#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Images of composefs deployments, cloned out of the composefs repository, as podman sees
# them.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own

load helpers
load layers
load os-images

STORE_PROGRAM=${STORE_PROGRAM:-$(dirname "$BOOTC_PODMAN")/bootc-podman-store}
[ -x "$STORE_PROGRAM" ] || STORE_PROGRAM=$(dirname "$BOOTC_PODMAN")/../libexec/bootc-podman/bootc-podman-store
MKCOMPOSEFS=${MKCOMPOSEFS:-$(dirname "$BATS_TEST_FILENAME")/../bin/mkcomposefs}

setup_file() {
    mount_sysroot xfs
    own_store containers
    cd /srv || return 1
    hard_image
    "$MKCOMPOSEFS" import sha512 layout made >digest
}

teardown_file() {
    umount -q /proc/cmdline || true
    umount -l /var/lib/containers/storage /sysroot
}

setup() {
    cd "$BATS_TEST_TMPDIR"
    podman rmi -af >/dev/null 2>&1 || true
    boot /srv/made "$(cat /srv/digest)"
}

# hard_image - an image with what is hard to copy, and one file of 30 MB, in the image layout in
# the directory layout. Its layers are not compressed, so that a push has the same digest.
hard_image() {
    hard_trees "$STORE_PROGRAM"
    mkdir hard/{proc,dev,sys,etc,tmp,run}
    head -c 30000000 /dev/urandom >hard/d/large
    ln hard/d/large hard/d/another
    tar --xattrs --xattrs-include='*' --format=posix -C hard -cf 1.tar .
    tar --format=gnu --no-recursion -C upper -cf 2.tar .wh.removed .wh.dir.removed opaque opaque/.wh..wh..opq opaque/new
    image_of_layers cat 1.tar 2.tar
    skopeo copy -q --preserve-digests dir:dir oci:layout
}

# boot REPOSITORY DIGEST - a composefs host that has booted an image of a repository, which
# is copied.
boot() {
    rm -rf /sysroot/ostree /sysroot/composefs /sysroot/state /run/ostree-booted /run/bootc /run/bootc-podman
    cp -a "$1" /sysroot/composefs
    os_boot_composefs quay.io/test/os:42 "$2"
}

# pushed PODMAN... - the manifest digest of a push of the image, and its blobs in the
# directory pushed.
pushed() {
    rm -rf pushed
    "$@" push -q quay.io/test/os:42 "dir:$PWD/pushed" >/dev/null
    echo "sha256:$(sha256sum <pushed/manifest.json | cut -d' ' -f1)"
}

# not_written - neither store has anything of the image.
not_written() {
    local left
    left=$(find "$STORE/overlay" /var/lib/containers/storage/overlay -path '*/diff/*' 2>/dev/null | head -3)
    [ -z "$left" ] || die "written: $left"
    assert "$(oracle images -aq 2>/dev/null || true)" == ""
    assert "$(podman images -aq)" == ""
}

@test "composefs: the bootc-owned store gets the booted image, exact and without its bytes" {
    local before digest image
    digest=$(cat /srv/digest)
    bp set-unified --plan
    assert "$output" =~ "composefs"
    assert "$output" =~ "the composefs repository has what is booted"
    bp init
    before=$(used)
    bp set-unified --quiet
    [ $(($(used) - before)) -lt 1200000 ] || die "the filesystem grew by $(($(used) - before)) bytes"
    assert "$(oracle images --digests --format '{{.Repository}}:{{.Tag}} {{.Digest}}')" == "quay.io/test/os:42 $digest"
    assert "$(pushed oracle)" == "$digest"
    for image in /srv/1.tar /srv/2.tar; do
        cmp "$image" "pushed/$(sha256sum <"$image" | cut -d' ' -f1)"
    done
    bp list --type host --format json
    assert "$(jq -r '.[] | select(.store == "composefs") | .architecture' <<<"$output")" == amd64
    bp status --format '{{.Unified.On}}'
    assert "$output" == true
    bp set-unified
    assert "$output" =~ "already in bootc storage"
}

@test "composefs: podman runs and mounts what copy-to-storage made, and its layers are those of a pull" {
    local digest mounted layer
    digest=$(cat /srv/digest)
    bp copy-to-storage --target quay.io/test/os:42
    assert "$output" =~ ": same image, digest kept"
    assert "$(podman images --digests --format '{{.Repository}}:{{.Tag}} {{.Digest}}')" == "quay.io/test/os:42 $digest"
    assert "$(pushed podman)" == "$digest"
    mounted=$(podman image mount quay.io/test/os:42)
    cmp "$mounted/d/large" /srv/hard/d/large
    [ ! -e "$mounted/removed" ] && [ ! -e "$mounted/opaque/old" ] && [ -e "$mounted/opaque/new" ]
    assert "$(getcap "$mounted/bin/capable")" =~ cap_net_raw
    podman image unmount quay.io/test/os:42 >/dev/null
    printf '[containers]\ndefault_ulimits=["nofile=4096:4096","nproc=4096:4096"]\npids_limit = 0\n' >containers.conf
    # The program, in the container, finds no job.
    CONTAINERS_CONF=$PWD/containers.conf podman run --rm --runtime runc --network none quay.io/test/os:42 </dev/null >out
    assert "$(jq -r .failure.kind out)" == failed
    mkdir -p /sysroot/pulled
    podman --root /sysroot/pulled --runroot /run/pulled --storage-driver overlay pull -q oci:/srv/layout >/dev/null
    # podman 4.3.1 to 6.1.1 ignore an archive's entry for the root: the root keeps the mode
    # 0555 that it is made with, and layers above without an entry take that over. The clone
    # follows the entry, as containers/storage 1.64 does.
    for layer in $(jq -r '.[].id' /sysroot/pulled/overlay-layers/layers.json); do
        chmod --reference="/var/lib/containers/storage/overlay/$layer/diff" "/sysroot/pulled/overlay/$layer/diff"
    done
    same_layers /sysroot/pulled /var/lib/containers/storage 2
    umount -q /sysroot/pulled/overlay || true
    rm -rf /sysroot/pulled
}

@test "composefs: repositories of the real tools, of both algorithms, and of old versions" {
    local fixture manifest=sha256:a1fdedd92f48963e00efa0adcba10bba9c180a8bf141aa38570e3e9a0226a289
    for fixture in bootc-1.16.9 cfsctl-0.9.4 cfsctl-0.6.0; do
        rm -rf fixture
        "$MKCOMPOSEFS" extract "$fixture" fixture
        boot fixture/composefs "$manifest"
        bp set-unified --quiet --verify full
        assert "$(oracle images --digests --format '{{.Digest}}')" == "$manifest"
        podman rmi -af >/dev/null
        bp copy-to-storage --from composefs --target quay.io/test/os:42
        # Compressed again, the layers' archives have their diff IDs.
        pushed podman >/dev/null
        assert "$(for blob in $(jq -r '.layers[].digest' pushed/manifest.json); do zcat -f "pushed/${blob#sha256:}" | sha256sum | cut -d' ' -f1; done | xargs)" == \
            "5f932ae678c9f215fec8d58366271dcd97a558457b58116fb1f57cd3e725f411 cb3afc7617bf40742bb425088dc0ee0236d84c83347449c0b6c341a40433c2e8"
        podman rmi -af >/dev/null
    done
    for kind in sha256 old; do
        rm -rf "/srv/made.$kind"
        "$MKCOMPOSEFS" import "$kind" /srv/layout "/srv/made.$kind" >digest
        boot "/srv/made.$kind" "$(cat digest)"
        bp set-unified --quiet
        assert "$(pushed oracle)" == "$(cat digest)"
    done
}

@test "composefs: a damaged repository is named, and nothing is written" {
    local digest diff object
    digest=$(cat /srv/digest)
    diff=sha256:$(sha256sum </srv/2.tar | cut -d' ' -f1)
    object=$(find /sysroot/composefs/objects -type f -size 30000000c)

    printf x | dd of="$object" bs=1 seek=1000 conv=notrunc status=none
    bp 1 set-unified --from composefs
    assert "$stderr" =~ "its archive is sha256:"
    not_written

    truncate -s +1 "$object"
    bp 1 copy-to-storage --from composefs
    assert "$stderr" =~ "30000001 bytes instead of the 30000000"
    not_written

    rm "$object"
    bp 1 copy-to-storage --from composefs
    assert "$stderr" =~ "no such file"
    not_written

    boot /srv/made "$digest"
    "$MKCOMPOSEFS" poison /sysroot/composefs "$diff"
    bp 1 set-unified --from composefs
    assert "$stderr" =~ "$diff"
    assert "$stderr" =~ "not verified"
    not_written
}
