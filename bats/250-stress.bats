#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Transfers between stores on which podman is at work the whole time. What arrived is
# compared with the archives of the image, unpacked by tar, and by what podman pushes.
# "make test" transfers a small image in some ways, once each; bats/real-tree sets $STRESS_RUNS
# to do so that many times for each of three images.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own

load helpers
load os-images

DEFAULT=/var/lib/containers/storage
# What podman's loops are stopped by, and where they write.
STOP=/srv/stress/stop PEERS=/srv/stress/peers

setup_file() {
    mkdir -p /srv/stress
    cd /srv/stress || return 1
    new_registry /srv/stress
    local image
    images=(files)
    [ -z "${STRESS_RUNS-}" ] || images=(files large layers)
    export IMAGES="${images[*]}"
    for image in $IMAGES; do
        mkdir "$image"
        "content_$image" "$image"
        make_image "$image"
    done
    # The stores are on the filesystems of the tests.
    rm -rf /var/lib/containers/making
}

teardown_file() { kill "$(cat /srv/stress/registry.pid)" || true; }

teardown() {
    touch "$STOP"
    umount -q /proc/cmdline || true
    podman image umount -af >/dev/null 2>&1 || true
    umount -l -q "$DEFAULT/overlay" "$DEFAULT" /sysroot || true
    rm -f /var/lib/containers/sysroot.img
}

# random_files DIR COUNT BYTES - files of different content, of BYTES at most.
random_files() {
    mkdir -p "$1"
    # shellcheck disable=SC2016 # perl's variables
    perl -e 'my ($dir, $n, $max) = @ARGV; open(my $in, "<", "/dev/urandom") or die;
        for my $i (1 .. $n) { read($in, my $data, $max - ($i * 37) % ($max / 2));
            open(my $out, ">", "$dir/$i") or die; print $out $data; close $out or die }' "$@"
}

# content_IMAGE DIR - the content of an image: a directory for each layer. One has 900
# files in one directory, one 30 files of 12 MB, and one three layers of 3,000 files.
content_files() {
    os_tree "$1/1" 42
    random_files "$1/1/usr/share/files" 900 3000
}
content_large() {
    os_tree "$1/1" 42
    random_files "$1/1/usr/share/files" 30 12000000
}
content_layers() {
    os_tree "$1/1" 42
    local layer dir
    for layer in 1 2 3; do
        for dir in {1..10}; do
            random_files "$1/$layer/usr/share/$layer/$dir" 300 2000
        done
    done
}

# make_image DIR - the image of the layers in DIR and, upon them, one of a file: in the
# registry as NAME:42, without the last layer as NAME:base; its archives in DIR/dir; in
# DIR/pushed.TAG the digest of what podman pushes of it to a directory; and DIR/want.N, the
# tree of each layer as the archive has it.
make_image() {
    local layer n=0
    {
        echo "FROM scratch"
        echo "LABEL containers.bootc=1"
        for layer in "$1"/[0-9]; do
            echo "COPY ${layer#"$1"/} /"
        done
    } >"$1/Containerfile"
    making build -q --layers -t "$REGISTRY/$1:base" "$1" >/dev/null
    echo top >"$1/top"
    printf 'FROM %s\nCOPY top /usr/lib/top\n' "$REGISTRY/$1:base" >"$1/Containerfile"
    making build -q --layers -t "$REGISTRY/$1:42" "$1" >/dev/null
    making push -q "$REGISTRY/$1:base"
    making push -q "$REGISTRY/$1:42"
    # A pulled image is pushed with other annotations of its layers than a built one.
    making rmi -af >/dev/null
    for layer in base 42; do
        making pull -q "$REGISTRY/$1:$layer" >/dev/null
        making push -q "$REGISTRY/$1:$layer" dir:pushed
        sha256sum <pushed/manifest.json | cut -d' ' -f1 >"$1/pushed.$layer"
        rm -r pushed
    done
    skopeo copy -q --src-tls-verify=false "docker://$REGISTRY/$1:42" "dir:$1/dir"
    rm -r "$1"/[0-9]
    for layer in $(jq -r '.layers[].digest | ltrimstr("sha256:")' "$1/dir/manifest.json"); do
        n=$((n + 1))
        mkdir unpacked
        tar -C unpacked --xattrs --xattrs-include='*' --numeric-owner -xzpf "$1/dir/$layer"
        list unpacked >"$1/want.$n"
        rm -r unpacked
    done
}

making() { podman --storage-driver overlay --root /var/lib/containers/making --runroot /run/making "$@"; }

# list DIR - all that is in a tree, with its content.
list() {
    (
        cd "$1"
        find . -mindepth 1 -type d -printf '%p %y %m %U %G - %T@ %l\n' -o -mindepth 1 -printf '%p %y %m %U %G %s %T@ %l\n'
        find . -type f -print0 | xargs -0 sha256sum
    ) | LC_ALL=C sort
}

# listed_as_exported - what list prints, without what an export does not keep.
listed_as_exported() { sed -E 's|^(\./[^ ]* . [0-7]+ [0-9]+ [0-9]+ [-0-9]+) [0-9.]+ |\1 |; s|\./usr/etc|./etc|' | LC_ALL=C sort; }

# mount_stores FSTYPE - both stores on one filesystem of this type, empty.
mount_stores() {
    local disk=/var/lib/containers/sysroot.img
    truncate -s "$([ -n "${STRESS_RUNS-}" ] && echo 4G || echo 512M)" "$disk"
    "mkfs.$1" -q "$disk"
    mount -o loop,discard "$disk" /sysroot
    new_sysroot
    ln -sfn sysroot/ostree /ostree
    mkdir -p /sysroot/containers "$DEFAULT"
    mount --bind /sysroot/containers "$DEFAULT"
    oracle_init
}

# boot IMAGE - import an image into the ostree repository and boot it.
boot() {
    local commit
    umount -q /proc/cmdline || true
    commit=$(os_import "docker_3A__2F__2F_127_2E_0_2E_0_2E_1_3A_${REGISTRY#*:}/$1_3A_42" "/srv/stress/$1/dir")
    os_boot "$(os_deploy "$commit" "ostree-unverified-registry:$REGISTRY/$1:42")"
}

# store STORE ARG... - podman on podman's own store or on the bootc-owned one.
store() {
    case $1 in
    default) podman "${@:2}" ;;
    bootc) oracle "${@:2}" ;;
    esac
}

# peer STORE NAME - commands of podman on a store until $STOP is there, a line for each.
peer() {
    local status
    while true; do
        for command in "image ls -q" "image exists $2" "ps -aq" "image prune -f"; do
            [ ! -e "$STOP" ] || return 0
            status=0
            # shellcheck disable=SC2086 # words
            store "$1" $command >/dev/null 2>"$PEERS.$1.stderr" || status=$?
            # The storage library records an image before the manifest of it, podman's own
            # too: see 140-concurrency.
            if [ "$status" != 0 ] && [ "$status $command" != "1 image exists $2" ] &&
                ! grep -qE '^Error: .*locating item named "manifest" for image with ID .*: file does not exist$' "$PEERS.$1.stderr"; then
                echo "$1: podman $command: exit status $status: $(cat "$PEERS.$1.stderr")" >>"$PEERS.failed"
            fi
            echo "$command" >>"$PEERS.$1"
        done
    done
}

peers_ran() { cat "$PEERS.default" "$PEERS.bootc" | wc -l; }

# pushed STORE NAME - the digest of what podman pushes of an image to a directory.
pushed() {
    rm -rf /srv/stress/pushed
    store "$1" push -q "$2" dir:/srv/stress/pushed || return
    sha256sum </srv/stress/pushed/manifest.json | cut -d' ' -f1
}

graph_root() { [ "$1" = default ] && echo "$DEFAULT" || echo "$STORE"; }

# is_whole STORE IMAGE NAME COUNT PUSHED [FILTER] - image NAME in a store has the first
# COUNT layers of IMAGE, and is pushed with the digest PUSHED.
is_whole() {
    local root layer i filter=${6:-cat}
    root=$(graph_root "$1")
    layer=$(jq -r --arg name "$3" '.[] | select(.names // [] | index($name)) | .layer' "$root/overlay-images/images.json")
    [ -n "$layer" ] || { echo "no image $3"; return 1; }
    for ((i = $4; i > 0; i--)); do
        list "$root/overlay/$layer/diff" | "$filter" >/srv/stress/is
        "$filter" <"/srv/stress/$2/want.$i" | cmp -s - /srv/stress/is || {
            echo "layer $i, $layer: $("$filter" <"/srv/stress/$2/want.$i" | diff - /srv/stress/is | grep -c '^<') lines of the list are missing or differ"
            return 1
        }
        [ -e "$root/overlay-layers/$layer.tar-split.gz" ] || { echo "layer $i, $layer: no tar-split"; return 1; }
        layer=$(jq -r --arg id "$layer" '.[] | select(.id == $id) | .parent // ""' "$root/overlay-layers/layers.json")
    done
    [ "$layer" = "" ] || { echo "more layers than $4"; return 1; }
    [ "$(pushed "$1" "$3" 2>&1)" = "$5" ] || { echo "podman pushes another image"; return 1; }
}

# nothing_left ROOT - a store has directories and records of the same layers and images,
# and nothing staged.
nothing_left() {
    diff <(jq -r '.[].id' "$1"/overlay-layers/{volatile-,}layers.json 2>/dev/null | LC_ALL=C sort) \
        <(find "$1/overlay" -mindepth 1 -maxdepth 1 -type d ! -name l ! -name staging ! -name tempdirs -printf '%f\n' | LC_ALL=C sort) &&
        diff <(jq -r '.[].id' "$1/overlay-images/images.json" | LC_ALL=C sort) \
            <(find "$1/overlay-images" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | LC_ALL=C sort) &&
        diff /dev/null <(find "$1/overlay/staging" "$1/overlay/tempdirs" "$1"/*staging* -mindepth 1 2>/dev/null) &&
        diff <(jq -r '.[].id' "$1/overlay-layers/layers.json" | LC_ALL=C sort) \
            <(find "$1/overlay-layers" -type f ! -name '*layers.json' ! -name '*.lock' -printf '%f\n' | sed 's/\.tar-split\.gz$//' | LC_ALL=C sort)
}

# transfer DESTINATION NAME CHECK ARG... - run bootc-podman while podman is at work on
# both stores. It ends with 0 and CHECK, words that follow is_whole DESTINATION, or with
# an error and without image NAME; $FAILED counts the latter.
transfer() {
    local destination=$1 name=$2 check=$3 status=0 before ran why root pids=()
    shift 3
    rm -f "$STOP" "$PEERS.default" "$PEERS.bootc"
    peer default "$name" 3>&- &
    pids+=($!)
    peer bootc "$name" 3>&- &
    pids+=($!)
    wait_for test -e "$PEERS.default" -a -e "$PEERS.bootc"
    before=$(peers_ran)
    timeout 300 "$BOOTC_PODMAN" "$@" --quiet >out 2>err 3>&- || status=$?
    ran=$(($(peers_ran) - before))
    touch "$STOP"
    wait "${pids[@]}"
    RUNS=$((RUNS + 1)) COMMANDS=$((COMMANDS + ran))
    if [ "$status" = 0 ]; then
        # shellcheck disable=SC2086 # words
        why=$(is_whole "$destination" $check) || {
            DIFFERENT=$((DIFFERENT + 1))
            echo "not whole after exit status 0 of $*: $why"
        }
    else
        FAILED=$((FAILED + 1))
        echo "exit status $status of $*: $(cat err)"
        ! store "$destination" image exists "$name" || {
            DIFFERENT=$((DIFFERENT + 1))
            echo "image $name is there after an error"
        }
    fi
    for root in "$DEFAULT" "$STORE"; do
        why=$(nothing_left "$root") || {
            DIFFERENT=$((DIFFERENT + 1))
            echo "left in $root after $*: $why"
        }
    done
    # Once more if there is nothing to look at after the others.
    [ "$status" = 0 ] || timeout 300 "$BOOTC_PODMAN" "$@" --quiet >out 2>err 3>&- || die "without podman at work: $(cat err)"
}

# remove STORE NAME
remove() {
    store "$1" rmi -f "$2" >/dev/null || {
        # Damaged: as good as new.
        find "$(graph_root "$1")" -mindepth 1 -delete || true
        [ "$1" = default ] || { rm -rf "$STORE" && oracle_init; }
    }
}

# A way of an image: the stores as it needs them, and its transfers.

way_unify() {
    own_has "$NAME" "$BASE"
    repeat bootc "$NAME" "$IMAGE $NAME $LAYERS $WHOLE" set-unified --from default --method clone
}

way_pull() {
    own_has "$NAME" "$BASE"
    repeat bootc "$BASE" "$IMAGE $BASE $((LAYERS - 1)) $(cat "/srv/stress/$IMAGE/pushed.base")" \
        pull-from-default-storage --method clone "$BASE"
}

# The base lends its layers to a pull from the registry.
way_lend() {
    own_has "$BASE"
    repeat bootc "$NAME" "$IMAGE $NAME $LAYERS $WHOLE" set-unified --from registry --retry 0
}

way_export() {
    exported
    repeat bootc "$NAME" "$IMAGE $NAME $LAYERS $EXPORTED listed_as_exported" set-unified --from ostree --method clone
}

way_export_out() {
    exported
    repeat default localhost/export:1 "$IMAGE localhost/export:1 $LAYERS $EXPORTED listed_as_exported" \
        copy-to-storage --from ostree --method clone --target localhost/export:1
}

way_copy() {
    own_has
    "$BOOTC_PODMAN" set-unified --quiet --from registry
    repeat default localhost/copy:1 "$IMAGE localhost/copy:1 $LAYERS $WHOLE" \
        copy-to-storage --from bootc --method clone --target localhost/copy:1
    oracle rmi -f "$NAME" >/dev/null
}

# own_has [NAME...] - podman's own store has these images and no others.
own_has() {
    podman rmi -af >/dev/null
    local name
    for name; do
        podman pull -q "$name" >/dev/null
    done
}

# exported - sets $EXPORTED, the digest of what podman pushes of an export it made itself.
exported() {
    [ -z "$EXPORTED" ] || return 0
    own_has
    "$BOOTC_PODMAN" copy-to-storage --quiet --from ostree --method podman --target localhost/export:1
    EXPORTED=$(pushed default localhost/export:1)
    podman rmi localhost/export:1 >/dev/null
}

# stress IMAGE WAY...
stress() {
    IMAGE=$1 NAME=$REGISTRY/$1:42 BASE=$REGISTRY/$1:base EXPORTED=
    WHOLE=$(cat "/srv/stress/$1/pushed.42")
    LAYERS=$(jq '.layers | length' "/srv/stress/$1/dir/manifest.json")
    shift
    boot "$IMAGE"
    local way
    for way; do
        "way_$way"
    done
}

# repeat DESTINATION NAME CHECK ARG... - transfer, $STRESS_RUNS times.
repeat() {
    local i
    local start=$SECONDS commands=$COMMANDS failed=$FAILED different=$DIFFERENT
    for ((i = 0; i < ${STRESS_RUNS:-1}; i++)); do
        transfer "$@"
        remove "$1" "$2"
    done
    echo "$FILESYSTEM $IMAGE ${*:4}: ${STRESS_RUNS:-1} runs, $((SECONDS - start)) s, $((COMMANDS - commands)) podman commands meanwhile," \
        "$((FAILED - failed)) failed, $((DIFFERENT - different)) not whole"
}

# under_stress FSTYPE WAY... - the short form has only these ways.
under_stress() {
    local image
    [ -z "${STRESS_RUNS-}" ] || set -- "$1" unify pull lend export export_out copy
    FILESYSTEM=$1 RUNS=0 FAILED=0 DIFFERENT=0 COMMANDS=0
    rm -f "$PEERS.failed"
    cd "$BATS_TEST_TMPDIR"
    mount_stores "$1"
    for image in $IMAGES; do
        stress "$image" "${@:2}"
    done
    echo "$1: $RUNS runs, $COMMANDS podman commands meanwhile, $FAILED failed, $DIFFERENT not whole"
    [ -z "${STRESS_RUNS-}" ] || echo "# $(podman --version), $1: $RUNS runs, $COMMANDS podman commands meanwhile, $FAILED failed, $DIFFERENT not whole" >&3
    cat "$PEERS.failed" 2>/dev/null || true
    assert "$DIFFERENT" == 0 "a transfer that ended with 0 is whole, and one with an error leaves nothing"
    [ $((FAILED * 100)) -le "$RUNS" ] || die "$FAILED of $RUNS transfers failed"
    [ "$COMMANDS" -ge "$RUNS" ] || die "only $COMMANDS commands of podman while $RUNS transfers ran"
    [ ! -s "$PEERS.failed" ] || die "podman failed"
}

@test "stress: transfers are whole while podman is at work on both stores, on ext4" { under_stress ext4 unify export_out; }
@test "stress: transfers are whole while podman is at work on both stores, on xfs" { under_stress xfs lend copy export; }
