#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Which image is where: list, exists and status on a host with real images in a
# real ostree repository and a store that bootc made.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own

load helpers
load os-images

DIGEST=1111111111111111111111111111111111111111111111111111111111111111

setup_file() {
    ostree_host
    cd /srv || return 1
    os_tree plain 41
    os_tree base 42
    os_tree other 43
    mkdir -p change/usr/lib derived/usr/etc
    touch change/usr/lib/.wh.version
    echo derived >derived/usr/etc/conf
    for tree in plain base; do
        os_bind "$tree" quay.io/example/app:1 app.container
        os_bind "$tree" quay.io/example/web web.container
        os_bind "$tree" quay.io/example/absent:1 absent.container
    done
    {
        OS41=$(os_image docker_3A__2F__2F_quay_2E_io/example/os_3A_41 41 plain change)
        OS42=$(os_chunked_image docker_3A__2F__2F_quay_2E_io/example/os_3A_42 42 base derived)
        OS43=$(os_image "docker_3A__2F__2F_quay_2E_io/example/os_40_sha256_3A_$DIGEST" 43 other)
        cp manifest.json manifest43.json
        OTHER=$(os_image docker_3A__2F__2F_localhost_3A_5000/foo/my__img_3A_v1_2E_2__3 1 other)
        os_image containers-storage_3A_localhost/bootc 2 other
        os_image oci_3A__2F_var/mnt/osupdate_3A_latest 3 other
        D41=$(os_deploy "$OS41" ostree-unverified-registry:quay.io/example/os:41)
        D43=$(os_deploy "$OS43" "ostree-image-signed:docker://quay.io/example/os:43@sha256:$DIGEST")
        D42=$(os_deploy "$OS42" ostree-remote-registry:example:quay.io/example/os:42)
        ostree admin --sysroot=/sysroot pin 2
        os_boot "$D42"
        # The running root is that of the booted deployment.
        cp -a base/usr/lib/bootc base/usr/share /usr/local/ && ln -sfn /usr/local/bootc /usr/lib/bootc
        mkdir -p /usr/share/containers && cp -a base/usr/share/containers/systemd /usr/share/containers/
        for image in app web unused; do context "$image.context" "$image"; done
        oracle build -q -t quay.io/example/app:1 -t quay.io/example/app:latest app.context
        oracle build -q -t quay.io/example/web web.context
        oracle build -q -t quay.io/example/unused:3 unused.context
        context unnamed.context unnamed
        oracle build -q unnamed.context
    } >/dev/null
    export OS41 OS42 OS43 OTHER D41 D42 D43
}

setup() { cd "$BATS_TEST_TMPDIR"; }

teardown_file() {
    umount /proc/cmdline
    umount /sysroot
}

# row IMAGE FILTER - a fact about the row of an image in $output.
row() { jq -cr --arg image "$1" ".[] | select(.image == \$image) | $2" <<<"$output"; }

@test "list: what bootc would print, entry for entry" {
    bp list --format json
    sed "s/DIGEST/$DIGEST/" "$BATS_TEST_DIRNAME/golden/list-ostree.json" >"$BATS_TEST_TMPDIR/want"
    jq 'map({image_type, image})' <<<"$output" | diff "$BATS_TEST_TMPDIR/want" -
    for type in host logical; do
        bp list --format json --type "$type"
        jq --arg type "$type" 'map(select((.image_type == "logical") == ($type == "logical")))' "$BATS_TEST_TMPDIR/want" |
            diff - <(jq 'map({image_type, image})' <<<"$output")
    done
}

@test "list: digest, size, creation of every image in the ostree repository" {
    bp list --format json
    local json=$output ref name show
    for ref in $(os_ostree refs --list ostree/container/image); do
        show=$(os_ostree show --print-metadata-key=ostree.manifest-digest "$ref" | tr -d "'")
        name=$(jq -r --arg digest "$show" '.[] | select(.digest == $digest) | .image' <<<"$json")
        assert "$name" != "" "image of $ref"
        # GVariant text of a string without quotes is the string in quotes.
        os_ostree show --print-metadata-key=ostree.manifest "$ref" | sed "s/^'//; s/'$//" >manifest
        assert "$(row "$name" .size)" == "$(jq '[.layers[].size] | add' manifest)" "size of $name"
        assert "sha256:$(row "$name" .id)" == "$(jq -r .config.digest manifest)" "ID of $name"
        assert "$(row "$name" .created)" == "$OS_CREATED"
        assert "$(row "$name" .architecture)" == amd64
    done
}

@test "list: sizes, IDs and digests of the store are podman's" {
    local format='{{.Repository}} {{.Tag}} {{.ID}} {{.Digest}} {{.Size}}'
    oracle images --no-trunc --digests --format "$format" | grep -v '^<none>' | sed 's/ sha256:/ /' | LC_ALL=C sort >want
    bp list --type unified --no-trunc --format "$format"
    LC_ALL=C sort <<<"$output" | diff want -
}

@test "list: deployments, what keeps an image, and what will be pruned" {
    bp list --format json
    assert "$(row docker://quay.io/example/os:42 '.deployments, .kept_by, .will_be_pruned')" == \
        "$(printf '%s\n' "[{\"id\":\"default/$D42\",\"role\":\"booted\"}]" "[{\"deployment\":\"default/$D42\",\"by\":\"origin\"}]" false)"
    # The origin has a tag beside the digest, which bootc's cleanup does not see through.
    assert "$(row "docker://quay.io/example/os@sha256:$DIGEST" '(.deployments | map(.role)), .kept_by, .will_be_pruned')" == \
        "$(printf '%s\n' '["rollback"]' '[]' true)"
    assert "$(row docker://localhost:5000/foo/my_img:v1.2_3 '.will_be_pruned')" == true
    # One of the names is enough to keep an image.
    assert "$(row quay.io/example/app:latest '.will_be_pruned, (.kept_by | length), .kept_by[0].by')" == "$(printf 'false\n2\nbound-image')"
    assert "$(row quay.io/example/unused:3 '.will_be_pruned, .deployments')" == "$(printf 'true\n[]')"
    # podman finds quay.io/example/web, but stores it with the tag latest.
    assert "$(row quay.io/example/web '.present, .will_be_pruned, (.deployments | length)')" == "$(printf 'true\ntrue\n2')"
    assert "$(row quay.io/example/absent:1 '.present, .store, .size')" == "$(printf 'false\n\nnull')"
}

@test "list: a table like podman's" {
    bp list
    assert "${lines[0]}" =~ '^REPOSITORY +TAG +STORE +DIGEST +CREATED +SIZE +STATE$'
    assert "$(grep -c 'quay.io/example/os  *42 ' <<<"$output")" == 1
    assert "$output" =~ 'quay.io/example/absent +1 +bootc +<none> +missing'
    # A bound image that is there is one line, and no transport is before its name.
    assert "$(grep -c 'quay.io/example/app  *1 ' <<<"$output")" == 1
    assert "$output" =~ 'quay.io/example/app +1 +bootc .* bound'
    assert "$output" =~ $'\n''localhost/bootc +<none> +ostree '
    bp list -q
    assert "$(sort <<<"$output")" == "$(sort -u <<<"$output")"
    bp list --format '{{.Image}}' --type logical
    assert "$output" == "$(printf 'quay.io/example/%s\n' absent:1 app:1 web)"
}

@test "list, status, inspect: no line is wider than the terminal" {
    # Names are not broken.
    local columns verb
    for columns in 60 80; do
        for verb in list 'list --all-stores' status 'inspect quay.io/example/os:42'; do
            script -qec "stty cols $columns; $BOOTC_PODMAN $verb" /dev/null </dev/null | tr -d '\r' >screen
            ! grep -E "^.{$((columns + 1))}" screen | grep -v @sha256: || die "$verb in $columns columns"
            grep -q quay.io/example/os screen
        done
    done
}

@test "list: names, filters and orders choose as podman's do" {
    local args
    oracle create --name idle quay.io/example/unused:3 /bin/true
    bp list --type unified --filter containers=true --format '{{.Image}}: {{.State}}'
    assert "$output" == "quay.io/example/unused:3: needed by idle, will be removed by bootc's next cleanup"
    for args in quay.io/example/app example/app:1 app '--filter reference=*/*/w*' \
        '--filter containers=true' '--filter containers=false' '--filter until=1m' '--filter label=io.buildah.version' '--filter label=nothing' \
        '--filter before=web' '--filter since=web' '--filter reference!=*web*' "--filter id=$(oracle image inspect -f '{{.Id}}' web)"; do
        # podman 4.3.1 lists nothing for an ID, and the podmans differ in which of the names they list.
        # shellcheck disable=SC2086 # words
        oracle images --format '{{.ID}}' $args | grep -vxF "$(oracle images -q --filter dangling=true)" | sort -u >want
        # shellcheck disable=SC2086 # words
        "$BOOTC_PODMAN" list --type unified --filter store=bootc --format '{{.ID}}' $args | sort -u | diff want - || die "list $args"
    done
    for args in size:Size repository:Repository tag:Tag id:ID; do
        oracle images --sort "${args%:*}" --filter dangling=false --format "{{.${args#*:}}}" >want
        "$BOOTC_PODMAN" list --type unified --filter store=bootc --sort "${args%:*}" --format "{{.${args#*:}}}" | diff want - || die "list --sort $args"
    done
    oracle rm idle
}

@test "list: an image in podman's own store" {
    source_archive own own
    podman load -q -i /srv/own.tar
    bp list --format json
    assert "$(row localhost/own:latest .store)" == ""
    bp list --all-stores --format json
    assert "$(row localhost/own:latest '.store, .image_type')" == "$(printf 'default\ndefault')"
    assert "$(row localhost/own:latest .id)" == "$(podman image inspect -f '{{.Id}}' localhost/own)"
    bp exists --store default own
    bp 1 exists own
}

@test "inspect: an image in all places, with podman's digests, and who needs it" {
    local name id
    oracle create --name idle quay.io/example/unused:3 /bin/true
    for name in quay.io/example/app:1 web quay.io/example/unused:3 "$(oracle image inspect -f '{{.Id}}' app:1)"; do
        bp inspect --format json "$name"
        jq -r '.[0].places[] | select(.store == "bootc") | .id, .digest, (.digests | sort[]), (.names | sort[]), .architecture, .layers, .state' <<<"$output" >got
        {
            oracle image inspect -f '{{.Id}} {{.Digest}}' "$name" | tr ' ' '\n'
            oracle image inspect "$name" | jq -r '.[0] | ([.RepoDigests[] | split("@")[1]] | unique[]), (.RepoTags | sort[]), .Architecture, (.RootFS.Layers | length), "whole"'
        } | diff got -
    done
    bp inspect --format '{{range .Places}}{{range .NeededBy}}{{.By}} {{.Name}} {{end}}{{end}}' unused:3
    assert "$output" == "container idle "
    oracle rm idle
    bp inspect quay.io/example/os:42
    assert "$output" =~ 'Store: +ostree, /sysroot/ostree/repo, whole'
    assert "$output" =~ "Digest: +$(os_ostree show --print-metadata-key=ostree.manifest-digest "$OS42" | tr -d "'")"
    assert "$output" =~ "booted deployment default/$D42, which follows docker://quay.io/example/os:42"
    # A layer that the repository has lost.
    name=$(os_ostree show --print-metadata-key=ostree.manifest "$OS42" | sed "s/^'//; s/'$//" | jq -r .layers[0].digest)
    name=ostree/container/blob/${name/:/_3A_}
    cp "$REPO/refs/heads/$name" ref
    rm "$REPO/refs/heads/$name"
    bp inspect --format '{{range .Places}}{{.State}} {{.Damage}}{{end}}' docker://quay.io/example/os:42
    assert "$output" =~ "^damaged .*$name"
    cp ref "$REPO/refs/heads/$name"
    bp inspect quay.io/example/absent:1
    assert "$output" =~ 'bootc, /sysroot/ostree/bootc/storage, missing'
    bp 125 inspect nosuch
    assert "$stderr" =~ 'inspect nosuch: image not known'
}

@test "exists: agrees with podman image exists" {
    local name id
    id=$(oracle image inspect -f '{{.Id}}' quay.io/example/app:1)
    for name in quay.io/example/app:1 quay.io/example/app quay.io/example/app:2 app:1 example/app:1 web web:latest \
        quay.io/example/web@"$(oracle image inspect -f '{{.Digest}}' quay.io/example/web)" "quay.io/example/web@sha256:$DIGEST" \
        "$id" "${id:0:12}" "${id:0:3}" "sha256:$id" "sha256:${id:0:12}" docker://quay.io/example/app:1 \
        containers-storage:quay.io/example/app:1 'UPPER' '' a:b:c; do
        run oracle image exists "$name"
        # Usage is ours to print.
        bp "$status" exists -- "$name"
    done
}

@test "exists: in the ostree repository" {
    for name in docker://quay.io/example/os:42 quay.io/example/os:42 "quay.io/example/os@sha256:$DIGEST" localhost:5000/foo/my_img:v1.2_3 \
        containers-storage:localhost/bootc localhost/bootc oci:/var/mnt/osupdate:latest; do
        bp exists "$name" --store ostree
    done
    for name in quay.io/example/os quay.io/example/os:4 quay.io/example/app:1; do
        bp 1 exists --store ostree "$name"
    done
}

@test "status: the same from bootc and from the sysroot" {
    bp status --format json
    assert "$(jq -cr '.source, .kind, .booted.image, .booted.version, .rollback.pinned, .other_deployments[0].pinned' <<<"$output")" == \
        "$(printf '%s\n' sysroot ostree docker://quay.io/example/os:42 42 false true)"
    assert "$(jq -cr '.unified.on, .unified.reason, .bound_images.present, .bound_images.missing[0], .filesystem.type, .filesystem.reflink' <<<"$output")" == \
        "$(printf '%s\n' false 'the bootc-owned store does not have quay.io/example/os:42' 2 quay.io/example/absent:1 xfs yes)"
    # XFS frees blocks in the background.
    local same='del(.source, .source_reason) | .filesystem.available |= (. > 0 and . < 469762048)'
    jq "$same" <<<"$output" >native
    # What bootc would say of this host.
    local image='{image: {image: $image, transport: "registry"}, imageDigest: $digest, version: $version, timestamp: $time, architecture: "amd64"}'
    entry() {
        jq -nc --arg image "$1" --arg digest "$2" --arg version "$3" --arg commit "$4" --argjson pinned "$5" --arg time "$OS_CREATED" \
            "{image: $image, pinned: \$pinned, incompatible: false, ostree: {checksum: \$commit, deploySerial: 0, stateroot: \"default\"}, composefs: null}"
    }
    mkdir bin
    jq -nc --argjson booted "$(entry quay.io/example/os:42 "$(jq -r .booted.digest native)" 42 "$OS42" false)" \
        --argjson rollback "$(entry "quay.io/example/os:43@sha256:$DIGEST" "$(jq -r .rollback.digest native)" 43 "$OS43" false)" \
        --argjson other "$(entry quay.io/example/os:41 "$(jq -r '.other_deployments[0].digest' native)" 41 "$OS41" true)" '{
        apiVersion: "org.containers.bootc/v1", kind: "BootcHost", metadata: {name: "host"}, spec: {image: null},
        status: {booted: $booted, staged: null, rollback: $rollback, otherDeployments: [$other], rollbackQueued: false, type: "bootcHost"}}' >bin/json
    printf '#!/bin/sh\n[ "$*" = "status --format=json" ] && exec cat %s\n' "$PWD/bin/json" >bin/bootc
    chmod +x bin/bootc
    PATH=$PWD/bin:$PATH bp status --format json
    assert "$(jq -r .source <<<"$output")" == bootc
    assert "$(jq .filesystem.available native)" == true
    jq "$same" <<<"$output" | diff native -
}

@test "status: unified storage, once the store has the booted image" {
    oracle tag quay.io/example/app:1 quay.io/example/os:42
    bp status --format '{{.Unified.On}}: {{.Unified.Reason}}'
    assert "$output" =~ '^true: the bootc-owned store has an image quay.io/example/os:42, but sha256:[0-9a-f]{64}, not the booted sha256:'
    oracle untag quay.io/example/app:1 quay.io/example/os:42
    bp status
    assert "$output" =~ 'Unified: +off: the bootc-owned store does not have quay.io/example/os:42'
}

@test "list, exists, status: read-only, no program started, and nothing opened for writing" {
    # The first one after a boot writes /run/bootc-podman/host.json.
    bp status
    mount -o remount,bind,ro /sysroot
    mount_table >before
    for command in 'list --format json' 'list --all-stores' 'exists quay.io/example/app:1' 'exists --store ostree quay.io/example/os:42' status; do
        # shellcheck disable=SC2086 # words
        strace -f -o trace -e trace=file,process "$BOOTC_PODMAN" $command >out
        ! grep -E 'O_(WRONLY|RDWR|CREAT|TRUNC)|^[0-9]+ +(unlink|rename|link|symlink|chmod|chown|mknod|mkdir|truncate|utime|setxattr)' trace ||
            die "$command writes"
        # Only the program itself; its threads are no processes.
        assert "$(grep -c execve trace)" == 1
        ! grep -E 'v?fork\(|clone3?\(' trace | grep -v CLONE_THREAD || die "$command starts a process"
    done
    mount_table | diff before -
    mount -o remount,bind,rw /sysroot
}

@test "list, exists: no errors while podman works on the store" {
    source_archive coming coming
    (
        # shellcheck disable=SC2030
        while [ ! -e stop ]; do
            oracle load -q -i /srv/coming.tar
            oracle rmi localhost/coming
        done
    ) >/dev/null 2>&1 3>&- &
    local worker=$! i failed=0
    for ((i = 0; i < 300; i++)); do
        "$BOOTC_PODMAN" list --type unified --format json >out 2>>err || failed=$((failed + 1))
        "$BOOTC_PODMAN" exists quay.io/example/app:1 2>>err || failed=$((failed + 1))
    done
    touch stop
    wait "$worker" || true
    cat err
    assert "$failed" == 0
    oracle rmi -i localhost/coming
}

@test "list: an unprivileged user, where file modes allow" {
    mkdir -p /srv/own/ostree
    cp -a /sysroot/ostree/repo /sysroot/ostree/deploy /sysroot/ostree/boot.* /srv/own/ostree/
    cp -a /sysroot/boot /srv/own/
    mkdir -p /srv/own/ostree/bootc
    cp -a "$STORE" /srv/own/ostree/bootc/
    as_nobody --sysroot /srv/own list
    assert "$status" == 1
    assert "$stderr" =~ 'images.json: permission denied'
    assert "$stderr" =~ 'Hint: root may be needed'
    # What was not looked at is neither off nor missing.
    as_nobody status --lenient
    assert "$output" =~ 'Unified: +not looked at: .*images.json: permission denied'
    assert "$output" =~ 'Store: +bootc, not looked at'
    assert "$output" =~ 'Bound: +3 images, not looked at'
    as_nobody status --lenient --format json
    assert "$(jq -c '.not_looked_at - ["default"]' <<<"$output")" == '["unified","bootc","bound_images","hooks"]'
    as_nobody inspect --lenient --format '{{.NotLooked}}{{range .Places}} {{.Names}}{{end}}' example/os:42
    assert "$output" == '[bootc default] [docker://quay.io/example/os:42]'
    as_nobody inspect nosuch
    assert "$status" == 125
    assert "$stderr" =~ 'Hint: root may be needed'
    as_nobody list --lenient --type logical --format '{{.State}}'
    assert "$(sort -u <<<"$output")" == 'not looked at'
    chown -R 65534:65534 /srv/own/ostree/bootc
    as_nobody --sysroot /srv/own list --format json
    assert "$status" == 0
    assert "$(jq 'map(select(.image_type == "unified")) | length' <<<"$output")" == 4
    assert "$(jq 'map(select(.image_type == "host")) | length' <<<"$output")" == 6
    rm -rf /srv/own
}

@test "list: in a container its own bound images only" {
    container=oci bp list --format json
    assert "$(jq -c 'map(.image)' <<<"$output")" == '["quay.io/example/absent:1","quay.io/example/app:1","quay.io/example/web"]'
    container=oci bp 1 list --type host
    assert "$stderr" =~ 'a container has no deployments'
}

@test "list: no store, and an empty one" {
    mv "$STORE" "$STORE.away"
    bp list --type unified --format json
    assert "$output" == '[]'
    bp 1 exists quay.io/example/app:1
    [ ! -e "$STORE" ]
    mkdir "$STORE"
    bp list --type unified --format json
    assert "$output" == '[]'
    rmdir "$STORE"
    mv "$STORE.away" "$STORE"
}

# damaged WHAT REST - list and status report WHAT in one line and exit with 1; REST is
# listed all the same. With --lenient that is no failure.
damaged() {
    local what=$1 rest=$2
    bp 1 status --format json
    assert "$(jq -r '.booted.image' <<<"$output")" == docker://quay.io/example/os:42 "status goes on"
    assert "$(jq -r '.problems[]' <<<"$output")" =~ "$what"
    assert "$(grep -c '^Error: ' <<<"$stderr")" == 1 "errors of status"
    bp 1 list --format json
    assert "$(jq "map(select($rest)) | length > 0" <<<"$output")" == true "the rest"
    assert "$(grep -c '^Error: ' <<<"$stderr")" == 1 "errors"
    assert "$stderr" =~ "$what"
    bp list --format json --lenient
    assert "$(grep -c '^Warning: ' <<<"$stderr")" == 1 "warnings"
    assert "$(jq "map(select($rest)) | length > 0" <<<"$output")" == true "the rest"
}

@test "list: damaged files are named, and the rest is there" {
    local images=$STORE/overlay-images/images.json layers=$STORE/overlay-layers/layers.json
    cp -a "$images" images.json
    echo '[{"id": "x"' >"$images"
    damaged 'overlay-images/images.json' '.image_type == "host"'
    cp -a images.json "$images"

    cp -a "$layers" layers.json
    truncate -s 100 "$layers"
    damaged 'overlay-layers/layers.json' '.image_type == "unified" and .size == null'
    cp -a layers.json "$layers"

    ln -s /nowhere /usr/lib/bootc/bound-images.d/zzz.image
    damaged 'bound-images.d/zzz.image' '.image_type == "logical"'
    rm /usr/lib/bootc/bound-images.d/zzz.image

    # bootc lists an image with an empty name.
    printf '[Container]\nImage=\n' >/srv/empty.container
    ln -s /srv/empty.container /usr/lib/bootc/bound-images.d/empty.container
    bp list --format json
    assert "$(row '' '.image_type, .present')" == "$(printf 'logical\nfalse')"
    bp status
    assert "$output" =~ "missing: an image with an empty name"
    rm /usr/lib/bootc/bound-images.d/empty.container

    local origin=/sysroot/ostree/deploy/default/deploy/$D41.origin
    cp -a "$origin" origin
    sed -i 's/=.*/=ostree-unverified-image:floppy:a/' "$origin"
    damaged "$D41.origin" '.image_type == "host"'
    cp -a origin "$origin"

    cp -a "$REPO/refs/heads/ostree/container/image/oci_3A__2F_var/mnt/osupdate_3A_latest" ref
    printf '%064d\n' 7 >"$REPO/refs/heads/ostree/container/image/oci_3A__2F_var/mnt/osupdate_3A_latest"
    damaged 'osupdate_3A_latest' '.image_type == "host"'
    cp -a ref "$REPO/refs/heads/ostree/container/image/oci_3A__2F_var/mnt/osupdate_3A_latest"
    bp list
}

@test "status: boot entries with tabs and repeated options are ostree's all the same" {
    local before entries=/sysroot/boot/loader/entries
    bp status --format json
    before=$(jq -S '[.booted, .rollback, .other_deployments]' <<<"$output")
    [[ $before =~ $OS42|os:42 ]] || die "$before"
    cp -a "$entries/." saved
    # Each argument on a line of its own, separated by tabs.
    sed -i -E ':a; s/^(options) (.*) ([^ ]+)$/\1 \2\n\1\t\t\3/; ta; s/^([a-z-]+) /\1\t/' "$entries"/*.conf
    grep -q $'^version\t' "$entries"/*.conf
    run -0 ostree admin --sysroot=/sysroot status
    bp status --format json
    cp -a saved/. "$entries"
    diff <(echo "$before") <(jq -S '[.booted, .rollback, .other_deployments]' <<<"$output")
}

@test "exists: a registries.conf of version 1 is read as by the podmans that read it" {
    local name
    mkdir -p conf
    printf '[registries.search]\nregistries = ["quay.io"]\n' >conf/registries.conf
    export CONTAINERS_REGISTRIES_CONF=$PWD/conf/registries.conf
    for name in example/app:1 example/web example/unused:3 example/absent:1; do
        run oracle image exists "$name"
        # podman 6 refuses the file.
        podman_at_least 6 || bp "$status" exists "$name"
    done
    bp exists example/app:1
}
