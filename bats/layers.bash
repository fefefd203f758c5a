# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Layers with what is hard to copy, and layers of two stores compared.

# hard_trees PROGRAM - a tree in hard with what is hard to copy, and one in upper as a build
# leaves it of "rm" and of a directory made again. PROGRAM needs no libraries.
hard_trees() {
    mkdir -p hard/{bin,d,dir.removed,opaque} upper/opaque
    cp "$1" hard/bin/program
    echo content >hard/d/file
    : >hard/d/empty
    ln hard/d/file hard/d/hardlink
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
    touch upper/.wh.removed upper/.wh.dir.removed upper/opaque/.wh..wh..opq
    head -c 100 /dev/urandom >upper/opaque/new
}

# image_of_layers gzip|cat TAR... - an image in the directory dir (skopeo's transport dir), its layers
# compressed or as they are.
image_of_layers() {
    local compress=$1 type=application/vnd.oci.image.layer.v1.tar tar config layers='[]' diffs='[]'
    [ "$compress" != gzip ] || type+=+gzip
    shift
    mkdir -p dir
    for tar; do
        "$compress" <"$tar" >dir/layer
        layers=$(jq -c --arg t "$type" --arg d "sha256:$(sha256sum <dir/layer | cut -d' ' -f1)" --argjson s "$(stat -c %s dir/layer)" \
            '. + [{mediaType: $t, digest: $d, size: $s}]' <<<"$layers")
        mv dir/layer "dir/$(sha256sum <dir/layer | cut -d' ' -f1)"
        diffs=$(jq -c --arg d "sha256:$(sha256sum <"$tar" | cut -d' ' -f1)" '. + [$d]' <<<"$diffs")
    done
    jq -nc --argjson d "$diffs" '{architecture: "amd64", os: "linux", created: "2026-08-01T10:00:00Z",
        config: {Entrypoint: ["/bin/program"]}, rootfs: {type: "layers", diff_ids: $d}}' >config
    config=$(sha256sum <config | cut -d' ' -f1)
    cp config "dir/$config"
    jq -nc --argjson l "$layers" --arg d "sha256:$config" --argjson s "$(stat -c %s config)" '{schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $d, size: $s}, layers: $l}' >dir/manifest.json
    printf 'Directory Transport Version: 1.1\n' >dir/version
}

# tree DIR - all of a layer's tree in one archive, but for the times of its root, which
# an archive need not have, and of whiteouts, which podman makes when it pulls.
tree() {
    stat -c 'root %A %u %g %h' "$1"
    (cd "$1" && find . -type c -print0 | LC_ALL=C sort -z | xargs -0 stat -c '%n %A %u %g %t:%T' .)
    (cd "$1" && find . -mindepth 1 ! -type c -print0) | LC_ALL=C sort -z |
        tar -C "$1" --xattrs --xattrs-include='*' --xattrs-exclude=security.selinux --acls --numeric-owner --format=posix \
            --pax-option=delete=atime,delete=ctime --no-recursion --null -cf - -T -
}

# recipe FILE - a tar-split file, but for how the bytes between files are cut into
# pieces: those at the end are cut as they were read.
recipe() {
    local payload
    gzip -dc "$1" | jq -c 'select(.type == 1) | del(.position)'
    gzip -dc "$1" | jq -r 'select(.type == 2) | .payload' | while read -r payload; do
        base64 -d <<<"$payload"
    done
}

# same_layer ROOT ROOT ID - a layer in one graph root is that in another.
same_layer() {
    tree "$1/overlay/$3/diff" >tree.a
    tree "$2/overlay/$3/diff" >tree.b
    cmp tree.a tree.b
    [ "$(stat -c %s tree.a)" -gt 1000 ] || die "layer $3 is empty"
    recipe "$1/overlay-layers/$3.tar-split.gz" >recipe.a
    recipe "$2/overlay-layers/$3.tar-split.gz" >recipe.b
    cmp recipe.a recipe.b
    [ "$(stat -c %s recipe.a)" -gt 1000 ] || die "recipe of layer $3 is empty"
}

# same_layers DIR DIR COUNT - the layers of one graph root are those of another.
same_layers() {
    local layer count=0
    for layer in $(jq -r '.[].id' "$1/overlay-layers/layers.json"); do
        same_layer "$1" "$2" "$layer"
        count=$((count + 1))
    done
    assert "$count" == "$3"
    diff <(jq -S 'map(del(.created)) | sort_by(.id)' "$1/overlay-layers/layers.json") \
        <(jq -S 'map(del(.created)) | sort_by(.id)' "$2/overlay-layers/layers.json")
}
