#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# bootc-tool, which bootc runs in place of podman and skopeo. The command lines are those of
# bootc 1.16.9.

load helpers

PULLTEST=$(realpath "$BATS_TEST_DIRNAME/../bin/pulltest")
NAME=localhost/os:1
DESTINATION='containers-storage:[overlay@/run/bootc/storage+/proc/self/fd/3]'

setup_file() {
    ostree_host
    own_store containers
    mkdir -p /srv/{tree,stand-in}
    ln -s "$BOOTC_PODMAN" /srv/bootc-tool
    cp "$PULLTEST" /srv/stand-in/podman
    cp "$PULLTEST" /srv/stand-in/skopeo
    cd /srv || return 1
    mkdir -p tree/{0..9}
    for i in {0..9}; do (cd "tree/$i" && seq 100 | split -l 1 -a 3 - f); done
    head -c 150M /dev/urandom >tree/modules
    tar -C tree -c . | podman import -q - localhost/base >/dev/null
    mkdir new
    echo new >new/new
    printf 'FROM localhost/base\nCOPY new /new\nLABEL a=b\n' >new/Containerfile
    podman build -q -t "$NAME" new >/dev/null
    rm -rf tree
}

teardown_file() { umount -l /var/lib/containers/storage /sysroot; }

setup() {
    TOOL=/srv/bootc-tool
    export BOOTC_EXP_EXTERNAL_CONTAINER_TOOL=$TOOL
    cd "$BATS_TEST_TMPDIR"
    # shellcheck disable=SC2153 # of scratch.bash
    rm -rf "$STORE" /run/bootc /etc/containers/storage.conf /usr/share/containers/storage.conf
    oracle_init
}

# bootc PROGRAM ARG... - run a program as bootc runs podman to copy an image: with the store
# mounted in a namespace of its own, and a temporary run root as descriptor 3.
bootc() {
    local run_root status=0
    run_root=$(mktemp -d)
    mkdir -p /run/bootc/storage
    unshare --mount --propagation slave bash -c '
        exec 3<"$2"
        cd "$1" && mount --bind . /run/bootc/storage && cd "$3" && shift 3
        exec "$@" </dev/null >/dev/null' bootc "$STORE" "$run_root" "$PWD" "$@" || status=$?
    rm -rf "$run_root"
    return "$status"
}

# copy PROGRAM [NAME] - the copy of bootc image pull-from-default-storage.
copy() { bootc "$1" image push --remove-signatures "${2-$NAME}" "$DESTINATION${2-$NAME}"; }

digest() { oracle image inspect --format '{{.Digest}} {{.Id}}' "$1"; }

# milliseconds COMMAND... - how long a command takes.
milliseconds() {
    local start
    sync -f /sysroot # what was removed before
    start=$(date +%s%N)
    "$@" >&2
    echo $((($(date +%s%N) - start) / 1000000))
}

@test "tool: bootc's copy of an image is a clone, with the digest of podman's" {
    local before cloned
    copy podman
    before=$(digest "$NAME")
    oracle rmi "$NAME"
    # The stand-in would fail.
    cloned=$(used)
    PATH=/srv/stand-in:$PATH copy "$TOOL"
    assert $(($(used) - cloned)) =~ '^-?[0-9]{1,7}$' "bytes that the disk is fuller"
    oracle image exists "$NAME"
    assert "$(digest "$NAME")" == "$before"
    assert "$(podman image inspect --format '{{.Digest}} {{.Id}}' "$NAME")" == "$before"
    # Once more: nothing is left to do.
    PATH=/srv/stand-in:$PATH copy "$TOOL"
    assert "$(digest "$NAME")" == "$before"
    [ ! -e "$STORE/bootc-podman.staging" ]
}

@test "tool: bootc's copy is at least 5 times as fast as podman's" {
    local tool podman
    copy "$TOOL" # into the page cache
    for _ in 1 2 3; do # the machine may be at other work
        oracle rmi "$NAME"
        podman=$(milliseconds copy podman)
        oracle rmi "$NAME"
        tool=$(milliseconds copy "$TOOL")
        echo "podman $podman ms, tool $tool ms"
        [ $((podman / tool)) -lt 5 ] || return 0
    done
    die "not 5 times as fast"
}

# recorded PROGRAM... - what a program is started with that PATH has the stand-in for.
recorded() {
    local status=0
    env PATH="/srv/stand-in:$PATH" EMPTY= odd.name=1 "$@" </srv/new/new >/srv/record 3</srv/new 5>&1 9</srv/new/new || status=$?
    assert "$status" == 37 "exit status"
    cat /srv/record
}

# lines - command lines in shell words: those of bootc, and others of podman and skopeo.
lines() {
    local store='podman --root /run/bootc/storage --runroot /proc/self/fd/3'
    cat <<EOF
$store images
$store image list --format=json
$store image exists quay.io/x/y:1
$store image pull quay.io/x/y:1
$store image rm 0123456789ab 456789abcdef
$store image build -t x --label 'a b' .
$store image push --tls-verify=false x docker://127.0.0.1:1/x
$store pull oci:/srv/image
$store system service --time=0 unix:///run/bootc/podman-api.sock
podman image exists copy
podman system info
podman inspect 0123456789ab
podman inspect --type image sync
podman image push --remove-signatures x containers-storage:[overlay@/run/bootc/storage+/proc/self/fd/3]y
podman image push x $DESTINATION'x'
podman image push --remove-signatures --compress x $DESTINATION'x'
podman image push --remove-signatures x $DESTINATION'x' x
podman push --remove-signatures x $DESTINATION'x'
podman --log-level debug image push --remove-signatures x $DESTINATION'x'
podman run --rm -it -v /a:/b:ro,Z localhost/x sh -c 'echo "\$1" | cat' -- 'a  b' ''
podman exec -i x sh -c 'a
b'
podman --version
podman --help
podman --url unix:///run/x.sock ps
podman kube play -
podman manifest push --all x docker://y/z
podman login -u a -p 'b"c' quay.io
podman search --format '{{.Name}}' x
podman volume create größe
podman unknown --word
podman -- copy
podman ''
skopeo copy --digestfile /tmp/x oci:/proc/self/fd/3 containers-storage:localhost/bootc
skopeo copy oci:/proc/self/fd/7 containers-storage:localhost/bootc
skopeo experimental-image-proxy --sockfd 0 --debug --insecure-skip-tls-verification
skopeo --user-agent-prefix bootc/1.16.9 experimental-image-proxy --sockfd 5
skopeo --override-arch arm64 --insecure-policy copy --all dir:a 'dir:b c'
skopeo inspect --raw docker://quay.io/x/y:1
skopeo inspect --config containers-storage:x
skopeo list-tags docker://quay.io/x/y
skopeo delete docker://quay.io/x/y:1
skopeo sync --src docker --dest dir quay.io/x '/a b'
skopeo manifest-digest /srv/manifest.json
skopeo generate-sigstore-key --output-prefix a
skopeo standalone-sign a b c -o d
skopeo standalone-verify a b c d
EOF
}

@test "tool: all other command lines arrive byte for byte" {
    local line n=0 words
    while IFS= read -r -d $'\t' line; do
        n=$((n + 1))
        eval "words=($line)"
        recorded "${words[@]}" >want
        recorded "$TOOL" "${words[@]:1}" >got
        diff want got || die "$line"
    done < <(lines | sed -z -E 's/\n(podman|skopeo) /\t\1 /g; s/\n$/\t/')
    assert "$n" == 46 "command lines"
    grep -q '^descriptor 3 /srv/new$' want
    # bootc gives its own name to podman when it runs it in the namespace of the host.
    recorded bash -c 'exec -a bootc podman inspect x' | sed 's|\\x00_=[^\\]*||' >want
    recorded bash -c "exec -a bootc $TOOL inspect x" | sed 's|\\x00_=[^\\]*||' >got
    grep -qF 'cmdline "bootc\x00' want
    diff want got
}

without_time() { sed 's/time="[^"]*"//'; }

@test "tool: real programs get the same answers by it" {
    local line want
    while read -r line; do
        # shellcheck disable=SC2086 # words
        run --separate-stderr $line
        want=$status$output$(without_time <<<"$stderr")
        # shellcheck disable=SC2086
        run --separate-stderr "$TOOL" ${line#* }
        assert "$status$output$(without_time <<<"$stderr")" == "$want" "$line"
    done <<EOF
podman --version
podman image exists $NAME
podman image exists localhost/missing
podman image list --format=json
podman inspect $NAME
podman system info --format {{.Store.GraphRoot}}
podman no-such-command
skopeo inspect containers-storage:$NAME
skopeo inspect --raw containers-storage:$NAME
skopeo list-tags --help
skopeo copy containers-storage:localhost/missing dir:x
EOF
    "$TOOL" copy -q "containers-storage:$NAME" oci:out:x
    [ -s out/index.json ]
}

@test "tool: signals and exit status are those of the program" {
    printf '#!/bin/bash\nkill -%s $$\n' TERM >podman
    chmod +x podman
    PATH=$PWD:$PATH run "$TOOL" images
    assert "$status" == 143
    PATH=/nonexistent run -127 "$TOOL" images
    assert "$output" =~ 'Error: run "podman"'
}

@test "tool: it never runs itself" {
    local real
    real=$(command -v podman)
    mkdir links
    ln -s "$TOOL" links/podman
    ln "$(realpath "$BOOTC_PODMAN")" links/skopeo 2>/dev/null || ln -s "$BOOTC_PODMAN" links/skopeo
    PATH=$PWD/links:$PATH run -0 timeout 20 "$TOOL" --version
    assert "$output" =~ '^podman version'
    PATH=$PWD/links:$PATH run -0 timeout 20 "$TOOL" list-tags --help
    PATH=$PWD/links run -127 timeout 20 "$TOOL" --version
    # A script as podman that calls the tool is passed over when it does.
    mkdir scripts
    printf '#!/bin/bash\nexec %s "$@"\n' "$TOOL" >scripts/podman
    chmod +x scripts/podman
    PATH=$PWD/scripts:$PATH run -0 timeout 20 "$TOOL" --version
    assert "$output" =~ '^podman version'
    PATH=$PWD/scripts run -127 timeout 20 "$TOOL" --version
    # We, in the environment of bootc.
    bp image ls --quiet
    BOOTC_PODMAN_PODMAN="$real --log-level=info" run -0 "$TOOL" images -q
    assert "$output" =~ level=info
}

@test "tool: what cannot be cloned is copied by podman" {
    # Without the private program.
    mkdir -p alone
    cp "$(realpath "$BOOTC_PODMAN")" alone/bootc-podman
    ln -s bootc-podman alone/bootc-tool
    if [ ! -e /usr/libexec/bootc-podman ] && [ ! -e /usr/local/libexec/bootc-podman ]; then
        copy "$PWD/alone/bootc-tool" 2>messages
        grep -q "^Warning: copy $NAME with podman: find bootc-podman-store" messages
        oracle image exists "$NAME"
        oracle rmi "$NAME"
    fi
    # A name that podman completes.
    podman tag "$NAME" docker.io/library/short:latest
    copy "$TOOL" short 2>messages
    grep -q '^Warning: copy short with podman' messages
    oracle image exists docker.io/library/short
    podman untag docker.io/library/short docker.io/library/short
    # An image that is not there is podman's error.
    run copy podman localhost/missing
    local want=$status
    run copy "$TOOL" localhost/missing
    assert "$status" == "$want"
    # Outside of a namespace of bootc nothing is cloned, and podman fails as without the tool.
    mkdir -p root
    PATH=/srv/stand-in:$PATH run -37 "$TOOL" image push --remove-signatures "$NAME" "$DESTINATION$NAME" 3<root </dev/null
}

@test "tool: a clone that is killed leaves the store valid, and the next one completes it" {
    local after signal pid
    for after in 0.02 0.06 0.1 0.14 0.2 0.3; do
        signal=TERM
        [[ $after != *[24] ]] || signal=KILL
        copy "$TOOL" &
        pid=$!
        pause "$after"
        pkill -"$signal" -P "$pid" || true
        wait "$pid" || true
        oracle images >/dev/null
        copy "$TOOL"
        oracle image exists "$NAME"
        [ ! -e "$STORE/bootc-podman.staging" ]
        oracle rmi "$NAME"
    done
}

# The last one, as it removes the image from podman's own store.
@test "tool: skopeo finds the bootc-owned store on a host without storage.conf" {
    local proxy=(env STORAGE_OPTS=additionalimagestore=/sysroot/ostree/bootc/storage)
    copy "$TOOL"
    podman rmi "$NAME"
    [ ! -e /etc/containers/storage.conf ]
    run -0 "${proxy[@]}" "$TOOL" inspect --format '{{.Digest}}' "containers-storage:$NAME"
    assert "$output" == "$(oracle image inspect --format '{{.Digest}}' "$NAME")"
    [ ! -e /etc/containers/storage.conf ]
    # One variable more, and only there.
    recorded "${proxy[@]}" "$TOOL" copy a b >got
    recorded "${proxy[@]}" skopeo copy a b | sed '/^environ/s|"$|CONTAINERS_STORAGE_CONF=/run/bootc-podman/apps.conf\\x00"|' >want
    diff want got
    mkdir -p /etc/containers
    printf '[storage]\ndriver = "overlay"\n' >/etc/containers/storage.conf
    recorded "${proxy[@]}" "$TOOL" copy a b >got
    recorded "${proxy[@]}" skopeo copy a b >want
    diff want got
}
