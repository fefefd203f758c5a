# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Operating system images in the ostree repository of a scratch host, made with
# the plain ostree command line in the form that ostree-ext stores them in.

REPO=/sysroot/ostree/repo
# The time that images are built at, in seconds and as it is written.
OS_TIME=1785578400 OS_CREATED=2026-08-01T10:00:00Z
OS_COMMIT_ARGS=()

os_ostree() { ostree --repo="$REPO" "$@"; }

# os_tree DIR TEXT - the tree of a bootable system in a few files.
os_tree() {
    mkdir -p "$1"/{sysroot,proc,run,sys,dev,var,tmp,boot,usr/etc,usr/bin,usr/lib/modules/6.1,usr/lib/bootc/bound-images.d}
    ln -sfn sysroot/ostree "$1/ostree"
    ln -sfn usr/lib "$1/lib"
    echo kernel >"$1/usr/lib/modules/6.1/vmlinuz"
    echo initramfs >"$1/usr/lib/modules/6.1/initramfs.img"
    printf 'NAME=Scratch\nID=scratch\nVERSION_ID=%s\n' "$2" >"$1/usr/lib/os-release"
    echo "$2" >"$1/usr/lib/version"
}

# os_bind TREE IMAGE UNIT - bind an image to a system.
os_bind() {
    local dir=$1/usr/lib/bootc/bound-images.d units=/usr/share/containers/systemd
    mkdir -p "$1$units" "$dir"
    printf '[Unit]\nDescription=An application\n[Container]\nImage=%s\n' "$2" >"$1$units/$3"
    ln -s "$units/$3" "$dir/$3"
}

# os_blob FILE - "DIGEST SIZE DIFFID" of a layer, from its tar archive, compressed with
# $OS_GZIP.
os_blob() {
    gzip "-${OS_GZIP:-6}" -nk "$1"
    echo "$(sha256sum <"$1.gz" | cut -d' ' -f1) $(stat -c %s "$1.gz") $(sha256sum <"$1" | cut -d' ' -f1)"
}

# os_layer DIR - a layer as ostree-ext imports it; prints what os_blob prints.
os_layer() {
    local blob
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$1" -cf "$1.tar" .
    blob=$(os_blob "$1.tar")
    os_ostree commit --no-bindings --tar-autocreate-parents --tree="tar=$1.tar" --timestamp="@$OS_TIME" \
        --branch "ostree/container/blob/sha256_3A_${blob%% *}" --add-metadata-string=ostree.importer.version=0.15.3 >/dev/null
    echo "$blob"
}

# os_manifest VERSION FINAL BLOB... - write manifest.json and config.json of an
# image with the layers BLOB. FINAL is the diff ID of the last layer of its
# ostree base, "" for none.
os_manifest() {
    local version=$1 final=$2 blob layers='[]' diffs='[]'
    shift 2
    for blob; do
        # shellcheck disable=SC2086 # three words
        set -- $blob
        layers=$(jq -c --arg digest "sha256:$1" --argjson size "$2" \
            '. + [{mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: $digest, size: $size}]' <<<"$layers")
        diffs=$(jq -c --arg diff "sha256:$3" '. + [$diff]' <<<"$diffs")
    done
    jq -nSc --arg version "$version" --arg final "$final" --arg created "$OS_CREATED" --argjson diffs "$diffs" '{
        architecture: "amd64", os: "linux", created: $created,
        config: {Labels: ({"containers.bootc": "1", "org.opencontainers.image.version": $version}
            + if $final == "" then {} else {"ostree.final-diffid": "sha256:\($final)"} end)},
        history: [$diffs[] | {created: $created, created_by: "os_manifest"}],
        rootfs: {type: "layers", diff_ids: $diffs}}' | tr -d '\n' >config.json
    jq -nSc --argjson layers "$layers" --arg config "sha256:$(sha256sum <config.json | cut -d' ' -f1)" \
        --argjson size "$(stat -c %s config.json)" '{
        schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $config, size: $size},
        layers: $layers}' | tr -d '\n' >manifest.json
}

# os_commit REF DIR [ARG...] - the merge commit of the image in manifest.json
# with the content of DIR; prints the commit. As ostree-ext does, it keeps the documents with
# sorted members, and the digest of the original.
os_commit() {
    local ref=$1 dir=$2
    shift 2
    os_ostree commit --no-bindings --branch "ostree/container/image/$ref" --tree="dir=$dir" \
        --owner-uid=0 --owner-gid=0 --no-xattrs --timestamp="@$OS_TIME" \
        --add-metadata-string=ostree.manifest-digest="sha256:$(sha256sum <manifest.json | cut -d' ' -f1)" \
        --add-metadata-string=ostree.manifest="$(jq -Sc . manifest.json)" \
        --add-metadata-string=ostree.container.image-config="$(jq -Sc . config.json)" \
        --add-metadata-string=ostree.importer.version=0.15.3 "$@"
}

# os_image REF VERSION DIR... - an image without an ostree base, a layer for each
# DIR. REF is escaped. Prints the commit.
os_image() {
    local ref=$1 version=$2 blobs=() hex merged
    shift 2
    merged=$(mktemp -d merged.XXXXXX)
    chmod 0755 "$merged"
    for dir; do
        blobs+=("$(os_layer "$dir")")
        hex=${blobs[-1]%% *}
        os_ostree checkout --union --whiteouts --user-mode "ostree/container/blob/sha256_3A_$hex" "$merged"
    done
    os_manifest "$version" "" "${blobs[@]}"
    os_commit "$ref" "$merged"
}

# os_chunked_image REF VERSION BASE DERIVED - an image with an ostree base of two
# chunks and a layer derived from it. Prints the commit.
os_chunked_image() {
    local ref=$1 version=$2 base=$3 derived=$4 base_commit sum path blobs=() merged chunk
    base_commit=$(os_ostree commit --no-bindings --branch tmp --tree="dir=$base" --owner-uid=0 --owner-gid=0 --no-xattrs \
        --timestamp="@$OS_TIME" --add-metadata=ostree.bootable=true --add-metadata-string=version="$version")
    # A chunk is a flat directory of files named by their own checksums.
    chunk=$(mktemp -d chunk.XXXXXX)
    while read -r _ _ _ _ sum path; do
        cp -a "$base$path" "$chunk/$sum"
    done < <(os_ostree ls -R -C tmp /usr/lib | grep '^-')
    # What a chunk's blob looks like matters to no reader of the repository.
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$base" -cf "$base.tar" .
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$chunk" -cf "$chunk.tar" .
    blobs=("$(os_blob "$base.tar")" "$(os_blob "$chunk.tar")")
    os_ostree refs --create="ostree/container/blob/sha256_3A_${blobs[0]%% *}" tmp
    os_ostree commit --no-bindings --branch "ostree/container/blob/sha256_3A_${blobs[1]%% *}" --tree="dir=$chunk" \
        --owner-uid=0 --owner-gid=0 --no-xattrs --timestamp=@0 >/dev/null
    blobs+=("$(os_layer "$derived")")
    merged=$(mktemp -d merged.XXXXXX)
    chmod 0755 "$merged"
    os_ostree checkout --union --user-mode tmp "$merged"
    os_ostree checkout --union --whiteouts --user-mode "ostree/container/blob/sha256_3A_${blobs[2]%% *}" "$merged"
    os_ostree refs --delete tmp
    os_manifest "$version" "${blobs[1]##* }" "${blobs[@]}"
    os_commit "$ref" "$merged" --parent="$base_commit"
}

# os_deploy COMMIT IMGREF - deploy a commit with the image reference as its
# origin, for the first time; prints the name of the deployment.
os_deploy() {
    [ -d /sysroot/ostree/deploy/default ] || ostree admin --sysroot=/sysroot os-init default >/dev/null
    printf '[origin]\ncontainer-image-reference=%s\n' "$2" >origin
    # A flag that makes deployments immutable would outlive the test.
    OSTREE_SYSROOT_DEBUG=mutable-deployments ostree admin --sysroot=/sysroot deploy --os=default --retain --origin-file=origin "$1" >/dev/null
    echo "$1.0"
}

# os_storage_conf - the storage.conf that bootc upgrade takes, which Debian lacks.
os_storage_conf() {
    [ -e /usr/share/containers/storage.conf ] || cat >/usr/share/containers/storage.conf <<'EOF'
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
EOF
}

# os_boot DEPLOYMENT - make the running system look booted into a deployment.
os_boot() {
    local entry
    os_storage_conf
    for entry in /sysroot/ostree/boot.?/default/*/*; do
        [ "$(readlink -f "$entry")" = "/sysroot/ostree/deploy/default/deploy/$1" ] || continue
        umount -q /proc/cmdline || true
        echo "root=/dev/vda ostree=/ostree/${entry#/sysroot/ostree/}" >/run/cmdline
        mount --bind /run/cmdline /proc/cmdline
        touch /run/ostree-booted
        return
    done
    echo "no boot entry for $1" >&2
    return 1
}

# os_boot_composefs NAME DIGEST - make the running system look booted into a composefs
# deployment of an image, with the physical root of one.
os_boot_composefs() {
    local verity
    verity=$(printf 'a%.0s' {1..128})
    mkdir -p /sysroot/composefs/bootc /sysroot/ostree "/sysroot/state/deploy/$verity"
    ln -sfn ../composefs/bootc /sysroot/ostree/bootc
    printf '[origin]\ncontainer-image-reference = ostree-unverified-image:docker://%s\n[boot]\nboot_type = bls\n[image]\nmanifest_digest = %s\n' \
        "$1" "$2" >"/sysroot/state/deploy/$verity/$verity.origin"
    umount -q /proc/cmdline || true
    echo "root=/dev/vda composefs=$verity" >/run/cmdline
    mount --bind /run/cmdline /proc/cmdline
}

# os_stage DEPLOYMENT - make a deployment look staged. The file is one that ostree wrote, with
# another deployment in it, whose name is as long.
os_stage() {
    mkdir -p /run/ostree
    sed "s/be17e4614a48d2baf930146f2ec5f8c500c0380a236d8d443f9f2041df42d1b5\\.3/$1/" \
        "$BATS_TEST_DIRNAME/../internal/host/testdata/staged-deployment" >/run/ostree/staged-deployment
}

# os_import REF DIR - the image that skopeo copied to DIR (transport dir), imported
# as ostree-ext does, with its own manifest. Prints the commit.
os_import() {
    local ref=$1 from=$2 merged hex
    merged=$(mktemp -d merged.XXXXXX)
    chmod 0755 "$merged"
    cp "$from/manifest.json" manifest.json
    cp "$from/$(jq -r '.config.digest | ltrimstr("sha256:")' manifest.json)" config.json
    for hex in $(jq -r '.layers[].digest | ltrimstr("sha256:")' manifest.json); do
        gzip -dc "$from/$hex" | os_ostree commit --no-bindings --tar-autocreate-parents --tree=tar=/proc/self/fd/0 \
            --timestamp="@$OS_TIME" --branch "ostree/container/blob/sha256_3A_$hex" >/dev/null
        os_ostree checkout --union --whiteouts --user-mode "ostree/container/blob/sha256_3A_$hex" "$merged"
    done
    os_commit "$ref" "$merged"
}

# podman_in DIR ARG..., buildah_in DIR ARG... - with an overlay store in DIR, to make
# images in.
podman_in() { podman --storage-driver overlay --root "$1/root" --runroot "$1/runroot" "${@:2}"; }
buildah_in() { buildah --storage-driver overlay --root "$1/root" --runroot "$1/runroot" "${@:2}"; }

# os_real_image TREE OUT - the image of a system, from TREE and the files that
# internal/realtree makes, which change TREE: a first layer as tar packs it, a
# second and a third as buildah finds them in the changed tree. In directory OUT as
# skopeo's transport dir has it.
os_real_image() {
    local tree=$1 out=$2 store container layer
    store=$(mktemp -d store.XXXXXX)
    "$REALTREE" make base "$tree"
    tar --xattrs --xattrs-include='*' --numeric-owner --format=posix -C "$tree" -c . |
        podman_in "$store" import -q -c 'LABEL containers.bootc=1' -c 'ENV PATH=/usr/bin:/usr/sbin' - localhost/layer
    for layer in second third; do
        container=$(buildah_in "$store" from localhost/layer)
        "$REALTREE" make "$layer" "$(buildah_in "$store" mount "$container")"
        buildah_in "$store" config --created-by "realtree make $layer" --label "layer=$layer" "$container"
        buildah_in "$store" commit -q --rm --timestamp "$OS_TIME" "$container" localhost/layer
    done
    podman_in "$store" push -q --compress localhost/layer "dir:$out"
    podman_in "$store" rmi -af >/dev/null
    rm -rf "$store"
}

# os_import_layer HEX - import the archive on standard input as the layer of this digest, as
# ostree-ext does, with owners and attributes. OS_COMMIT_ARGS are further options of commits.
os_import_layer() {
    "$REALTREE" filter | os_ostree commit --no-bindings --tar-autocreate-parents --tree=tar=/proc/self/fd/0 \
        --timestamp="@$OS_TIME" --add-metadata-string=ostree.importer.version=0.15.3 "${OS_COMMIT_ARGS[@]}" \
        --branch "ostree/container/blob/sha256_3A_$1" >/dev/null
}

# os_layers DIR - import the layers of the image that skopeo copied to DIR, and put its
# manifest.json and config.json into the current directory.
os_layers() {
    local from=$1 hex
    cp "$from/manifest.json" manifest.json
    cp "$from/$(jq -r '.config.digest | ltrimstr("sha256:")' manifest.json)" config.json
    for hex in $(jq -r '.layers[].digest | ltrimstr("sha256:")' manifest.json); do
        gzip -dcf "$from/$hex" | os_import_layer "$hex"
    done
}

# os_merge REF LAYER... - the merge commit of the image in manifest.json; the first
# LAYER is a commit or a ref, whiteouts in the others count. Prints the commit.
os_merge() {
    local ref=$1 merged=/sysroot/ostree/merged layer
    shift
    for layer; do
        os_ostree checkout --union --whiteouts "$layer" "$merged"
    done
    os_ostree commit --no-bindings "${OS_COMMIT_ARGS[@]}" --link-checkout-speedup --consume --branch "ostree/container/image/$ref" --tree="dir=$merged" \
        --timestamp="@$OS_TIME" \
        --add-metadata-string=ostree.manifest-digest="sha256:$(sha256sum <manifest.json | cut -d' ' -f1)" \
        --add-metadata-string=ostree.manifest="$(jq -Sc . manifest.json)" \
        --add-metadata-string=ostree.container.image-config="$(jq -Sc . config.json)" \
        --add-metadata-string=ostree.importer.version=0.15.3
}

# os_layer_refs - the refs of the layers of the image in manifest.json.
os_layer_refs() { jq -r '.layers[].digest | "ostree/container/blob/sha256_3A_" + ltrimstr("sha256:")' manifest.json; }

# os_chunk COMMIT PATH... - a commit with the files of these paths of a commit as a
# chunk of an ostree base: a flat directory of their objects. Prints the commit.
os_chunk() {
    local commit=$1 dir=/sysroot/ostree/chunk sum path
    shift
    mkdir "$dir"
    for path; do
        # A name with a newline makes lines of its own.
        os_ostree ls -R -C "$commit" "$path" | sed -nE 's/^[-l][0-7]{5} +[0-9]+ +[0-9]+ +[0-9]+ ([0-9a-f]{64}) .*/\1/p'
    done | sort -u | while read -r sum; do
        echo "$REPO/objects/${sum:0:2}/${sum:2}.file" "$dir/$sum"
    done | xargs -n 2 -P 2 ln
    os_ostree commit --no-bindings --orphan --tree="dir=$dir" --timestamp=@0
    rm -rf "$dir"
}

# os_chunked REF DIR - the image that skopeo copied to DIR, whose layers are imported
# already, as an image with an ostree base: its first layer is the base, in three
# chunks and what these leave. Prints the commit.
os_chunked() {
    local ref=$1 layers base i commit digests=()
    cp "$2/manifest.json" manifest.json
    cp "$2/$(jq -r '.config.digest | ltrimstr("sha256:")' manifest.json)" config.json
    mapfile -t layers < <(os_layer_refs)
    base=$(os_ostree commit --no-bindings --orphan --tree="ref=${layers[0]}" --timestamp="@$OS_TIME" --add-metadata=ostree.bootable=true)
    # What the blob of a base or a chunk looks like matters to no reader of the repository.
    for i in base bin lib share; do
        digests+=("sha256:$(printf %s "$i" | sha256sum | cut -d' ' -f1)")
        case $i in
        base) commit=$base ;;
        bin) commit=$(os_chunk "$base" /usr/bin /usr/etc) ;;
        *) commit=$(os_chunk "$base" "/usr/$i") ;;
        esac
        os_ostree refs --create="ostree/container/blob/sha256_3A_${digests[-1]#*:}" "$commit"
    done
    jq -c --args '.config.Labels["ostree.final-diffid"] = $ARGS.positional[-1] | .config.Labels["ostree.commit"] = "'"$base"'"
        | .rootfs.diff_ids = $ARGS.positional + .rootfs.diff_ids[1:]' "${digests[@]}" <config.json >config.chunked
    mv config.chunked config.json
    jq -c --arg config "sha256:$(sha256sum <config.json | cut -d' ' -f1)" --argjson size "$(stat -c %s config.json)" \
        '.config.digest = $config | .config.size = $size
        | .layers = [$ARGS.positional[] | {mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: ., size: 1000}] + .layers[1:]' \
        manifest.json --args "${digests[@]}" >manifest.chunked
    mv manifest.chunked manifest.json
    os_merge "$ref" "$base" "${layers[@]:1}"
}
