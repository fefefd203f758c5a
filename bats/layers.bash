# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Layers of two stores compared.

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
