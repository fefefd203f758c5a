# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# A host with many images in its bootc-owned store, and what needs them.

# add_image ROW NAMES [PARENT] - an image for load_images, with a layer of its own, upon
# another one's. NAMES are separated by commas, "-" is none.
add_image() {
    local row=$1 names=$2 parent=${3-} hex diffs layers history
    mkdir -p "layer.$row"
    echo "$row" >"layer.$row/$row"
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "layer.$row" -cf archive/layer.tar .
    hex=$(sha256sum <archive/layer.tar | cut -d' ' -f1)
    mv archive/layer.tar "archive/$hex.tar"
    diffs=$(cat "diffs.$parent" 2>/dev/null || true) history=$(cat "history.$parent" 2>/dev/null || true)
    layers=$(cat "layers.$parent" 2>/dev/null || true)
    echo "$diffs${diffs:+,}\"sha256:$hex\"" >"diffs.$row"
    echo "$layers${layers:+,}\"$hex.tar\"" >"layers.$row"
    echo "$history${history:+,}{\"created\":\"2026-01-01T00:00:00Z\",\"created_by\":\"$row\"}" >"history.$row"
    printf '{"architecture":"amd64","os":"linux","created":"2026-01-01T00:00:00Z","config":{"Labels":{"row":"%s"}},"rootfs":{"type":"layers","diff_ids":[%s]},"history":[%s]}' \
        "$row" "$(cat "diffs.$row")" "$(cat "history.$row")" >archive/config
    hex=$(sha256sum <archive/config | cut -d' ' -f1)
    mv archive/config "archive/$hex.json"
    echo "$hex" >"id.$row"
    [ "$names" = - ] && names= || names="\"${names//,/\",\"}\""
    printf '{"Config":"%s.json","RepoTags":[%s],"Layers":[%s]}\n' "$hex" "$names" "$(cat "layers.$row")" >>images
}

# load_images - put the images that were added into the bootc-owned store, by podman.
load_images() {
    jq -cs . images >archive/manifest.json
    tar -C archive -cf images.tar .
    oracle load -q -i /srv/images.tar >/dev/null
}

id() { cat "/srv/id.$1"; }

# deploy_image ROW REF ORIGIN - a deployment of an image of the store, which follows
# ORIGIN; prints its name. REF is escaped.
deploy_image() {
    cp "$STORE/overlay-images/$(id "$1")/manifest" manifest.json
    cp "archive/$(id "$1").json" config.json
    os_deploy "$(os_commit "$2" "tree.$1")" "$3"
}

# stage DEPLOYMENT - make a deployment the staged one: the file that ostree writes, a
# serialised GVariant of type a{sv}.
stage() {
    mkdir -p /run/ostree
    perl -e '
        sub entry { my ($k, $v) = @_; my $e = "$k\0"; my $end = length $e; $e .= "\0" while length($e) % 8; $e . $v . chr($end) }
        sub dict { my ($d, @ends) = (""); for (@_) { $d .= "\0" while length($d) % 8; $d .= $_; push @ends, length $d } $d . join("", map chr, @ends) }
        sub text { "$_[0]\0\0s" }
        print dict(entry("target", dict(entry("name", text($ARGV[0])), entry("osname", text("default"))) . "\0a{sv}"))' \
        "$1" >/run/ostree/staged-deployment
}

# held - a hash of the bootc-owned store as podman sees it: all records and all files,
# but for a device that podman makes anew.
held() {
    (cd "$STORE" && cat overlay-images/images.json overlay-layers/layers.json overlay-containers/containers.json 2>/dev/null
        find overlay overlay-images overlay-layers ! -name backingFsBlockDev -printf '%p %i %s %l\n' | LC_ALL=C sort) | sha256sum
}

# names ROW - the names of an image in the store, in one line.
names() {
    jq -r --arg id "$(id "$1")" '[.[] | select(.id == $id) | .names[]?] | join(" ")' "$STORE/overlay-images/images.json"
}

# stored ROW - the store has the image.
stored() { jq -e --arg id "$(id "$1")" 'any(.[]; .id == $id)' "$STORE/overlay-images/images.json" >/dev/null; }

# rows - the rows whose images the store has.
rows() {
    jq -r '.[].id' "$STORE/overlay-images/images.json" | while read -r image; do grep -lx "$image" /srv/id.* | sed 's/.*id\.//'; done | LC_ALL=C sort
}
