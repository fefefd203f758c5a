#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Bound images: what is wrong with their units, whether they are there, and how they come.

load helpers
load os-images

UNITS=usr/share/containers/systemd
BOUND=usr/lib/bootc/bound-images.d

# bind ROOT UNIT LINES - a quadlet in a root directory, and its link.
bind() {
    mkdir -p "$1/$UNITS" "$1/$BOUND"
    printf '%b' "$3" >"$1/$UNITS/$2"
    ln -sfn "/$UNITS/$2" "$1/$BOUND/$2"
}

# The host boots 42, which has app and web bound; 43 is staged, with app and new.
setup_file() {
    ostree_host
    cd /srv || return 1
    {
        os_tree os42 42
        os_tree os43 43
        for tree in os42 os43; do os_bind "$tree" quay.io/example/app:1 app.container; done
        os_bind os42 quay.io/example/web web.container
        os_bind os43 quay.io/example/new:1 new.container
        OS42=$(os_image docker_3A__2F__2F_quay_2E_io/example/os_3A_42 42 os42)
        OS43=$(os_image docker_3A__2F__2F_quay_2E_io/example/os_3A_43 43 os43)
        D42=$(os_deploy "$OS42" ostree-unverified-registry:quay.io/example/os:42)
        D43=$(os_deploy "$OS43" ostree-unverified-registry:quay.io/example/os:43)
        os_boot "$D42"
        cp -a os42/usr/lib/bootc os42/usr/share /usr/local/ && ln -sfn /usr/local/bootc /usr/lib/bootc
        ln -sfn /sysroot/ostree/bootc/storage /usr/local/bootc/storage
        mkdir -p /usr/share/containers && cp -a os42/usr/share/containers/systemd /usr/share/containers/
        os_stage "$D43"
        context app.context app
        context web.context web
        oracle build -q -t quay.io/example/app:1 app.context
        oracle build -q -t quay.io/example/web web.context
    } >/dev/null
    export D42 D43
}

setup() { cd "$BATS_TEST_TMPDIR"; }

teardown_file() {
    umount /proc/cmdline
    umount /sysroot
}

# without_programs ARG... - bp where no program is found.
without_programs() {
    mkdir -p empty
    run --separate-stderr env -i HOME=/root PATH="$PWD/empty" "$BOOTC_PODMAN" "$@"
    echo "$output$stderr"
}

@test "bound list: what is bound to which deployment" {
    without_programs bound list --format json
    assert "$(jq -r '.[] | "\(.deployment.role) \(.unit) \(.image) \(.present) \(.digest)" | rtrimstr(" ")' <<<"$output")" == "\
staged app.container quay.io/example/app:1 true $(oracle image inspect --format '{{.Digest}}' quay.io/example/app:1)
staged new.container quay.io/example/new:1 false
booted app.container quay.io/example/app:1 true $(oracle image inspect --format '{{.Digest}}' quay.io/example/app:1)
booted web.container quay.io/example/web true $(oracle image inspect --format '{{.Digest}}' quay.io/example/web)"
    bp bound list --deployment staged
    assert "$(wc -l <<<"$output")" == 3
}

@test "bound check: missing, damaged, shadowed, and deleted by the next cleanup" {
    without_programs bound check --deployment booted
    assert "$status" == 0
    assert "$output" =~ 'quay.io/example/app:1  app.container  booted  '.*' whole'$'\n'
    # bootc compares names literally: oracle has it as quay.io/example/web:latest.
    assert "$output" =~ 'quay.io/example/web    web.container  booted  '.*' whole, pruned next'$'\n'
    assert "$output" =~ bound-pruned
    without_programs bound check --deployment booted --strict
    assert "$status" == 1
    without_programs bound check --deployment staged
    assert "$status" == 1
    assert "$output" =~ 'bound image quay.io/example/new:1: is not in the bootc-owned store'
    context other other
    podman build -q -t quay.io/example/app:1 other >/dev/null
    without_programs bound check --deployment booted --format json
    assert "$(jq -r '.images[0].shadow' <<<"$output")" == "$(podman image inspect --format '{{.Id}}' quay.io/example/app:1)"
    # The command that the finding has.
    bash -c "$(jq -r '.findings[] | select(.rule == "bound-shadowed").fix' <<<"$output")"
    without_programs bound check --deployment booted --format json
    assert "$(jq -r '.images[0].shadow' <<<"$output")" == ""
    # A store in which a layer has lost its files.
    local layer
    layer=$(jq -r '.[0].id' "$STORE/overlay-layers/layers.json")
    mv "$STORE/overlay/$layer/diff" /sysroot/diff
    without_programs bound check --deployment booted
    assert "$status" == 1
    assert "$output" =~ image-damaged
    mv /sysroot/diff "$STORE/overlay/$layer/diff"
    # And the files of another root.
    without_programs --sysroot /sysroot bound check --format json
    assert "$(jq -r '[.images[] | .image + " " + .deployment.role] | unique | length' <<<"$output")" == 3
    as_nobody bound check
    assert "$status" == 125
}

@test "bound check: the lock" {
    bp 1 bound lock
    assert "$stderr" =~ 'quay.io/example/new:1" of the staged deployment'
    context new.context new
    oracle build -q -t quay.io/example/new:1 new.context >/dev/null
    bp bound lock
    assert "$stderr" == 'Locked 3 bound images in "/etc/bootc-podman/bound.lock"'
    bp bound lock
    assert "$stderr" == ""
    bp bound check --deployment booted
    assert "$output" !~ bound-locked
    sed -i 's/sha256:..../sha256:0000/' /etc/bootc-podman/bound.lock
    bp 1 bound check --deployment booted
    assert "$output" =~ 'bound image quay.io/example/app:1: is not the one in bound.lock'
    rm /etc/bootc-podman/bound.lock
}

@test "bound lint: the build of an image stops until its units are as they should be" {
    mkdir -p image/bin
    cp "$BOOTC_PODMAN" image/bin/bootc-podman
    bind image app.image '[Image]\nImage=quay.io/example/app\n'
    bind image web.container '[Container]\nImage=quay.io/example/web:1\nExec=sh \\\n  -c true\n'
    printf 'FROM scratch\nCOPY . /\nRUN ["/bin/bootc-podman", "bound", "lint"]\n' >Containerfile
    printf '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\npids_limit = 0\n' >containers.conf
    export CONTAINERS_CONF=$PWD/containers.conf
    run podman build --isolation chroot -t localhost/os -f Containerfile image
    [ "$status" -ne 0 ] || die "builds"
    assert "$output" =~ "/$UNITS/app.image:2: failing: bootc's cleanup does not recognise"
    assert "$output" =~ 'replace with: Image=quay.io/example/app:latest'
    assert "$output" =~ "/$UNITS/web.container:3: failing: bootc does not join lines"
    assert "$output" =~ 'replace with: Exec=sh -c true'
    bp 1 bound lint --root image --format json
    # What lint prints, in the place of the lines that it is for.
    jq -r '.findings[] | select(.replacement != "") | "\(.file)\t\(.line)\t\(.replacement)"' <<<"$output" |
        while IFS=$'\t' read -r file line text; do
            sed -i -e "${line}c\\$text" "$file"
        done
    sed -i '/^  -c true$/d' "image/$UNITS/web.container"
    run -0 podman build --isolation chroot -t localhost/os -f Containerfile image
    # A mounted image is a root directory like any other.
    local root
    root=$(podman image mount localhost/os)
    bp bound lint --root "$root" --format github
    assert "$output" =~ '::warning file='.*/web.container,title=bound-store-unseen::
    bp 1 bound lint --root "$root" --strict
    podman image unmount localhost/os
    podman rmi localhost/os >/dev/null
}

# generated UNIT - the image that the service runs which podman makes of a quadlet.
generated() {
    QUADLET_UNIT_DIRS=$PWD/root/$UNITS "$GENERATOR" --dryrun 2>/dev/null |
        sed -n "/^---${1%.*}.service---/,/^---/s/^ExecStart=.* \([^ ]*\)$/\1/p"
}

@test "bound lint: podman's generator reads units as lint does" {
    GENERATOR=/usr/lib/systemd/system-generators/podman-system-generator
    [ -x "$GENERATOR" ] || skip "this podman has no quadlets"
    local unit lines want image
    while IFS='|' read -r unit lines want image; do
        rm -rf root
        bind root "$unit.container" "[Container]\n$lines"
        bp '?' bound lint --root root --format json
        assert "$(jq -r '[.findings[].rule] - ["bound-store-unseen"] | join(" ")' <<<"$output")" == "$want" "$unit"
        # The generator escapes blanks, or quotes.
        assert "$(generated "$unit.container" | sed 's/.*"//')" == "$image" "$unit"
    done <<'END'
plain|Image=quay.io/a/b:1\n||quay.io/a/b:1
quoted|Image="quay.io/a/b:1"\n|bound-quoted|quay.io/a/b:1
apart|# c\n; c\n Image = quay.io/a/b:1 \n||quay.io/a/b:1
twice|Image=quay.io/a/b:1\nImage=quay.io/a/b:2\n|bound-repeated|quay.io/a/b:2
sections|Image=quay.io/a/b:1\n[Service]\nRestart=no\n[Container]\nImage=quay.io/a/b:3\n|bound-repeated|quay.io/a/b:3
joined|Image=quay.io/a/\\\nb:1\n|bound-continued-line|quay.io/a/b:1
hidden|Image=quay.io/a/b:1\nEnvironment=A=1 \\\nImage=quay.io/c/d:1\n|bound-repeated bound-value-differs|quay.io/a/b:1
between|Image=quay.io/a/b:1\nEnvironment=A=1 \\\n# c\n  B=2\n||quay.io/a/b:1
credentials|Image=quay.io/a/b:1\nAuthFile=/etc/a.json\n|bound-auth-file|
empty|Image=quay.io/a/b:1\nImage=\n|bound-no-image|
build|Image=none.build\n|bound-unit-reference|
END
    # A comment is a part of the name.
    rm -rf root
    bind root comment.container '[Container]\nImage=quay.io/a/b:1 # c\n'
    bp 1 bound lint --root root
    assert "$output" =~ 'its image is "quay.io/a/b:1 # c"'
    run bash -c "QUADLET_UNIT_DIRS=$PWD/root/$UNITS $GENERATOR --dryrun 2>/dev/null | grep ^ExecStart="
    assert "$output" =~ 'quay.io/a/b:1( |\\x20)#( |\\x20)c"$'
}
