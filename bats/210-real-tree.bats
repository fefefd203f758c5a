#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Moving the image of a real system, hundreds of megabytes with all that is hard to
# carry over; and, of a small one like it, transfers that are killed, have no room or
# find damage. Run by bats/real-tree, which makes the images and the disks.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own

load helpers
load os-images

setup_file() {
    [ -n "${REAL_TREE-}" ] || return 0
    # ostree reads names of an archive by the locale.
    export LC_ALL=C.UTF-8
    local disks=$BATS_TEST_DIRNAME/../build/real-tree
    mount -o loop,discard "$disks/work.img" /srv
    mount -o loop,discard "$disks/sysroot.img" /sysroot
    mkdir -p /srv/tmp /srv/containers /srv/original
    mount --bind /srv/tmp /var/tmp
    mount --bind /srv/containers /var/lib/containers
    ln -sfn sysroot/ostree /ostree
    # podman run, on a machine that is a container itself.
    printf '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\npids_limit = 0\n' >/srv/containers.conf
    export CONTAINERS_CONF=/srv/containers.conf
    new_registry /srv
    cd /srv || return 1
    new_sysroot
    local image commit layers
    for image in small system; do
        skopeo copy -q --dest-tls-verify=false "dir:$REAL_TREE/$image" "docker://$REGISTRY/$image:42"
        os_layers "$REAL_TREE/$image"
        mapfile -t layers < <(os_layer_refs)
        commit=$(os_merge "$(registry_ref "$image:42")" "${layers[@]}")
        deploy "$image" "$commit" "ostree-unverified-registry:$REGISTRY/$image:42"
        # Another commit, for a deployment of its own.
        commit=$(OS_TIME=$((OS_TIME + 1)) os_merge "$(storage_ref "$image:42")" "${layers[@]}")
        deploy "$image.storage" "$commit" "ostree-unverified-image:containers-storage:localhost/$image:42"
        commit=$(OS_TIME=$((OS_TIME + 2)) os_merge "oci_3A__2F_srv/oci/${image}_3A_42" "${layers[@]}")
        deploy "$image.oci" "$commit" "ostree-unverified-image:oci:/srv/oci/$image:42"
    done
    mkdir /srv/oci
    commit=$(os_chunked "$(storage_ref chunked:42)" "$REAL_TREE/system")
    deploy chunked "$commit" "ostree-unverified-image:containers-storage:localhost/chunked:42"
    # What podman makes of the images themselves.
    skopeo copy -q "dir:$REAL_TREE/system" "containers-storage:[overlay@/srv/original/root+/srv/original/runroot]localhost/system:42"
    podman_in /srv/original image mount localhost/system:42 >/srv/original/mounted
}

teardown_file() {
    [ -n "${REAL_TREE-}" ] || return 0
    kill "$(cat /srv/registry.pid)" || true
    umount -q /proc/cmdline || true
    podman_in /srv/original image umount -af >/dev/null || true
    podman image umount -af >/dev/null || true
}

registry_ref() { echo "docker_3A__2F__2F_127_2E_0_2E_0_2E_1_3A_${REGISTRY#*:}/${1/:/_3A_}"; }
storage_ref() { echo "containers-storage_3A_localhost/${1/:/_3A_}"; }

stop_serving() {
    kill "$(cat /srv/registry.pid)"
    wait_for bash -c "! (exec 9<>/dev/tcp/${REGISTRY/://})" 2>/dev/null
}

# deploy NAME COMMIT IMGREF - for boot NAME.
deploy() {
    os_deploy "$2" "$3" >"/srv/$1.deployment" 2>/srv/deploy.log
    echo "$2" >"/srv/$1.commit"
}

# boot NAME - sets COMMIT, and DIGEST of the image.
boot() {
    os_boot "$(cat "/srv/$1.deployment")"
    COMMIT=$(cat "/srv/$1.commit")
    DIGEST=$(os_ostree show --print-metadata-key=ostree.manifest-digest "$COMMIT" | tr -d "'")
}

setup() {
    [ -n "${REAL_TREE-}" ] || skip "make test-real-tree runs these"
    cd "$BATS_TEST_TMPDIR"
    umount -q /proc/cmdline || true
    rm -rf /sysroot/ostree/bootc /sysroot/filler /run/bootc /run/bootc-podman /var/lib/bootc-podman
}

teardown() {
    [ -n "${REAL_TREE-}" ] || return 0
    # A host that was made one of composefs.
    [ ! -e /sysroot/ostree.real ] || {
        rm -rf /sysroot/ostree /sysroot/composefs /sysroot/state
        mv /sysroot/ostree.real /sysroot/ostree
        touch /run/ostree-booted
    }
}

digest_of() { "${2:-oracle}" images --digests --format '{{.Repository}}:{{.Tag}} {{.Digest}}' | sed -n "s|^$1 ||p"; }

# checkout - the tree of the booted commit, with /etc in its place.
checkout() {
    rm -rf "/srv/checkout"
    os_ostree checkout --force-copy "$COMMIT" /srv/checkout
    mv /srv/checkout/usr/etc /srv/checkout/etc
}

# oracle_has NAME TREE - the oracle has an image of the bootc-owned store, mounts
# it, and sees TREE. A checkout of ostree has no hard links.
oracle_has() {
    local compare=compare
    [ "$2" != /srv/checkout ] || compare="compare-unlinked"
    oracle image inspect "$1" >/dev/null
    mkdir -p oracle.bin
    # shellcheck disable=SC2153 # another word
    cat >oracle.bin/podman <<EOF
#!/bin/bash
set -e
podman=("$(command -v podman)" "\${@:1:4}")
dir=\$("\${podman[@]}" image mount "\$5")
"$REALTREE" $compare "\$6" "\$dir"
"\${podman[@]}" image umount "\$5" >/dev/null
EOF
    chmod +x oracle.bin/podman
    PATH=$PWD/oracle.bin:$PATH oracle "$1" "$2"
}

# unifies METHOD NAME TREE [ARG...] - set-unified ARG... takes METHOD, and NAME is in the
# store then, with TREE.
unifies() {
    bp set-unified "${@:4}" --plan --format json
    assert "$(jq -r .method <<<"$output")" == "$1"
    if "$(jq .exact <<<"$output")"; then
        bp set-unified "${@:4}"
        assert "$(digest_of "$2")" == "$DIGEST"
    else
        bp set-unified "${@:4}"
        assert "$(oracle image inspect --format '{{index .Annotations "io.bootc-podman.original-digest"}}' "$2")" == "$DIGEST"
    fi
    oracle_has "$2" "$3"
    nothing_left
}

nothing_left() {
    assert "$(find /var/tmp /run/bootc-podman -name 'bootc-podman-spool-*' -o -name export)" == ""
    assert "$(mount_table | grep -c ' /run/bootc')" == 0
}

@test "real tree: it is one" {
    boot system
    checkout
    [ "$(find /srv/checkout ! -type d | wc -l)" -ge 8000 ]
    [ "$(du -sm /srv/checkout | cut -f1)" -ge 200 ]
    local image=$REAL_TREE/system layer
    assert "$(jq '.layers | length' "$image/manifest.json")" == 3
    layer=$(jq -r '.layers[1].digest | ltrimstr("sha256:")' "$image/manifest.json")
    tar --xattrs --xattrs-include='*' -tvvzf "$image/$layer" >list
    grep -q '/\.wh\.\.wh\.\.opq' list
    grep -q '/\.wh\.gone\.d' list
    grep -q '^h.* link to ' list
    grep -q security.capability list
    grep -q '^-rws' list
}

@test "real tree: registry, absent from podman's store: pulled" {
    boot system
    unifies pull "$REGISTRY/system:42" "$(cat /srv/original/mounted)"
}

@test "real tree: registry, out of reach: exported" {
    boot system
    checkout
    stop_serving
    bp set-unified
    start_registry /srv "$REGISTRY"
    assert "$stderr" =~ "refused"
    oracle_has "$REGISTRY/system:42" /srv/checkout
    nothing_left
}

@test "real tree: registry, present in podman's store: copied" {
    boot system
    podman pull -q "$REGISTRY/system:42"
    unifies copy "$REGISTRY/system:42" "$(cat /srv/original/mounted)" --method podman
    rm -rf "$STORE"
    unifies clone "$REGISTRY/system:42" "$(cat /srv/original/mounted)" --method clone
    podman rmi -af >/dev/null
}

@test "real tree: containers-storage, present: copied" {
    boot system.storage
    podman pull -q "$REGISTRY/system:42"
    podman tag "$REGISTRY/system:42" localhost/system:42
    unifies copy localhost/system:42 "$(cat /srv/original/mounted)" --method podman
    rm -rf "$STORE"
    unifies clone localhost/system:42 "$(cat /srv/original/mounted)" --method clone
    podman rmi -af >/dev/null
}

@test "real tree: containers-storage, absent: exported" {
    boot system.storage
    checkout
    unifies export localhost/system:42 /srv/checkout --method podman
    local exported
    exported=$(digest_of localhost/system:42)
    rm -rf "$STORE"
    unifies clone localhost/system:42 /srv/checkout
    assert "$(digest_of localhost/system:42)" == "$exported"
}

@test "real tree: an OCI layout" {
    skopeo copy -q "dir:$REAL_TREE/system" oci:/srv/oci/system:42
    boot system.oci
    # What has no name is called so.
    unifies pull localhost/bootc:latest "$(cat /srv/original/mounted)"
    rm -rf /srv/oci/system
}

# boot_composefs NAME - as boot NAME, on a composefs host, with a bootc in bin that
# exports the image as another manifest.
boot_composefs() {
    boot "$1"
    mv /sysroot/ostree /sysroot/ostree.real
    rm /run/ostree-booted
    mkdir -p bin
    os_boot_composefs "$REGISTRY/$1:42" "$DIGEST"
    cp -r "$REAL_TREE/$1" exported
    jq '.annotations = {exported: "yes"}' "$REAL_TREE/$1/manifest.json" >exported/manifest.json
    printf '#!/bin/bash\n[ "$1 $2" = "image copy-to-storage" ] && exec skopeo copy -q "dir:%s/exported" "containers-storage:$6"\n' "$PWD" >bin/bootc
    chmod +x bin/bootc
    export PATH=$PWD/bin:$PATH
}

@test "real tree: a composefs host, from the registry and by bootc" {
    boot_composefs system
    unifies pull "$REGISTRY/system:42" "$(cat /srv/original/mounted)"
    bp unset-unified
    bp set-unified --from composefs
    oracle_has "$REGISTRY/system:42" "$(cat /srv/original/mounted)"
    assert "$(podman images -q)" == ""
    nothing_left
}

@test "real tree: an ostree base with chunks: exported" {
    boot chunked
    checkout
    unifies export localhost/chunked:42 /srv/checkout --method podman
    local exported
    exported=$(digest_of localhost/chunked:42)
    rm -rf "$STORE"
    unifies clone localhost/chunked:42 /srv/checkout
    assert "$(digest_of localhost/chunked:42)" == "$exported"
    assert "$(oracle image inspect --format '{{len .RootFS.Layers}}' localhost/chunked:42)" == 6
}

@test "real tree: its programs run from podman's store, and a registry takes it" {
    boot chunked
    checkout
    bp copy-to-storage --quiet --from ostree
    local exported run=(podman run --rm --runtime runc --network none localhost/bootc)
    exported=$(digest_of localhost/bootc:latest podman)
    assert "$output" =~ ": same files, new digest \(ostree does not keep the archive\)"
    "$REALTREE" compare-unlinked /srv/checkout "$(podman image mount localhost/bootc)"
    podman image umount localhost/bootc
    assert "$("${run[@]}" /usr/bin/ls /usr/lib/hard/new$'\n'lines)" == kept
    # What Debian says of its files.
    "${run[@]}" dpkg --verify bash coreutils libc6 dpkg
    assert "$("${run[@]}" stat -c '%a %u %g' /usr/lib/hard/setgid)" == "2755 0 42"
    assert "$("${run[@]}" getcap /usr/lib/hard/capable)" =~ cap_net_raw

    skopeo copy -q --preserve-digests --dest-tls-verify=false containers-storage:localhost/bootc "docker://$REGISTRY/export:1"
    podman_in /srv/fresh pull -q --tls-verify=false "$REGISTRY/export@$exported"
    assert "$(podman_in /srv/fresh image inspect --format '{{.Digest}}' "$REGISTRY/export@$exported")" == "$exported"
    "$REALTREE" check /srv/fresh/root /srv/fresh/runroot
    # Compressed, it is another manifest of the same image.
    podman push -q --digestfile pushed localhost/bootc "$REGISTRY/export:2"
    podman_in /srv/fresh pull -q --tls-verify=false "$REGISTRY/export@$(cat pushed)"
    assert "$(podman_in /srv/fresh image inspect --format '{{.Id}}' "$REGISTRY/export@$(cat pushed)")" == \
        "$(podman image inspect --format '{{.Id}}' localhost/bootc)"
    podman_in /srv/fresh rmi -af >/dev/null
    podman rmi -af >/dev/null
}

# store_passes - podman as bootc runs it lists the images of the bootc-owned store, and
# the storage library finds no damage; podman's own check neither, from podman 5 on.
store_passes() {
    [ -e "$STORE" ] || return 0
    oracle image ls && bp exec -- "$REALTREE" check /run/bootc/storage /proc/self/fd/3 &&
        { ! podman_at_least 5 || bp exec -- podman system check; }
}

# default_passes - as store_passes, of podman's own store.
default_passes() {
    podman image ls && "$REALTREE" check /var/lib/containers/storage /run/containers/storage &&
        { ! podman_at_least 5 || podman system check; }
}

# passes_after_kill CHECK - as CHECK, but podman may have been killed between the record of
# an image and its manifest: podman 4 lists no image of the store then.
passes_after_kill() {
    "$1" >passes 2>&1 || grep '^Error: locating item named "manifest"' passes || {
        cat passes
        return 1
    }
}

# named - all images and names of both stores.
named() {
    [ ! -e "$STORE" ] || oracle images -a --no-trunc --format '{{.ID}} {{.Repository}}:{{.Tag}}' | LC_ALL=C sort
    echo
    podman images -a --no-trunc --format '{{.ID}} {{.Repository}}:{{.Tag}}' | LC_ALL=C sort
}

# killed CLEAN ARG... - kill bootc-podman ARG... at 40 moments of the time that it takes,
# and see each time that both stores pass, and that it can be run again: then all is as
# if it had not been killed. CLEAN makes it have all to do.
killed() {
    local clean=$1 started took=0 moment pid mounts want round
    shift
    mounts=$(mount_table | wc -l)
    for _ in 1 2; do
        "$clean"
        started=${EPOCHREALTIME/./}
        bp "$@"
        took=$((took + ${EPOCHREALTIME/./} - started))
    done
    took=$((took / 2))
    want=$(named)
    echo "$want"
    for ((round = 1; round <= ${REAL_TREE_KILLS:-40}; round++)); do
        "$clean"
        setsid "$BOOTC_PODMAN" "$@" >out 2>&1 3>&- &
        pid=$!
        # Beyond the end, too.
        moment=$((RANDOM * took / 30000))
        echo "$round: killed after $moment of $took microseconds"
        pause "$(printf '%d.%06d' $((moment / 1000000)) $((moment % 1000000)))"
        # With all that it started, or alone.
        if [ $((round % 2)) = 0 ]; then kill -KILL -- "-$pid"; else kill -KILL "$pid"; fi 2>/dev/null || true
        wait "$pid" || true
        wait_for bash -c "! ps -o stat= -s $pid | grep -qv ^Z"
        passes_after_kill store_passes
        passes_after_kill default_passes
        bp "$@"
        store_passes
        default_passes
        assert "$(named)" == "$want"
        nothing_left
        assert "$(mount_table | wc -l)" == "$mounts"
    done
    store_passes
    default_passes
    podman rmi -af >/dev/null
}

no_bootc_store() { rm -rf /sysroot/ostree/bootc /var/lib/bootc-podman; }
no_copy() { podman rmi -f localhost/bootc >/dev/null 2>&1 || true; }

# killed_export METHOD - kill an export from the ostree repository.
killed_export() {
    boot small
    killed no_bootc_store set-unified --from ostree --method "$1"
    assert "$(oracle image inspect --format '{{index .Annotations "io.bootc-podman.original-digest"}}' "$REGISTRY/small:42")" == "$DIGEST"
}

@test "small tree: export killed at any moment" { killed_export podman; }

@test "small tree: clone from the ostree repository killed at any moment" { killed_export clone; }

@test "small tree: pull killed at any moment" {
    boot small
    killed no_bootc_store set-unified --from registry
    assert "$(digest_of "$REGISTRY/small:42")" == "$DIGEST"
}

@test "small tree: pull of an OCI layout killed at any moment" {
    skopeo copy -q "dir:$REAL_TREE/small" oci:/srv/oci/small:42
    boot small.oci
    killed no_bootc_store set-unified
    assert "$(digest_of localhost/bootc:latest)" == "$DIGEST"
}

@test "small tree: pull with layers that are lent killed at any moment" {
    boot small
    printf 'FROM %s\nLABEL more=1\n' "$REGISTRY/small:42" | podman build -q -t localhost/lender - >/dev/null
    podman untag "$REGISTRY/small:42"
    killed no_bootc_store set-unified --from registry
    assert "$(digest_of "$REGISTRY/small:42")" == "$DIGEST"
}

# killed_copy METHOD - kill a copy from podman's own store.
killed_copy() {
    boot small
    podman pull -q "$REGISTRY/small:42"
    killed no_bootc_store set-unified --from default --method "$1"
    assert "$(digest_of "$REGISTRY/small:42")" == "$DIGEST"
}

@test "small tree: copy from podman's store killed at any moment" { killed_copy podman; }

@test "small tree: clone from podman's store killed at any moment" { killed_copy clone; }

@test "small tree: pull-from-default-storage killed at any moment" {
    podman pull -q "$REGISTRY/small:42"
    killed no_bootc_store pull-from-default-storage "$REGISTRY/small:42"
}

no_composefs_store() { rm -rf /sysroot/composefs/bootc/storage /var/lib/bootc-podman; }

@test "small tree: export by bootc killed at any moment" {
    boot_composefs small
    killed no_composefs_store set-unified --from composefs
}

@test "small tree: export to podman's store killed at any moment" {
    boot small
    killed no_copy copy-to-storage --from ostree --method podman
}

@test "small tree: clone to podman's store killed at any moment" {
    boot small
    bp set-unified --from registry
    killed no_copy copy-to-storage --from bootc
}

@test "small tree: pull to podman's store killed at any moment" {
    boot small
    bp image pull -q "$REGISTRY/small:42"
    killed no_copy copy-to-storage --from registry
}

# full FREE ARG... - on a filesystem with FREE bytes left, bootc-podman ARG... says so
# before it begins; forced to, it fails, and what it wrote is gone.
full() {
    local free=$1 before after
    local room='not enough free space: [0-9]+ bytes are needed on /sysroot, for the bootc-owned store.*, and [0-9]+ are free'
    shift
    fallocate -l "$(($(df --output=avail -B1 /sysroot | tail -1) - free))" /sysroot/filler
    before=$(df --output=used -B1 /sysroot | tail -1)
    bp 1 "$@"
    assert "$stderr" =~ "$room"
    bp 1 "$@" --force
    assert "$stderr" =~ "no space left"
    oracle images -a
    store_passes
    nothing_left
    after=$(df --output=used -B1 /sysroot | tail -1)
    echo "$before bytes were used, and are $after"
    [ "$after" -lt $((before + 500000)) ]
    assert "$(oracle images -aq)" == ""
    rm /sysroot/filler
    bp "$@"
    store_passes
}

@test "small tree: a full filesystem" {
    boot small
    bp init
    full 5000000 set-unified --from ostree --method podman
    rm -rf "$STORE"
    bp init
    full 5000000 set-unified --from registry
    rm -rf "$STORE"
    podman pull -q "$REGISTRY/small:42"
    bp init
    full 5000000 set-unified --from default --method podman
    podman rmi -af >/dev/null
}

@test "small tree: no room for temporary files" {
    boot small
    local from
    mkdir spool
    mount -t tmpfs -o size=4M spool spool
    export TMPDIR=$PWD/spool
    for from in registry ostree; do
        bp 1 set-unified --from "$from" --method podman
        assert "$stderr" =~ "not enough free space: [0-9]+ bytes are needed on $TMPDIR, for podman's temporary files in \"$TMPDIR\" \(TMPDIR\), and [0-9]+ are free"
        bp 1 set-unified --from "$from" --method podman --force
        assert "$stderr" =~ "no space left"
        assert "$(ls spool)" == ""
        nothing_left
        store_passes
        assert "$(oracle images -aq)" == ""
    done
    umount spool
}

# store_state - what is in the bootc-owned store.
store_state() {
    oracle images -a --digests --no-trunc --format '{{.Repository}}:{{.Tag}} {{.Digest}} {{.ID}}'
    (cd "$STORE" && find . -type f ! -name '*.lock' ! -path './libpod/*' ! -name 'db.sql*' ! -name '.has-*' -printf '%p %m %U:%G %s\n' | LC_ALL=C sort)
    sha256sum "$STORE"/overlay-{images/images,layers/layers}.json
}

# refused PATTERN ARG... - bootc-podman ARG... fails with a message like PATTERN, and
# the store is as before.
refused() {
    local pattern=$1
    shift
    store_state >before
    bp 1 "$@"
    assert "$stderr" =~ "$pattern"
    store_state | diff before -
    nothing_left
}

# keeper - a host that has booted the small image, with another one in its store.
keeper() {
    boot small
    context other other
    bp image build -q -t localhost/other other
}

@test "small tree: a repository with something missing" {
    keeper
    local object layer commit path
    for path in /usr/lib/hard/random2 /usr/lib/hard/dangling; do
        object=$(os_ostree ls -C "$COMMIT" "$path" | awk '{ print $5 }')
        mv "$REPO/objects/${object:0:2}/${object:2}.file" object
        refused "layer . of 3: \"usr/lib/hard/[a-z2]+.*\": .*${object:0:2}/${object:2}.file.*no such file" set-unified --from ostree
        refused "${object:0:2}/${object:2}.file.*no such file" set-unified --from ostree
        mv object "$REPO/objects/${object:0:2}/${object:2}.file"
    done
    for layer in $(jq -r '.layers[].digest | ltrimstr("sha256:")' "$REAL_TREE/small/manifest.json"); do
        commit=$(os_ostree rev-parse "ostree/container/blob/sha256_3A_$layer")
        os_ostree refs --delete "ostree/container/blob/sha256_3A_$layer"
        refused "ostree/container/blob/sha256_3A_$layer" set-unified --from ostree
        os_ostree refs --create "ostree/container/blob/sha256_3A_$layer" "$commit"
        mv "$REPO/objects/${commit:0:2}/${commit:2}.commit" commit
        refused "$commit" set-unified --from ostree
        mv commit "$REPO/objects/${commit:0:2}/${commit:2}.commit"
    done
    bp set-unified --from ostree
}

@test "small tree: a rebuilt image in podman's own store" {
    keeper
    context rebuilt rebuilt
    podman build -q -t "$REGISTRY/small:42" rebuilt
    local rebuilt
    rebuilt=$(digest_of "$REGISTRY/small:42" podman)
    refused "default: has $rebuilt under this name, not what is booted" set-unified --from default
    bp set-unified
    assert "$(digest_of "$REGISTRY/small:42")" == "$DIGEST"
    assert "$(digest_of "$REGISTRY/small:42" podman)" == "$rebuilt"
    podman rmi -af >/dev/null
}

@test "small tree: a registry that lies" {
    keeper
    cp -a /srv/registry saved
    local files=/srv/registry/docker/registry/v2 layer config
    blob() { echo "$files/blobs/sha256/${1:0:2}/$1/data"; }
    # broken PATTERN - what the registry has now is refused; put it right again.
    broken() {
        refused "$1" set-unified --from registry
        rm -rf /srv/registry
        cp -a saved /srv/registry
    }
    layer=$(jq -r '.layers[0].digest | ltrimstr("sha256:")' "$REAL_TREE/small/manifest.json")
    config=$(jq -r '.config.digest | ltrimstr("sha256:")' "$REAL_TREE/small/manifest.json")
    stop_serving && start_registry /srv "$REGISTRY"

    echo "# a byte in the middle of a layer"
    printf x | dd of="$(blob "$layer")" bs=1 seek=4000000 conv=notrunc status=none
    broken "$layer|did not match|invalid"
    echo "# another layer in place of one"
    cp "$(blob "$(jq -r '.layers[1].digest | ltrimstr("sha256:")' "$REAL_TREE/small/manifest.json")")" "$(blob "$layer")"
    broken "$layer|did not match"
    echo "# a layer cut off"
    truncate -s 3000000 "$(blob "$layer")"
    broken "."
    echo "# a layer that is gone"
    rm "$(blob "$layer")"
    broken "$layer|unknown"
    echo "# another configuration"
    sed -i s/amd64/arm64/ "$(blob "$config")"
    broken "$config|did not match"
    echo "# another manifest under the digest"
    jq -c '.annotations.lie = "yes"' "$REAL_TREE/small/manifest.json" >"$(blob "${DIGEST#*:}")"
    broken "${DIGEST#*:}"
    echo "# a manifest that is gone"
    rm -r "$files/repositories/small/_manifests/revisions/sha256/${DIGEST#*:}"
    broken "${DIGEST#*:}"

    echo "# a tag of another image, of which the one that is booted is gone"
    skopeo copy -q --src-tls-verify=false --dest-tls-verify=false "docker://$REGISTRY/system:42" "docker://$REGISTRY/small:42"
    bp set-unified --plan --format json
    assert "$(jq -r .take <<<"$output")" == "$REGISTRY/small@$DIGEST"
    rm -r "$files/repositories/small/_manifests/revisions/sha256/${DIGEST#*:}"
    refused "${DIGEST#*:}" set-unified --from registry
    # The host has it itself.
    bp set-unified
    assert "$(oracle image inspect --format '{{index .Annotations "io.bootc-podman.original-digest"}}' "$REGISTRY/small:42")" == "$DIGEST"
    oracle image exists localhost/other
    rm -rf /srv/registry
    cp -a saved /srv/registry
    stop_serving && start_registry /srv "$REGISTRY"
}
