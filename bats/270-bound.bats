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

setup() { cd "$BATS_TEST_TMPDIR"; }

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
