#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Images of composefs deployments, cloned out of the composefs repository, as podman sees
# them.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own

load helpers
load layers

STORE_PROGRAM=${STORE_PROGRAM:-$(dirname "$BOOTC_PODMAN")/bootc-podman-store}
[ -x "$STORE_PROGRAM" ] || STORE_PROGRAM=$(dirname "$BOOTC_PODMAN")/../libexec/bootc-podman/bootc-podman-store
MKCOMPOSEFS=${MKCOMPOSEFS:-$(dirname "$BATS_TEST_FILENAME")/../bin/mkcomposefs}

setup_file() {
    mount_sysroot xfs
    # podman's own store on the same filesystem.
    mkdir -p /sysroot/containers /var/lib/containers/storage
    mount --bind /sysroot/containers /var/lib/containers/storage
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

# layout_of TAR... - an OCI layout in the directory layout, of layers that are not
# compressed, so that a push has the same digest.
layout_of() {
    local tar layers='[]' diffs='[]' digest config
    mkdir -p layout/blobs/sha256
    for tar; do
        digest=$(sha256sum <"$tar" | cut -d' ' -f1)
        cp "$tar" "layout/blobs/sha256/$digest"
        layers=$(jq -c --arg d "sha256:$digest" --argjson s "$(stat -c %s "$tar")" \
            '. + [{mediaType: "application/vnd.oci.image.layer.v1.tar", digest: $d, size: $s}]' <<<"$layers")
        diffs=$(jq -c --arg d "sha256:$digest" '. + [$d]' <<<"$diffs")
    done
    jq -nc --argjson d "$diffs" '{architecture: "amd64", os: "linux", created: "2026-08-01T10:00:00Z",
        config: {Entrypoint: ["/bin/program"]}, rootfs: {type: "layers", diff_ids: $d}}' >config
    config=$(sha256sum <config | cut -d' ' -f1)
    cp config "layout/blobs/sha256/$config"
    jq -nc --argjson l "$layers" --arg d "sha256:$config" --argjson s "$(stat -c %s config)" '{schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $d, size: $s}, layers: $l}' >manifest.json
    digest=$(sha256sum <manifest.json | cut -d' ' -f1)
    cp manifest.json "layout/blobs/sha256/$digest"
    jq -nc --arg d "sha256:$digest" --argjson s "$(stat -c %s manifest.json)" '{schemaVersion: 2, manifests: [{
        mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $d, size: $s}]}' >layout/index.json
    printf '{"imageLayoutVersion":"1.0.0"}' >layout/oci-layout
}

# hard_image - the layout of an image with what is hard to copy, and one file of 30 MB.
hard_image() {
    mkdir -p hard/{bin,d,dir.removed,opaque,proc,dev,sys,etc,tmp,run}
    cp "$STORE_PROGRAM" hard/bin/program # a program without libraries
    echo content >hard/d/file
    head -c 30000000 /dev/urandom >hard/d/large
    : >hard/d/empty
    ln hard/d/large hard/d/hardlink
    ln -s ../d/file hard/d/symlink
    printf 'x' >"hard/d/größe"$'\n''☃'
    cp hard/bin/program hard/d/setuid
    chown 12:34 hard/d/setuid
    chmod 6755 hard/d/setuid
    cp hard/bin/program hard/bin/capable
    setcap cap_net_raw+ep hard/bin/capable
    mknod hard/d/device b 8 300
    mkfifo -m 622 hard/d/fifo
    echo old >hard/opaque/old
    touch -d '2001-02-03 04:05:06.789' hard/d/file
    echo removed | tee hard/removed >hard/dir.removed/file
    tar --xattrs --xattrs-include='*' --format=posix -C hard -cf 1.tar .
    mkdir -p upper/opaque
    touch upper/.wh.removed upper/.wh.dir.removed upper/opaque/.wh..wh..opq
    head -c 100 /dev/urandom >upper/opaque/new
    tar --format=gnu --no-recursion -C upper -cf 2.tar .wh.removed .wh.dir.removed opaque opaque/.wh..wh..opq opaque/new
    layout_of 1.tar 2.tar
}

# boot REPOSITORY DIGEST - a composefs host that has booted an image of a repository, which
# is copied.
boot() {
    local verity
    verity=$(printf 'a%.0s' {1..128})
    umount -q /proc/cmdline || true
    rm -rf /sysroot/ostree /sysroot/composefs /sysroot/state /run/ostree-booted /run/bootc /run/bootc-podman
    mkdir -p /sysroot/ostree "/sysroot/state/deploy/$verity"
    cp -a "$1" /sysroot/composefs
    mkdir -p /sysroot/composefs/bootc
    ln -s ../composefs/bootc /sysroot/ostree/bootc
    printf '[origin]\ncontainer-image-reference = ostree-unverified-image:docker://quay.io/test/os:42\n[boot]\nboot_type = bls\n[image]\nmanifest_digest = %s\n' \
        "$2" >"/sysroot/state/deploy/$verity/$verity.origin"
    echo "root=/dev/vda composefs=$verity" >/run/cmdline
    mount --bind /run/cmdline /proc/cmdline
}

# used - the bytes that the filesystem of the stores has in use.
used() {
    sync -f /sysroot
    df -B1 --output=used /sysroot | tail -1
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
    assert "$output" !~ "Digest changed"
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
