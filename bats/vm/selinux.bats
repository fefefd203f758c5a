#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# A host with SELinux, permissive, with Debian's policy: labels, judged by matchpathcon.

load vm

setup_file() { mounts >/run/mounts; }

setup() { cd "$BATS_TEST_TMPDIR" || return; }

# wrong_labels - the files of the bootc-owned store with another type than bootc gives them:
# that which the policy has for the same path below podman's own store.
wrong_labels() {
    (
        cd "$STORE" || exit 1
        # By the kind of file, as restorecon judges.
        local kind
        for kind in d:dir f:file l:lnk_file c:chr_file b:blk_file; do
            find . -type "${kind%%:*}" -printf '%P\n' >/run/files
            sed 's|^|/var/lib/containers/storage/|; s|/$||' /run/files | xargs -r -d '\n' matchpathcon -n -N -m "${kind##*:}" >/run/wanted
            sed 's|^$|.|' /run/files | xargs -r -d '\n' stat -c %C >/run/have
            paste -d ' ' /run/files /run/have /run/wanted
        done | awk '{ split($(NF - 1), have, ":"); split($NF, want, ":") } $NF != "<<none>>" && have[3] != want[3]'
    )
}

# types - how many files of the store have which type.
types() { find "$STORE" -print0 | xargs -0 stat -c %C | cut -d: -f3 | sort | uniq -c; }

@test "host: SELinux is permissive, and the policy is Debian's" {
    good_host
    assert "$(getenforce)" == Permissive
    { sestatus && tr -d '\0' </proc/self/attr/current && echo && stat -c '%C %n' /usr/bin/bootc-podman /usr/bin/podman "$STORE/.." /etc/hostname; } | note
}

@test "doctor: a new store has no labels, and --fix gives it those that bootc gives" {
    bp init
    types | note
    bp 1 doctor
    note <<<"$output"
    assert "$output" =~ label
    # The application is still missing.
    bp 1 doctor --fix
    assert "$output" !~ label
    types | note
    assert "$(wrong_labels)" == ""
}

@test "labels: a pulled image, one cloned from podman's store, and one cloned out of ostree have the policy's" {
    bp bound fetch --from "oci:$IMAGES"
    wrong_labels | head -n 5 | note
    skopeo copy -q "oci:$IMAGES:registry.example/app:2" containers-storage:registry.example/app:2
    bp pull-from-default-storage --quiet --method clone registry.example/app:2
    wrong_labels | head -n 5 | note
    bp set-unified --quiet --from ostree --method clone
    types | note
    assert "$(wrong_labels | head -n 20)" == ""
    bp doctor
}

@test "run: a container of the store's image is confined, and the hooks run for it" {
    local id
    bp hooks install
    run -0 bootc-podman run --rm --network none registry.example/app:1 cat /text /proc/self/attr/current
    assert "$output" =~ "application 1"
    assert "$output" =~ :container_t:s0:c
    note <<<"$output"
    run -0 --separate-stderr bootc-podman run -d --name app --network none registry.example/app:1 sleep 1000
    id=$output
    assert "$(jq -r .name "/run/bootc-podman/leases/$id.json")" == app
    podman rm -f -t 0 app
    [ ! -e "/run/bootc-podman/leases/$id.json" ]
    # What podman's own store got by a clone, too.
    bp copy-to-storage --quiet
    run -0 podman run --rm --network none localhost/bootc cat /usr/lib/os-release /proc/self/attr/current
    assert "$output" =~ VERSION_ID=1
    assert "$output" =~ :container_t:s0:c
}

@test "doctor: a wrong label is found and fixed" {
    local file
    file=$(echo "$STORE"/overlay/*/diff/text)
    unshare -m sh -ec 'mount -o remount,bind,rw /sysroot; chcon -t etc_t "$1"' sh "${file%% *}"
    bp 1 doctor
    note <<<"$output"
    bp doctor --fix
    assert "$(wrong_labels)" == ""
}

@test "audit: no denial is of our program, but for what its hooks inherit from podman" {
    journalctl -b -k --no-pager -o cat | grep 'avc: *denied' >denials || true
    # What an enforcing policy would have to allow podman, and who else was denied something.
    sed -n 's/.*{ \(.*\) }.*comm="\([^"]*\)".*scontext=[^:]*:[^:]*:\([^:]*\).*tcontext=[^:]*:[^:]*:\([^:]*\).*tclass=\([^ ]*\).*/\2: allow \3 \4:\5 { \1 }/p' denials |
        sort | uniq -c | sort -rn | note
    # Hooks run in the domain of podman, which may neither look at /root, a link here for which
    # the policy has no label of its own, nor read what a service made below /run. The kernel
    # logs a denial once, for podman or for the hook, whichever comes first.
    grep 'comm="bootc-podman' denials >ours || true
    assert "$(grep -vE 'scontext=[^ ]*:podman_t:.* tcontext=[^ ]*:(default_t:.* tclass=lnk_file|initrc_runtime_t:)' ours)" == ""
}

@test "mounts: none is left" {
    diff /run/mounts <(mounts)
}
