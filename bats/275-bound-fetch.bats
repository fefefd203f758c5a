#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Bound images from a registry: all of them, several at a time, whatever fails meanwhile.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own

load helpers
load os-images

IMAGES=20
BOUND=/usr/local/bootc/bound-images.d

# unit NAME TEXT - bind the image of a unit to the running root.
unit() {
    printf '%b' "$2" >"/usr/local/units/$1"
    ln -sfn "/usr/local/units/$1" "$BOUND/$1"
}

setup_file() {
    export PULLTEST=$BATS_TEST_DIRNAME/../bin/pulltest
    [ -x "$PULLTEST" ] || return 0
    new_proxy
    ostree_host
    cd /srv || return 1
    os_tree os42 42
    OS42=$(os_image docker_3A__2F__2F_quay_2E_io/example/os_3A_42 42 os42)
    os_boot "$(os_deploy "$OS42" ostree-unverified-registry:quay.io/example/os:42)"
    mkdir -p "$BOUND" /usr/local/units
    ln -sfn /usr/local/bootc /usr/lib/bootc
    ln -sfn "$STORE" /usr/local/bootc/storage
    app_images "$SERVER" 300000 $IMAGES
}

setup() {
    [ -x "$PULLTEST" ] || skip "needs bin/pulltest, which make test-system builds"
    cd "$BATS_TEST_TMPDIR"
    rm -f /srv/control "$BOUND"/* /run/ostree/auth.json
    oracle rmi -af >/dev/null
    podman rmi -af >/dev/null
    : >/srv/requests
}

teardown_file() {
    kill "$(cat /srv/proxy.pid)" "$(cat /srv/registry.pid)" || true
    umount -q /proc/cmdline || true
    umount /sysroot || true
}

# bind FIRST LAST - bind the images FIRST to LAST.
bind() {
    local i
    for ((i = $1; i <= $2; i++)); do
        unit "app$i.container" "[Container]\nImage=$REGISTRY/app:$i\n"
    done
}

# whole N - the store has all bound images whole, as bootc's podman sees them: N.
whole() {
    bp bound check
    assert "$(oracle image ls -q --no-trunc | sort -u | wc -l)" == "$1"
    local i
    for ((i = 1; i <= $1; i++)); do
        oracle image inspect --format '{{.Digest}}' "$REGISTRY/app:$i"
    done >digests
    assert "$(cat digests)" == "$(for ((i = 1; i <= $1; i++)); do app_digest "$i"; done)"
    if podman_at_least 5; then
        oracle system check --quick
    fi
    assert "$(ls -d /run/bootc-podman/service* 2>/dev/null)" == ""
    assert "$(mount_table | grep -c /run/bootc)" == 0
}

@test "bound fetch: twenty images, several at a time" {
    bind 1 $IMAGES
    bp bound fetch --quiet --jobs 4 --progress-fd 7 7> >(cat >json && touch end)
    assert "$output" == "Bound images stored: $IMAGES"
    assert "$stderr" == ""
    whole $IMAGES
    wait_for test -e end
    "$PULLTEST" validate "$BATS_TEST_DIRNAME/../docs/progress-v0.schema.json" json
    assert "$(jq -s '[.[] | select(.task == "pulling") | .id] | unique | length' json)" == $IMAGES
    # Several at a time: one begins before another has ended.
    assert "$(jq -rs '[.[] | select(.task == "pulling") | .id] | . == sort' json)" == false
    : >/srv/requests
    bp bound fetch
    assert "$output" == "Bound images stored: $IMAGES"
    assert "$(asked .)" == 0
    # gc and bootc's cleanup may fail on a second name.
    assert "$(jq -c '[.[].names | length] | unique' "$STORE/overlay-images/images.json")" == '[1]'
}

@test "bound fetch: every third request for a blob fails" {
    bind 1 3
    registry_does every 3
    bp bound fetch --jobs 3 --retry 20
    assert "$stderr" =~ "trying again"
    whole 3
}

@test "bound fetch: killed, and run again" {
    bind 1 5
    registry_does late 30
    local pid moment
    for moment in 1 3; do
        "$BOOTC_PODMAN" bound fetch --quiet --jobs 4 >/dev/null 2>err 3>&- &
        pid=$!
        wait_for bash -c "[ \"\$(jq length $STORE/overlay-images/images.json)\" -ge $moment ]"
        kill -KILL "$pid" || true # it may have been faster
        wait "$pid" || true
    done
    bp '?' bound check
    assert "$output" !~ damaged
    rm /srv/control
    bp bound fetch
    whole 5
    # A signal ends it in order.
    rm "$BOUND"/app[345].container
    oracle rmi -af >/dev/null
    registry_does slow 100
    "$BOOTC_PODMAN" bound fetch --jobs 4 >out 2>err 3>&- &
    pid=$!
    wait_for grep -q "Pulling" err
    kill -TERM "$pid"
    wait "$pid" || true
    cat err
    grep -q "terminated" err
    assert "$(cat out)" == ""
    rm /srv/control
    bp bound fetch
    whole 2
}

@test "bound fetch: credentials of the host and of a unit" {
    bind 1 2
    unit own.image "[Image]\nImage=$REGISTRY/app:3\nAuthFile=/srv/own.json\n"
    registry_does auth
    mkdir -p /run/ostree
    printf '{"auths":{"%s":{"auth":"%s"}}}' "$REGISTRY" "$(printf 'user:wrong-secret' | base64)" >/run/ostree/auth.json
    printf '{"auths":{"%s":{"auth":"%s"}}}' "$REGISTRY" "$(printf 'user:pass' | base64)" >/srv/own.json
    bp 1 bound fetch
    local i refused='.*(unauthorized|authentication|401)'
    for i in 1 2; do
        assert "$stderr" =~ "pull $REGISTRY/app:$i with the credentials of \"/run/ostree/auth.json\": $refused"
    done
    assert "$stderr" !~ "wrong-secret|$(printf 'user:wrong-secret' | base64)"
    assert "$stderr" !~ "trying again"
    # The one with credentials of its own is there, and bound check does not see its unit, like bootc.
    oracle image exists "$REGISTRY/app:3"
    rm /run/ostree/auth.json
    bp 1 bound fetch
    assert "$stderr" =~ "pull $REGISTRY/app:1 with no credentials: "
    echo not JSON >/srv/own.json
    oracle rmi -af >/dev/null
    bp 1 --authfile /srv/none bound fetch
    assert "$stderr" =~ 'read credentials: open /srv/none'
    rm /srv/own.json "$BOUND"/app*
    bp 1 bound fetch
    assert "$stderr" =~ "fetch $REGISTRY/app:3: ".*/srv/own.json
}

@test "bound fetch: what podman's own store has is cloned" {
    bind 1 2
    unit digest.container "[Container]\nImage=$REGISTRY/app@$(app_digest 3)\n"
    podman pull -q "$REGISTRY/app:1" >/dev/null
    podman pull -q "$REGISTRY/app@$(app_digest 3)" >/dev/null
    podman tag "$REGISTRY/app:1" "$REGISTRY/app:2" # which is another image there
    : >/srv/requests
    bp bound fetch
    assert "$output" == "Bound images stored: 3"
    # Nothing but the configuration and the own layer of app:2.
    assert "$(asked 'GET .*/blobs/')" == 2
    assert "$(oracle image inspect --format '{{.Digest}}' "$REGISTRY/app:2")" == "$(app_digest 2)"
    oracle image exists "$REGISTRY/app@$(app_digest 3)"
    bp bound check
    assert "$(oracle image ls -aq | sort -u | wc -l)" == 3 # and no loan
    # Only from there, and only from the registry.
    oracle rmi -af >/dev/null
    : >/srv/requests
    bp bound fetch --from default --quiet
    assert "$(asked .)" == 0
    assert "$(oracle image inspect --format '{{.Digest}}' "$REGISTRY/app:2")" == "$(app_digest 1)"
    podman rmi "$REGISTRY/app:2" >/dev/null
    oracle rmi -af >/dev/null
    bp 1 bound fetch --from default --quiet
    assert "$stderr" =~ "fetch $REGISTRY/app:2: "
    oracle image exists "$REGISTRY/app:1"
    # Layers only: the configuration and the own layer are fetched.
    oracle rmi -af >/dev/null
    rm "$BOUND"/*
    bind 4 4
    : >/srv/requests
    bp bound fetch --quiet
    assert "$(asked 'GET .*/blobs/')" == 2
    assert "$(oracle image ls -aq | wc -l)" == 1
}

@test "bound fetch: a damaged image is repaired" {
    bind 1 2
    bp bound fetch --quiet
    local layer
    layer=$(jq -r '.[] | select(.parent != null) | .id' "$STORE/overlay-layers/layers.json" | head -n 1)
    rm -r "$STORE/overlay/$layer/diff"
    bp 1 bound check
    assert "$output" =~ "\"bootc-podman repair $REGISTRY/app:[12]\" fixes it"
    bp bound fetch
    whole 2
    # Nothing is removed that no source has.
    rm -r "$STORE/overlay/$layer/diff"
    registry_does status 404
    bp 1 bound fetch
    assert "$(oracle image ls -q | wc -l)" == 2
}

@test "bound fetch: beside another fetch and a podman" {
    bind 1 6
    registry_does late 20
    "$BOOTC_PODMAN" bound fetch --quiet >first 2>&1 3>&- &
    local first=$! second i
    "$BOOTC_PODMAN" bound fetch --quiet >second 2>&1 3>&- &
    second=$!
    for i in 6 5 4; do
        oracle pull -q "$REGISTRY/app:$i" >/dev/null
    done
    wait "$first" "$second" || { cat first second && false; }
    whole 6
}

@test "bound fetch: a full disk" {
    bind 1 3
    bp init
    local full=/sysroot/full
    fallocate -l "$(($(df --output=avail -B1 /sysroot | tail -n 1) - 200000))" $full
    bp 1 bound fetch
    rm $full
    assert "$stderr" =~ "no space left"
    assert "$stderr" =~ "pull $REGISTRY/app:"
    bp '?' bound check
    assert "$output" !~ damaged
    bp bound fetch
    whole 3
}

@test "bound fetch: other hosts" {
    bind 1 2
    # Another root, whose deployment has one image bound, and which has no store yet.
    rm -rf /sysroot/other
    mkdir -p /sysroot/other
    ostree admin init-fs --modern /sysroot/other
    os_tree tree 43
    os_bind tree "$REGISTRY/app:4" app.container
    ostree --repo=/sysroot/other/ostree/repo commit --no-bindings --branch app --tree=dir=tree >sum
    ostree admin --sysroot=/sysroot/other os-init default >/dev/null
    OSTREE_SYSROOT_DEBUG=mutable-deployments ostree admin --sysroot=/sysroot/other deploy --os=default "$(cat sum)" >/dev/null
    bp --sysroot /sysroot/other bound fetch
    assert "$output" == "Bound images stored: 1"
    bp --sysroot /sysroot/other bound check
    bp --sysroot /sysroot/other image ls -q
    assert "$(wc -l <<<"$output")" == 1
    assert "$(oracle image ls -q)" == ""
    # A host with the composefs backend: its store is in the physical root.
    mv /sysroot/ostree /sysroot/real
    cp /run/cmdline cmdline
    os_boot_composefs quay.io/example/os:42 "sha256:$(printf '%064d' 0)"
    bp bound fetch
    assert "$output" == "Bound images stored: 2"
    whole 2
    cp cmdline /run/cmdline
    rm -r /sysroot/ostree /sysroot/composefs /sysroot/state
    mv /sysroot/real /sysroot/ostree
    # Nothing changes in a dry run.
    bp bound fetch --dry-run
    assert "$output" =~ "image pull"
    assert "$(oracle image ls -q)" == ""
    bp 2 bound fetch --jobs 0
    bp 2 bound fetch --staged --deployment booted
    bp 1 --sysroot /srv/none bound fetch
}

# states - each image with its state and the digest that is available.
states() { jq -r '.[] | "\(.image | ltrimstr("'"$REGISTRY"'/")) \(.state) \(.available)" | rtrimstr(" ")' <<<"$output"; }

# app_list TAG N OTHER - a manifest list of the images N, for this machine, and OTHER.
app_list() {
    local dir=/srv/list.$1 n hex arch=amd64 list='[]'
    mkdir "$dir"
    for n in "$2" "$3"; do
        hex=$(app_digest "$n")
        cp "/srv/app.$n"/* "$dir"
        cp "/srv/app.$n/manifest.json" "$dir/${hex#*:}.manifest.json"
        list=$(jq -c --arg d "$hex" --arg a $arch --argjson s "$(stat -c %s "/srv/app.$n/manifest.json")" \
            '. + [{mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $d, size: $s, platform: {architecture: $a, os: "linux"}}]' <<<"$list")
        arch=s390x
    done
    jq -nc --argjson list "$list" '{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: $list}' >"$dir/manifest.json"
    skopeo copy -q --all --dest-tls-verify=false "dir:$dir" "docker://$SERVER/app:$1"
}

@test "bound outdated: what registries have replaced" {
    bind 9 10
    unit digest.container "[Container]\nImage=$REGISTRY/app@$(app_digest 3)\n"
    app_list list 11 1
    unit list.container "[Container]\nImage=$REGISTRY/app:list\n"
    bp bound fetch --quiet
    bp bound outdated
    assert "$output" =~ "$REGISTRY/app:10  "*current
    bp bound outdated --format json
    assert "$(states)" == "app:10 current $(app_digest 10)
app:9 current $(app_digest 9)
app@$(app_digest 3) pinned
app:list current $(app_digest 11)"
    # The list has another image for another machine only.
    rm -r /srv/list.list
    app_list list 11 2
    bp bound outdated --format json
    assert "$(states | tail -n 1)" == "app:list current $(app_digest 11)"
    rm -r /srv/list.list
    app_list list 12 2
    app_image "$SERVER" 9 newer
    oracle rmi "$REGISTRY/app:10" >/dev/null
    local before
    before=$(oracle image ls --format "{{.ID}} {{.Repository}}:{{.Tag}}")
    bp 1 bound outdated --format json
    assert "$(states)" == "app:10 missing
app:9 outdated $(app_digest 9)
app@$(app_digest 3) pinned
app:list outdated $(app_digest 12)"
    echo "$output" | jq -c . >outdated
    "$PULLTEST" validate "$BATS_TEST_DIRNAME/../docs/bound-outdated-v1.schema.json" outdated
    assert "$(oracle image ls --format "{{.ID}} {{.Repository}}:{{.Tag}}")" == "$before"
    # One that is named by its digest can be missing, too.
    oracle rmi "$REGISTRY/app@$(app_digest 3)" >/dev/null
    bp 1 bound outdated --format json
    assert "$(states)" =~ "app@$(app_digest 3) missing"
    bp bound refresh --quiet "$REGISTRY/app@$(app_digest 3)"
    bp 1 bound outdated --format json
    assert "$(states)" =~ "app@$(app_digest 3) pinned"
    rm "$BOUND"/app10*
    registry_does down
    bp 125 bound outdated
    assert "$output" =~ "$REGISTRY/app:9  "*unknown
    assert "$stderr" =~ "$REGISTRY/app:9: read its manifest with no credentials: .*skopeo.*: exit status 1: [a-zA-Z]"
    # One that is missing is enough.
    rm "$BOUND"/{app9,list}*
    oracle rmi "$REGISTRY/app@$(app_digest 3)" >/dev/null
    bp 1 bound outdated
    bp 2 bound outdated x
}

# names TAG - the names of the image with the digest in old.TAG.
names() { oracle image ls --digests --format '{{.Digest}} {{.Repository}}:{{.Tag}}' | sed -n "s|^$(cat "old.$1") $REGISTRY/||p"; }

@test "bound refresh: the old image keeps a name with the date" {
    bind 13 15
    bp bound fetch --quiet
    local i kept='app:13-20[0-9]{6}-[0-9]{6}'
    for i in 13 14 15; do
        app_digest $i >old.$i
        app_image "$SERVER" $i newer
    done
    bp bound refresh --dry-run "$REGISTRY/app:13"
    assert "$output" =~ "image tag".*"image pull"
    mkdir -p /etc/bootc-podman
    jq -n --arg name "$REGISTRY/app:13" --arg digest "$(cat old.13)" '{schema: 1, images: {($name): $digest}}' >/etc/bootc-podman/bound.lock
    bp bound refresh "$REGISTRY/app:13"
    assert "$output" =~ ^"$REGISTRY/app:13: refreshed, $(app_digest 13), before $(cat old.13), kept as $REGISTRY/$kept"$
    assert "$stderr" =~ "bound.lock has another image for $REGISTRY/app:13"
    rm /etc/bootc-podman/bound.lock
    assert "$(oracle image inspect --format '{{.Digest}}' "$REGISTRY/app:13")" == "$(app_digest 13)"
    assert "$(names 13)" =~ ^"$kept"$
    assert "$(names 14)" == app:14
    # What bootc does with it.
    bp gc --dry-run
    assert "$output" =~ "$kept"
    bp bound refresh "$REGISTRY/app:13"
    assert "$output" == "$REGISTRY/app:13: current"
    # Podman's own store has one of the others.
    podman pull -q "$REGISTRY/app:14" >/dev/null
    : >/srv/requests
    bp bound refresh --quiet --all
    assert "$(asked 'GET .*/blobs/')" == 2
    assert "$(oracle image ls -aq | sort -u | wc -l)" == 6
    bp bound outdated
    assert "$(names 15)" =~ ^app:15-20
    bp 1 bound refresh quay.io/example/none:1
    assert "$stderr" =~ 'refresh image "quay.io/example/none:1": no deployment has it bound'
    bp 2 bound refresh
    bp 2 bound refresh --all x
}

@test "bound refresh: killed, or without its registry" {
    bind 16 17
    bp bound fetch --quiet
    app_digest 16 >old.16
    app_image "$SERVER" 16 newer
    registry_does status 503
    bp 1 bound refresh --all --retry 0
    assert "$stderr" =~ "refresh $REGISTRY/app:16: read its manifest"
    assert "$(names 16)" == app:16
    # It ends before the image is there.
    registry_does cut 10
    bp 1 bound refresh "$REGISTRY/app:16" --retry 0
    assert "$(names 16)" == app:16
    registry_does slow 100
    "$BOOTC_PODMAN" bound refresh "$REGISTRY/app:16" >out 2>&1 3>&- &
    local pid=$!
    wait_for bash -c "grep -q /blobs/ /srv/requests && grep -q 'Pulling' out"
    kill -KILL "$pid"
    wait "$pid" || true
    bp bound check
    assert "$(oracle image inspect --format '{{.Digest}}' "$REGISTRY/app:16")" == "$(cat old.16)"
    assert "$(names 16 | wc -l)" == 2
    rm /srv/control
    # Its registry has the old image again: it loses the second name.
    app_image "$SERVER" 16
    bp bound refresh --all
    assert "$(names 16)" == app:16
    app_image "$SERVER" 16 newer
    bp bound refresh --all
    assert "$(names 16)" =~ ^app:16-20
    assert "$(oracle image inspect --format '{{.Digest}}' "$REGISTRY/app:16")" == "$(app_digest 16)"
    bp bound check
}

# shelve NAME N - add the image N to the layout in a directory "images" under a name.
shelve() { skopeo copy -q "dir:/srv/app.$2" "oci:images:$1"; }

# stored - each name of the store with its image.
stored() { oracle image ls -a --digests --format '{{.Repository}}:{{.Tag}} {{.Digest}}' | sort; }

@test "bound fetch: from an image layout, without a network" {
    bind 1 3
    unit digest.container "[Container]\nImage=$REGISTRY/other@$(app_digest 4)\n"
    registry_does down
    shelve "$REGISTRY/app:1" 1
    shelve app:2 2
    shelve whatever 4
    # podman's own store need not exist.
    umount -q /var/lib/containers/storage/overlay || true
    rm -rf /var/lib/containers/storage
    bp 1 bound fetch --dry-run --from oci:images
    assert "$output" =~ "image layout of the image $(app_digest 2) in \"$PWD/images\", as $REGISTRY/app:2"
    assert "$output" =~ "oci:/run/bootc-podman/layout0:$REGISTRY/app:1"
    assert "$(stored)" == ""
    # The third is not there.
    bp 1 bound fetch --from oci:images --progress-fd 7 7> >(cat >json && touch end)
    assert "$stderr" =~ "fetch $REGISTRY/app:3 from \"$PWD/images\": the image layout does not have the image"
    assert "$stderr" !~ "pull "
    wait_for test -e end
    "$PULLTEST" validate "$BATS_TEST_DIRNAME/../docs/progress-v0.schema.json" json
    assert "$(stored)" == "$REGISTRY/app:1 $(app_digest 1)
$REGISTRY/app:2 $(app_digest 2)
$REGISTRY/other:<none> $(app_digest 4)"
    oracle image exists "$REGISTRY/other@$(app_digest 4)"
    shelve "$REGISTRY/app" 3 # which is app:latest, and not it
    bp 1 bound fetch --from "oci:$PWD/images"
    shelve 3 3
    bp bound fetch --from "oci:$PWD/images" --quiet
    assert "$output" == "Bound images stored: 4"
    assert "$stderr" == ""
    bp bound check
    assert "$(stored | wc -l)" == 4
    assert "$(asked .)" == 0
    assert "$(ls -d /run/bootc-podman/layout* 2>/dev/null)" == ""
    # The layout is needed, and is one.
    bp 1 bound fetch --from oci:none
    assert "$stderr" =~ "read image layout \"$PWD/none\": "
    bp 2 bound fetch --from oci:
}

@test "bound fetch: manifest lists of an image layout" {
    registry_does down
    local dir=images hex list digest
    mkdir $dir
    shelve "$REGISTRY/one:1" 11
    shelve "$REGISTRY/one:2" 12
    hex=$(app_digest 12)
    list=$(jq -nc --arg one "$(app_digest 11)" --arg two "$hex" '{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
        manifests: [{mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $one, size: 1, platform: {architecture: "s390x", os: "linux"}},
            {mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $two, size: 1, platform: {architecture: "amd64", os: "linux"}}]}' |
        jq -c --argjson s "$(stat -c %s "$dir/blobs/sha256/${hex#*:}")" '.manifests[].size = $s')
    hex=$(printf %s "$list" | sha256sum | cut -d' ' -f1)
    digest=sha256:$hex
    printf %s "$list" >"$dir/blobs/sha256/$hex"
    jq -c --arg d "$digest" --arg name "$REGISTRY/list:1" --argjson s ${#list} '.manifests = [{mediaType: "application/vnd.oci.image.index.v1+json",
        digest: $d, size: $s, annotations: {"org.opencontainers.image.ref.name": $name}}]' $dir/index.json >new
    mv new $dir/index.json
    unit tag.container "[Container]\nImage=$REGISTRY/list:1\n"
    unit digest.container "[Container]\nImage=$REGISTRY/list@$digest\n"
    bp bound fetch --from oci:images
    oracle image exists "$REGISTRY/list:1"
    oracle image exists "$REGISTRY/list@$digest"
    assert "$(oracle image ls -aq --no-trunc | sort -u)" == "$(jq -r '"sha256:" + (.config.digest | ltrimstr("sha256:"))' /srv/app.12/manifest.json)"
    bp bound check
}

@test "bound fetch: a hostile image layout" {
    bind 1 2
    registry_does down
    shelve "$REGISTRY/app:1" 1
    shelve "$REGISTRY/app:2" 2
    cp -r images good
    # One image is another one than its digest says; a file of the other waits for a writer.
    local one two
    one=$(app_digest 1) two=$(jq -r .config.digest /srv/app.2/manifest.json)
    cp "images/blobs/sha256/$(app_digest 2 | cut -d: -f2)" "images/blobs/sha256/${one#*:}"
    rm "images/blobs/sha256/${two#*:}"
    mkfifo "images/blobs/sha256/${two#*:}"
    bp 1 bound fetch --from oci:images
    assert "$stderr" =~ "fetch $REGISTRY/app:1 from ".*" does not have the digest $one"
    assert "$stderr" =~ "fetch $REGISTRY/app:2 from ".*" is not a file of "
    assert "$(stored)" == ""
    # A layer has another content of the same size.
    rm -r images
    cp -r good images
    local layer
    layer=$(jq -r '.layers[1].digest' /srv/app.1/manifest.json | cut -d: -f2)
    head -c "$(stat -c %s "good/blobs/sha256/$layer")" /dev/zero >"images/blobs/sha256/$layer"
    bp 1 bound fetch --from oci:images --quiet
    assert "$stderr" =~ "pull $REGISTRY/app:1 from "
    assert "$(stored)" == "$REGISTRY/app:2 $(app_digest 2)"
    # The index is a FIFO, large, or leads elsewhere.
    rm images/index.json
    mkfifo images/index.json
    bp 1 bound fetch --from oci:images
    assert "$stderr" =~ "not a regular file"
    rm images/index.json
    fallocate -l 100M images/index.json
    bp 1 bound fetch --from oci:images
    assert "$stderr" =~ "more than 4194304 bytes"
    rm images/index.json
    ln -s /etc/shadow images/index.json
    bp 1 bound fetch --from oci:images
    assert "$stderr" !~ root:
    bp bound fetch --from oci:good --quiet
    whole 2
}

@test "bound fetch: from an image layout, killed, and run again" {
    bind 1 6
    registry_does down
    local i pid moment
    for ((i = 1; i <= 6; i++)); do
        shelve "$REGISTRY/app:$i" "$i"
    done
    for moment in 0 1 3; do
        "$BOOTC_PODMAN" bound fetch --quiet --jobs 2 --from oci:images >/dev/null 2>err 3>&- &
        pid=$!
        wait_for bash -c "[ -d /run/bootc-podman/layout0 ] && [ \"\$(jq length $STORE/overlay-images/images.json)\" -ge $moment ] || ! kill -0 $pid"
        kill -KILL "$pid" || true # it may have been faster
        wait "$pid" || true
        bp '?' bound check
        assert "$output" !~ damaged
    done
    bp bound fetch --quiet --from oci:images
    whole 6
    assert "$(stored | wc -l)" == 6
    assert "$(ls -d /run/bootc-podman/layout* 2>/dev/null)" == ""
}
