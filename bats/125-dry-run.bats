#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# --dry-run, with every command, before and after it: nothing changes.
#
# bats file_tags=oldest-and-newest

load helpers
load os-images

# A copy in a place that is root's alone, which the project's folder need not be.
PROGRAM=/usr/lib/hooks-under-test/bootc-podman

setup_file() {
    install -D -m 0755 "$BOOTC_PODMAN" "$PROGRAM"
    ostree_host
    cd /srv || return 1
    os_tree tree 42
    {
        OS42=$(os_image docker_3A__2F__2F_quay_2E_io/example/os_3A_42 42 tree)
        D42=$(os_deploy "$OS42" ostree-unverified-registry:quay.io/example/os:42)
        os_boot "$D42"
        context app.context
        podman build -q -t localhost/app app.context
        oracle build -q -t localhost/mine app.context
    } >/dev/null
}

teardown_file() {
    rm -f /etc/bootc-podman/bound.lock
    umount /proc/cmdline
    umount /sysroot
}

setup() { cd "$BATS_TEST_TMPDIR"; }

# state - everything that a command might write to, and when it was written. The image under
# /sysroot is written by the kernel at moments of its own.
state() { find /etc /run /var/lib /var/tmp /sysroot ! -name sysroot.img -printf '%p %y %m %s %T@ %C@ %l\n' 2>/dev/null | sort; }

# lines - a command line for every command that help lists, and more where the
# command does more than one thing.
lines() {
    local verb
    {
        echo hook # which help does not list
        "$BOOTC_PODMAN" help | sed -nE 's/^  ([a-z][a-z-]*)(  .*)?$/\1/p'
    } | while read -r verb; do
        case $verb in
        image) printf '%s\n' 'image ls' 'image pull docker-archive:/nonexistent' 'image rm localhost/mine' 'image prune -f' 'image --help' ;;
        exec) echo 'exec podman image rm -a' ;;
        inspect) echo 'inspect localhost/app' ;;
        exists) printf '%s\n' 'exists localhost/mine' 'exists --store default localhost/app' ;;
        set-unified) printf '%s\n' 'set-unified' 'set-unified --plan' 'set-unified --method podman' 'set-unified --from ostree' ;;
        copy-to-storage) printf '%s\n' 'copy-to-storage' 'copy-to-storage --method podman' ;;
        pull-from-default-storage) printf '%s\n' "$verb localhost/app" "$verb --method podman localhost/app" ;;
        hook) echo 'hook --help' ;;
        hooks) printf 'hooks %s\n' "install --program $PROGRAM" uninstall verify list identity 'explain config.json' ;;
        bound) echo 'bound lock' ;;
        doctor) printf '%s\n' doctor 'doctor --fix' ;;
        repair) echo 'repair localhost/mine' ;;
        localize) echo 'localize localhost/app' ;;
        completion) echo 'completion bash' ;;
        *) echo "$verb" ;;
        esac
    done
}

# unchanged - run all lines with --dry-run, and compare.
unchanged() {
    local before line variant variants
    echo '{"process":{"args":["x"]}}' >config.json
    before=$(state)
    while read -r line; do
        variants=("--dry-run $line")
        [[ $line =~ ^(image|images|rmi|run|exec|hook)( |$) ]] || variants+=("$line --dry-run")
        for variant in "${variants[@]}"; do
            # shellcheck disable=SC2086 # words
            bp '?' $variant
            [[ $status != 2 ]] || die "$variant: wrong usage"
            diff <(echo "$before") <(state) || die "$variant changed something"
        done
    done < <(lines)
}

@test "--dry-run: no command changes anything" {
    [ "$(lines | wc -l)" -ge 25 ] || die "$(lines)"
    unchanged
    # What changes something without is what would have been seen.
    local line
    for line in status 'hooks identity' "hooks install --program $PROGRAM" 'hooks uninstall' 'image ls' 'bound lock'; do
        local before
        before=$(state)
        # shellcheck disable=SC2086 # words
        bp '?' $line
        [ "$before" != "$(state)" ] || die "$line changed nothing"
    done
    rm -rf /run/bootc-podman
}

@test "--dry-run: no command makes a store, and those that would say so" {
    mv "$STORE" aside
    unchanged
    local line
    for line in 'set-unified --from ostree' 'pull-from-default-storage localhost/app' 'image pull docker-archive:/x' init; do
        # shellcheck disable=SC2086 # words
        bp --dry-run $line
        assert "$(grep -c '^# rename ".*storage.bootc-podman.tmp" to ".*storage"$' <<<"$output")" == 1 "$line"
        assert "$(grep -n -m1 . <<<"$output")" =~ storage.bootc-podman.tmp "$line"
    done
    mv aside "$STORE"
}
