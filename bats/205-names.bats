#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Names that are written into stores: podman has to read them back.

load helpers
load os-images

TABLE=$BATS_TEST_DIRNAME/../internal/cstorage/testdata/store-names.tsv
OWN=/var/lib/containers/storage

setup_file() {
    mount_sysroot xfs
    ln -sfn sysroot/ostree /ostree
    cd /srv || return 1
    os_tree tree 42
    printf 'FROM scratch\nCOPY tree /\nLABEL containers.bootc=1 version=42\n' >Containerfile
    scratch_podman build -q -t localhost/os:42 -f Containerfile . >/dev/null
    scratch_podman push -q --compress localhost/os:42 dir:os42
    new_sysroot
    COMMIT=$(os_import docker_3A__2F__2F_quay_2E_io/os_3A_42 /srv/os42)
    os_boot "$(os_deploy "$COMMIT" ostree-unverified-registry:quay.io/os:42)"
    oracle_init
    podman rmi -af >/dev/null 2>&1 || true
    skopeo copy -q dir:os42 containers-storage:localhost/os:42
    podman images >/dev/null
    DIGEST=sha256:$(sha256sum <os42/manifest.json | cut -d' ' -f1)
    ID=$(podman image inspect --format '{{.Id}}' localhost/os:42)
    export COMMIT DIGEST ID
}

teardown_file() {
    umount -q /proc/cmdline || true
    umount /sysroot
}

setup() { cd "$BATS_TEST_TMPDIR" || return; }

# follow IMGREF - the booted deployment follows another image from now on.
follow() { printf '[origin]\ncontainer-image-reference=%s\n' "$1" >"/sysroot/ostree/deploy/default/deploy/$COMMIT.0.origin"; }

# contents - both stores, and what set-unified remembers, byte for byte.
contents() { tar -c "$STORE" "$OWN" /var/lib/bootc-podman 2>/dev/null | sha256sum; }

# job NAME... - have the private program clone the image to the store /var/lib/containers/to.
job() {
    printf '%s\n' "$@" | jq -Rnc --arg own "$OWN" --arg id "$ID" '
        {source: {graph_root: $own, run_root: "/run/containers/storage", driver: "overlay"},
        destination: {graph_root: "/var/lib/containers/to", run_root: "/run/to", driver: "overlay"},
        image: $id, names: [inputs], verify: "metadata"}' |
        "$(dirname "$(realpath "$BOOTC_PODMAN")")/bootc-podman-store"
}

@test "names: what may be written is what podman gives an image and lists" {
    local verdict name accepted=() stored=() before
    before=$(sha256sum "$OWN/overlay-images/images.json")
    while IFS=$'\t' read -r verdict name; do
        [[ $verdict != \#* ]] || continue
        run --separate-stderr "$BOOTC_PODMAN" --dry-run copy-to-storage --from ostree --method clone --target="$name"
        if [ "$verdict" = yes ]; then
            [ "$status" = 0 ] || die "'$name' is refused: $stderr"
            accepted+=("$name")
            stored+=("$(sed -n 's/^# its standard input: //p' <<<"$output" | jq -r '.names[]')")
        else
            [ "$status" = 2 ] || die "'$name' is accepted"
            run ! podman tag -- localhost/os:42 "$name"
        fi
    done <"$TABLE"
    [ "${#accepted[@]}" -ge 30 ]
    assert "$(sha256sum "$OWN/overlay-images/images.json")" == "$before"
    podman tag -- localhost/os:42 "${accepted[@]}"
    podman images >/dev/null
    podman untag localhost/os:42
    podman tag "$(podman images -q)" localhost/os:42
    # As a clone writes them.
    mkdir -p /var/lib/containers/to
    podman --root /var/lib/containers/to --runroot /run/to images >/dev/null
    job "${stored[@]}"
    podman --root /var/lib/containers/to --runroot /run/to images --format '{{.Repository}}:{{.Tag}}' | sort >listed
    printf '%s\n' "${stored[@]}" | sort -u | diff - listed
    podman --root /var/lib/containers/to --runroot /run/to rmi -af >/dev/null
}

@test "names: one that podman cannot read is refused on every path, and nothing is written" {
    local name long before arguments
    long=localhost/$(printf 'p%.0s' {1..246}):1
    before=$(contents)
    for name in MyOrg/os:1 '[::1]:5000/x:1' "$long" LOCALHOST/os:1; do
        follow "ostree-unverified-registry:$name"
        for arguments in "set-unified --plan" set-unified "set-unified --from ostree" "set-unified --from registry" "copy-to-storage --from registry"; do
            # shellcheck disable=SC2086 # words
            bp 1 $arguments
            assert "$stderr" =~ "image name \"${name//[\[\]]/.}\": podman cannot read it: "
        done
        follow "ostree-unverified-image:containers-storage:$name"
        bp 1 set-unified
        assert "$stderr" =~ "podman cannot read it".*$'\n'"Hint: bootc switch "
        bp 1 pull-from-default-storage "$name@$DIGEST"
        assert "$stderr" =~ "podman cannot read it"
        for arguments in default bootc registry ostree; do
            bp 2 copy-to-storage --from "$arguments" --target "$name"
            assert "$stderr" =~ "podman cannot read it"
        done
        run job "$name"
        assert "$output" =~ '"failure".*podman cannot read it'
    done
    assert "$(contents)" == "$before"
    podman images >/dev/null
    oracle images >/dev/null
    follow ostree-unverified-registry:quay.io/os:42
}

@test "names: after a copy that fails its verification, every image has the names it had" {
    local before
    mkdir -p bin
    # A podman that names another image than the given one.
    printf '#!/bin/bash\n[ "$1 $2" != "image tag" ] || [ -e "%s/undo" ] || set -- image tag localhost/other "${@: -1}" && touch "%s/undo"\nexec %s "$@"\n' \
        "$PWD" "$PWD" "$(command -v podman)" >bin/podman
    chmod 0755 bin/podman
    source_archive other
    podman load -q -i /srv/other.tar
    podman tag localhost/other localhost/target
    podman tag localhost/os:42 localhost/mine
    before=$(jq -cS '[.[] | {id, names: (.names | sort)}] | sort' "$OWN/overlay-images/images.json")
    local target
    for target in localhost/new localhost/target localhost/mine:2; do
        rm -f undo
        PATH=$PWD/bin:$PATH bp 1 copy-to-storage --from default --target "$target"
        assert "$stderr" =~ "verify $target.*"
        assert "$(jq -cS '[.[] | {id, names: (.names | sort)}] | sort' "$OWN/overlay-images/images.json")" == "$before"
    done
    podman rmi localhost/other localhost/target localhost/mine
}

# names - the names of the bootc store, with the ends of the IDs.
names() { jq -r '.[] | .id as $id | .names[]? | "\($id[:12]) \(.)"' "$STORE/overlay-images/images.json" | sort; }

@test "names: the one that was given is the one that is made" {
    local short=${ID:0:12}
    # A manifest list stands for its instance, under the list's name.
    podman manifest create localhost/list:1 >/dev/null
    podman manifest add localhost/list:1 containers-storage:localhost/os:42 >/dev/null
    bp pull-from-default-storage localhost/list:1
    assert "$(names)" == "$short localhost/list:1"
    oracle image exists localhost/list:1
    oracle rmi -af >/dev/null
    # Also when the instance has no name of its own.
    podman untag localhost/os:42
    local method
    for method in clone podman; do
        bp pull-from-default-storage --method "$method" list:1
        assert "$(names)" == "$short localhost/list:1"
        oracle rmi -af >/dev/null
    done
    podman tag "$ID" localhost/os:42 localhost/repo-a:1
    podman manifest rm localhost/list:1 >/dev/null
    # A list without an image for this machine.
    podman manifest create localhost/none:1 >/dev/null
    bp 1 pull-from-default-storage localhost/none:1
    assert "$stderr" =~ "for this machine in manifest list"
    podman manifest rm localhost/none:1 >/dev/null

    # Names with a digest, as a pull by one leaves them.
    local f=$OWN/overlay-images/images.json
    jq -c --arg name "localhost/repo-b@$DIGEST" '.[0].names = [$name] + .[0].names' "$f" >new.json && cp new.json "$f"
    bp pull-from-default-storage "localhost/repo-b@$DIGEST"
    assert "$(names)" == "$short localhost/repo-b@$DIGEST"
    oracle image exists "localhost/repo-b@$DIGEST"
    oracle rmi -af >/dev/null
    bp 1 pull-from-default-storage --method podman "localhost/repo-b@$DIGEST"
    assert "$stderr" =~ "podman copies to no name with a digest, only a clone does"
    bp 1 pull-from-default-storage "localhost/repo-c@$DIGEST"
    assert "$stderr" =~ "no such image"
    podman untag "$ID"
    jq -c --arg name "localhost/repo-b@$DIGEST" '.[0].names = [$name]' "$f" >new.json && cp new.json "$f"
    bp pull-from-default-storage "${ID:0:12}"
    assert "$(names)" == "$short localhost/repo-b@$DIGEST"
    oracle rmi -af >/dev/null
    podman tag "$ID" localhost/os:42
}
