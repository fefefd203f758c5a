#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Images that bootc-podman-store makes of an ostree repository, compared with those
# that podman pulls from the exporter.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own

load helpers
load os-images
load layers

STORE_PROGRAM=${STORE_PROGRAM:-$(dirname "$BOOTC_PODMAN")/bootc-podman-store}
[ -x "$STORE_PROGRAM" ] || STORE_PROGRAM=$(dirname "$BOOTC_PODMAN")/../libexec/bootc-podman/bootc-podman-store

setup_file() {
    mount_sysroot xfs
    ln -sfn sysroot/ostree /ostree
    own_store containers
    cd /srv || return 1
    os_tree tree 42
    echo program >tree/usr/bin/program
    chmod 4755 tree/usr/bin/program
    head -c 3000000 /dev/urandom >tree/usr/lib/blob
    truncate -s 1M tree/usr/lib/sparse
    # Repeated files, of which ostree keeps one object.
    mkdir -p tree/usr/share/many
    head -c 1000000 /dev/urandom >tree/usr/share/many/001
    for i in {002..100}; do
        ln tree/usr/share/many/001 "tree/usr/share/many/$i"
    done
    cp -p tree/usr/bin/program tree/usr/bin/program2
    echo configured >tree/usr/etc/configuration
    echo removed | tee tree/usr/lib/removed >tree/usr/lib/version.old
    mkdir -p tree/usr/share/hidden
    echo old >tree/usr/share/hidden/old
    mkdir -p upper/usr/lib upper/usr/share/hidden
    touch upper/usr/lib/.wh.removed upper/usr/share/hidden/.wh..wh..opq
    echo new >upper/usr/share/hidden/new
    ln -s ../lib/blob upper/usr/share/link
    cp -a tree/usr/share/many/001 upper/usr/share/many.upper
    ln upper/usr/share/many.upper upper/usr/share/many.upper2
}

teardown_file() {
    umount -q /proc/cmdline || true
    umount -l /var/lib/containers/storage /sysroot
}

setup() {
    cd "$BATS_TEST_TMPDIR"
    umount -q /proc/cmdline || true
    new_sysroot
    podman rmi -af >/dev/null 2>&1 || true
    cp -a /srv/tree /srv/upper .
    COMMIT=$(os_image docker_3A__2F__2F_localhost/os_3A_42 42 tree upper)
    os_boot "$(os_deploy "$COMMIT" ostree-unverified-registry:localhost/os:42)"
}

# export_image ROOT RUN [COMMAND...] - export what is booted into a store.
export_image() {
    local root=$1 run=$2
    shift 2
    jq -nc --arg commit "$COMMIT" --arg root "$root" --arg run "$run" '{ostree: {sysroot: "/", commit: $commit},
        source: {graph_root: "", run_root: "", driver: ""}, image: "",
        destination: {graph_root: $root, run_root: $run, driver: "overlay"}, names: ["localhost/clone:1"], verify: "full"}' >job
    "$@" "$STORE_PROGRAM" <job >answers
    RESULT=$(tail -n 1 answers)
    jq -e .result <<<"$RESULT" >/dev/null || die "export: $RESULT"
}

# image_of ROOT - the image's ID, digest and documents.
image_of() {
    jq -S '.[] | {id, digest, layer, "data": ."big-data-digests" | del(.[keys[] | select(startswith("signature"))])}' "$1/overlay-images/images.json"
}

@test "export: the image is that which podman pulls, without its bytes" {
    local before
    bp copy-to-storage --quiet --method podman --target localhost/export:1
    before=$(df -B1 --output=used /sysroot | tail -1)
    bp init
    export_image /run/bootc/storage /proc/self/fd/3 "$BOOTC_PODMAN" exec --
    sync -f /sysroot
    [ $(($(df -B1 --output=used /sysroot | tail -1) - before)) -lt 2000000 ]
    assert "$(jq '[.result.layers[] | .copied] | add' <<<"$RESULT")" == 0
    assert "$(image_of "$STORE")" == "$(image_of /var/lib/containers/storage)"
    same_layers /var/lib/containers/storage "$STORE" "$(jq '.result.layers | length' <<<"$RESULT")"
    assert "$(oracle images --digests --format '{{.Digest}}')" == "$(podman images --digests --format '{{.Digest}}')"
    oracle rmi localhost/clone:1
}

@test "export: a repeated file is there once, with all its names, and imported again it is the same" {
    local sum dir original
    bp copy-to-storage --quiet --method podman --target localhost/export:1
    podman push -q localhost/export:1 dir:pushed
    podman rmi -af >/dev/null
    bp copy-to-storage --quiet --method clone --target localhost/export:1
    podman push -q localhost/export:1 dir:cloned
    cmp <(jq -c .layers pushed/manifest.json) <(jq -c .layers cloned/manifest.json)
    dir=$(podman image mount localhost/export:1)
    assert "$(du -sm --apparent-size "$dir/usr/share" | cut -f1)" =~ '^[23]$'
    assert "$(stat -c %h "$dir/usr/share/many/"* | sort -u)" == 100
    assert "$(stat -c %h "$dir/usr/share/many.upper2")" == 2
    assert "$(stat -c '%h %a' "$dir/usr/bin/program2")" == "2 4755"
    podman image umount localhost/export:1
    for sum in $(jq -r '.layers[].digest | ltrimstr("sha256:")' pushed/manifest.json); do
        gzip -dcf "pushed/$sum" | tar -tvf - >>listing
        cat "pushed/$sum" >>bytes
    done
    # The 3 MB of one file, 2 MB of the two layers' repeated ones, and the sparse one.
    [ "$(gzip -dcf bytes | wc -c)" -lt 8000000 ]
    assert "$(grep -c ' link to usr/share/many/001' listing)" == 99
    # Each layer, imported as ostree-ext does, is the same tree.
    paste -d ' ' <(jq -r '.layers[].digest' manifest.json) <(jq -r '.layers[].digest' pushed/manifest.json) >layers
    while read -r original sum; do
        gzip -dcf "pushed/${sum#*:}" | os_ostree commit --no-bindings --tar-autocreate-parents --tree=tar=/proc/self/fd/0 \
            --tar-pathname-filter='^(\./)?etc,usr/etc' --timestamp=@0 --branch again >/dev/null
        diff <(os_ostree ls -R -C "ostree/container/blob/sha256_3A_${original#*:}") <(os_ostree ls -R -C again)
    done <layers
    [ "$(wc -l <layers)" -eq 2 ]
}

@test "export: podman's own store without a namespace, layers shared the second time" {
    export_image /var/lib/containers/storage /run/containers/storage
    assert "$(jq '[.result.layers[].shared] | any' <<<"$RESULT")" == false
    export_image /var/lib/containers/storage /run/containers/storage
    assert "$(jq '[.result.layers[].shared] | all' <<<"$RESULT")" == true
    local dir
    dir=$(podman image mount localhost/clone:1)
    assert "$(cat "$dir/etc/configuration")" == configured
    [ ! -e "$dir/usr/etc" ]
    podman image umount localhost/clone:1
    podman rmi localhost/clone:1
    [ ! -e /var/lib/containers/storage/bootc-podman.staging ]
}

@test "export: a corrupt object is refused" {
    local object
    object=$(find /sysroot/ostree/repo/objects -name '*.file' -size +1000k -type f ! -size 1024k | head -1)
    printf X | dd of="$object" bs=1 seek=5000 conv=notrunc status=none
    jq -nc --arg commit "$COMMIT" '{ostree: {sysroot: "/", commit: $commit}, source: {graph_root: "", run_root: "", driver: ""}, image: "",
        destination: {graph_root: "/var/lib/containers/storage", run_root: "/run/containers/storage", driver: "overlay"},
        names: [], verify: "none"}' | "$STORE_PROGRAM" >answers
    assert "$(jq -r .failure.message answers)" =~ "object is corrupt"
    assert "$(jq length /var/lib/containers/storage/overlay-layers/layers.json)" == 0
    [ ! -e /var/lib/containers/storage/bootc-podman.staging ]
}

@test "export: the image below locally layered packages, of a host that has none to copy" {
    local layered file
    cp -a tree layered-tree
    echo package >layered-tree/usr/bin/htop
    layered=$(os_ostree commit --no-bindings --branch rpmostree/app --tree=dir=layered-tree --parent="$COMMIT" \
        --add-metadata=rpmostree.clientlayer=true --add-metadata=ostree.bootable=true)
    os_boot "$(os_deploy "$layered" ostree-unverified-registry:localhost/os:42)"
    file=/sysroot/ostree/deploy/default/deploy/$layered.0.origin
    printf '[packages]\nrequested=htop;\n' >>"$file"
    bp status --format '{{.Booted.Base.Image}} {{.Booted.Base.Digest}} {{.Booted.Base.Commit}}'
    assert "$output" == "docker://localhost/os:42 $(os_ostree show --print-metadata-key=ostree.manifest-digest "$COMMIT" | tr -d "'") $COMMIT"
    bp status
    assert "$output" =~ 'Booted: +packages layered locally on docker://localhost/os:42'
    bp 1 copy-to-storage
    assert "$stderr" =~ "copy deployment default/$layered.0: packages were layered locally on docker://localhost/os:42"
    assert "$stderr" =~ 'Hint: bootc-podman copy-to-storage --source docker://localhost/os:42 copies the image without these packages'
    # shellcheck disable=SC2046 # words
    bp $(sed -n 's/^Hint: bootc-podman \(.*\) copies the image.*/\1/p' <<<"$stderr")
    container=$(podman create localhost/bootc true)
    podman export "$container" | tar -t >files
    podman rm "$container" >/dev/null
    grep -qx usr/bin/program files
    assert "$(grep -c htop files)" == 0
}
