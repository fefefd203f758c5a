#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# After any sequence of commands "status" says whether bootc's skopeo finds the image.
# $SEQUENCES is how many sequences there are, $SEED the seed of the first.

load helpers
load os-images

setup_file() {
    mount_sysroot xfs
    ln -sfn sysroot/ostree /ostree
    new_registry /srv
    cd /srv || return 1
    os_tree tree 42
    printf 'FROM scratch\nCOPY tree /\nLABEL containers.bootc=1 version=42\n' >Containerfile
    scratch_podman build -q -t "$REGISTRY/os:42" -f Containerfile . >/dev/null
    scratch_podman push -q "$REGISTRY/os:42"
    skopeo copy -q --src-tls-verify=false "docker://$REGISTRY/os:42" dir:os42
    echo newer >tree/newer
    scratch_podman build -q -t "$REGISTRY/os:43" -f Containerfile . >/dev/null
    scratch_podman push -q "$REGISTRY/os:43"
    printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' >/etc/containers/storage.conf
    new_sysroot
    COMMIT=$(os_import "docker_3A__2F__2F_127_2E_0_2E_0_2E_1_3A_${REGISTRY#*:}/os_3A_42" /srv/os42)
    os_boot "$(os_deploy "$COMMIT" "ostree-unverified-registry:$REGISTRY/os:42")"
    export COMMIT
}

teardown_file() {
    kill "$(cat /srv/registry.pid)" || true
    umount -q /proc/cmdline || true
    umount /sysroot
}

setup() { cd "$BATS_TEST_TMPDIR" || return; }

# pick WORD... - one of the words.
pick() {
    local i=$((RANDOM % $#))
    shift "$i"
    PICKED=$1
}

# step - do something by chance, whether it succeeds or not.
step() {
    local name other
    pick "$REGISTRY/os:42" "$REGISTRY/os:43" "$REGISTRY/os:latest" localhost/bootc:latest localhost/os:42 localhost/x:1
    name=$PICKED
    pick "$REGISTRY/os:42" "$REGISTRY/os:42" localhost/os:42 localhost/x:1 localhost/bootc:latest
    other=$PICKED
    case $((RANDOM % 22)) in
    0 | 1 | 2) set -- "$BOOTC_PODMAN" set-unified --quiet ;;
    3)
        pick registry default ostree
        set -- "$BOOTC_PODMAN" set-unified --quiet --from "$PICKED"
        pick auto podman
        set -- "$@" --method "$PICKED"
        ;;
    4) set -- "$BOOTC_PODMAN" unset-unified --quiet ;;
    5 | 6) set -- "$BOOTC_PODMAN" copy-to-storage --quiet ;;
    7 | 8) set -- "$BOOTC_PODMAN" copy-to-storage --quiet --target "$other" ;;
    9)
        pick registry bootc ostree
        set -- "$BOOTC_PODMAN" copy-to-storage --quiet --from "$PICKED"
        pick clone podman
        set -- "$@" --method "$PICKED"
        ;;
    10 | 11) set -- "$BOOTC_PODMAN" pull-from-default-storage --quiet "$other" ;;
    12) set -- "$BOOTC_PODMAN" dedup --quiet ;;
    13) set -- "$BOOTC_PODMAN" image tag "$name" "$other" ;;
    14) set -- "$BOOTC_PODMAN" image untag "$other" "$other" ;;
    15) set -- "$BOOTC_PODMAN" image rm --force-in-use "$name" ;;
    16)
        pick 42 43
        set -- podman pull -q "$REGISTRY/os:$PICKED"
        ;;
    17 | 20 | 21) set -- podman tag "$name" "$other" ;;
    18) set -- podman untag "$other" "$other" ;;
    19) set -- podman rmi "$other" ;;
    esac
    echo "\$ $*"
    "$@" >said 2>&1 || sed 's/^/    /' said
}

# judge - "status" reports what skopeo, as bootc starts it, finds. With FIX=1 the command in
# the reason for off is run.
judge() {
    local status on reason want got
    status=$("$BOOTC_PODMAN" status --format json) || true
    on=$(jq -r .unified.on <<<"$status")
    reason=$(jq -r .unified.reason <<<"$status")
    want=$(oracle images --digests --format '{{.Repository}}:{{.Tag}} {{.Digest}}' 2>/dev/null | sed -n "s|^$NAME ||p")
    got=$(STORAGE_OPTS=additionalimagestore=$STORE skopeo inspect "containers-storage:$NAME" 2>&1 | jq -r .Digest 2>/dev/null) || true
    echo "    unified $on: $reason"
    if [ "$on" = true ]; then
        [[ -n "$want" && "$got" == "$want" ]] || die "$on: $reason; skopeo finds '$got', the bootc store has '$want'"
    elif [ -n "$want" ]; then
        [ "$got" != "$want" ] || die "$on: $reason; but skopeo finds '$got'"
        OFF=$((OFF + 1))
        # What the reason says puts it on.
        if [[ $reason =~ \"(podman\ (tag|untag|rmi)\ [^\"]*)\" ]] && [ "${FIX-}" = 1 ]; then
            echo "\$ ${BASH_REMATCH[1]}"
            # shellcheck disable=SC2086 # words
            ${BASH_REMATCH[1]}
            judge
        fi
    fi
    [ "$on" != true ] || ON=$((ON + 1))
}

# fresh - the stores, and the origin that deployment follows.
fresh() {
    rm -rf "$STORE" /run/bootc /run/bootc-podman /var/lib/bootc-podman
    podman rmi -af >/dev/null 2>&1 || true
    oracle_init
    # Another version that can get in the way.
    [ $((RANDOM % 2)) = 0 ] || podman pull -q "$REGISTRY/os:43" >/dev/null
    NAME=$REGISTRY/os:42
    local origin=ostree-unverified-registry:$NAME
    if [ $((RANDOM % 4)) = 0 ]; then
        NAME=localhost/os:42
        origin=ostree-unverified-image:containers-storage:$NAME
    fi
    printf '[origin]\ncontainer-image-reference=%s\n' "$origin" >"/sysroot/ostree/deploy/default/deploy/$COMMIT.0.origin"
}

@test "unified storage: is on when bootc's skopeo finds the image, and off when it does not" {
    local sequence ON=0 OFF=0 i first=${SEED:-$((RANDOM * 32768 + RANDOM))}
    for ((sequence = 0; sequence < ${SEQUENCES:-5}; sequence++)); do
        RANDOM=$((first + sequence))
        fresh
        echo "# SEED=$((first + sequence)), $NAME"
        for ((i = 0; i < 6; i++)); do
            step
            FIX=$((RANDOM % 2)) judge
        done
    done
    echo "# on $ON times, off $OFF times though the bootc store had the image"
    # Both were seen.
    [ "${SEQUENCES:-5}" -lt 50 ] || [ "$ON" -gt 50 ]
    [ "${SEQUENCES:-5}" -lt 50 ] || [ "$OFF" -gt 0 ]
}

@test "unified storage: a copy of the image does not hide it from bootc" {
    local method id
    for method in clone podman; do
        fresh
        podman rmi -af >/dev/null
        NAME=$REGISTRY/os:42
        printf '[origin]\ncontainer-image-reference=%s\n' "ostree-unverified-registry:$NAME" >"/sysroot/ostree/deploy/default/deploy/$COMMIT.0.origin"
        bp set-unified --quiet
        bp --dry-run copy-to-storage --method "$method"
        assert "$output" =~ "$NAME"
        bp copy-to-storage --quiet --method "$method"
        assert "$(podman images --format '{{.Repository}}:{{.Tag}}' | sort | tr '\n' ' ')" == "$NAME localhost/bootc:latest "
        ON=0 OFF=0 judge
        podman rmi localhost/bootc
        ON=0 OFF=0 judge
        podman rmi "$NAME" || [ "$method" = podman ]
        ON=0 OFF=0 judge
        assert "$(podman images -aq)" == ""
        oracle image exists "$NAME"
    done
    # Onboarding a host whose podman has the image under another name, or another image
    # under its name.
    bp unset-unified
    podman pull -q "$NAME"
    id=$(podman images -q --no-trunc)
    podman tag "$NAME" localhost/x:1
    podman untag "$NAME" "$NAME"
    bp set-unified --plan
    assert "$output" =~ "name image $(cut -c8-19 <<<"$id") of podman's own store $NAME, too"
    bp --dry-run set-unified
    assert "$output" =~ "podman image tag ${id#*:} $NAME"
    bp set-unified
    assert "$output" =~ "Unified storage enabled"
    ON=0 OFF=0 judge
    podman untag localhost/x:1 "$NAME"
    if [ "$(skopeo --version | cut -d. -f2)" -ge 12 ]; then
        bp status --format '{{.Unified.On}} {{.Unified.Reason}}'
        assert "$output" =~ "false .*\"podman tag ${id#*:} $NAME\" names it"
    fi
    bp set-unified
    assert "$output" =~ "already"
    ON=0 OFF=0 judge
    podman rmi -af >/dev/null
    podman pull -q "$REGISTRY/os:43"
    podman tag "$REGISTRY/os:43" "$NAME"
    bp copy-to-storage
    assert "$stderr" =~ "Warning: bootc will not find image"
    bp status --format '{{.Unified.On}} {{.Unified.Reason}}'
    assert "$output" =~ "\"podman untag $NAME $NAME\" takes the name from it"
    assert "$(podman image inspect --format '{{.Id}}' "$NAME")" == "$(podman image inspect --format '{{.Id}}' "$REGISTRY/os:43")" "the user's image keeps its name"
    ON=0 OFF=0 judge
}
