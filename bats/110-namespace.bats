#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# The private mount namespace: what is in effect inside, and that nothing of it
# is seen outside.

load helpers

setup_file() { mount_sysroot xfs; }
teardown_file() { umount /sysroot; }

setup() {
    new_sysroot
    oracle_init
    cd "$BATS_TEST_TMPDIR"
    context ctx
}

teardown() {
    mount -o remount,bind,rw /sysroot
    rm -rf /etc/containers/storage.conf /etc/containers/storage.conf.d
}

@test "read-only /sysroot: writes work and the host's view stays read-only" {
    mount -o remount,bind,ro /sysroot
    local before
    before=$(mount_table)
    bp image build -q -t localhost/a ctx
    assert "$(mount_table)" == "$before" "after build"
    bp image ls
    bp 125 image inspect localhost/absent
    bp exec true
    assert "$(mount_table)" == "$before" "after the others"
    run touch /sysroot/file
    assert "$status" != 0
    assert "$(oracle images -q | wc -l)" == 1
}

@test "read-only /sysroot: the mount table is the same after every command" {
    rm -rf "$STORE"
    mount -o remount,bind,ro /sysroot
    local before command
    before=$(mount_table)
    [[ $before =~ \ /sysroot\ ro ]] || die "not read-only"
    while read -r command; do
        # shellcheck disable=SC2086 # words
        bp $command
        diff <(echo "$before") <(mount_table) || die "after $command"
        run touch /sysroot/file
        assert "$status" != 0 "/sysroot is writable after $command"
    done <<EOF
init
image build -q -t localhost/a ctx
image save -q -o a.tar localhost/a
image pull -q docker-archive:$PWD/a.tar
image load -q -i a.tar
image ls
images
image tag localhost/a localhost/b
image inspect localhost/b
image exists localhost/b
image history localhost/b
image tree localhost/b
exec podman image mount localhost/b
image untag localhost/b localhost/b
1 image exists localhost/b
image push -q localhost/a oci:$PWD/pushed
image rm localhost/a
125 image inspect localhost/a
image prune -f
125 image --root /x ls
exec podman images
exec -- sh -c true
image --help
list
status --lenient
1 exists --store default nothing
env
storage-conf
EOF
    # Nor does the oracle see anything odd.
    oracle images
}

@test "read-only /sysroot: init works" {
    rm -rf "$STORE"
    mount -o remount,bind,ro /sysroot
    local before
    before=$(mount_table)
    bp init
    assert "$(mount_table)" == "$before"
    oracle images
}

@test "SIGKILL in the middle: no mount stays, the store is usable" {
    mount -o remount,bind,ro /sysroot
    local before i pid
    before=$(mount_table)
    head -c 20000000 /dev/urandom >ctx/file
    for i in 1 2 3 4 5 6 7 8; do
        "$BOOTC_PODMAN" image build -q --no-cache -t localhost/a ctx >/dev/null 2>&1 3>&- &
        pid=$!
        # Somewhere between the first instruction and the end of the build.
        pause "0.0$((i * i))"
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" || true
        assert "$(mount_table)" == "$before" "kill $i"
    done
    bp image build -q --no-cache -t localhost/a ctx
    bp image exists localhost/a
    oracle image exists localhost/a
}

@test "host storage.conf: options are in effect inside, additional stores are not" {
    mkdir -p /var/tmp/additional
    cat >/etc/containers/storage.conf <<'EOF'
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
[storage.options]
additionalimagestores = ["/var/tmp/additional"]
[storage.options.overlay]
mountopt = "nodev"
EOF
    # The host's own podman has both.
    run --separate-stderr podman info --format '{{.Store.GraphOptions}}'
    assert "$output" =~ /var/tmp/additional
    bp exec -- podman --root /run/bootc/storage --runroot /proc/self/fd/3 --storage-opt overlay.mountopt=nodev info --format '{{.Store.GraphOptions}}'
    assert "$output" == 'map[overlay.mountopt:nodev]'
    bp exec -- podman info --format '{{.Store.GraphOptions}} {{.Store.GraphRoot}} {{.Store.RunRoot}}'
    assert "$output" == 'map[overlay.mountopt:nodev] /run/bootc/storage /proc/self/fd/3'
    bp --dry-run image ls
    assert "$output" =~ '--storage-opt overlay.mountopt=nodev image ls'
    assert "$output" !~ additional

    # In effect: a container's mount has the option.
    bp image build -q -t localhost/a ctx
    bp exec -- sh -c 'id=$(podman create localhost/a none); findmnt -no OPTIONS "$(podman mount "$id")"; podman rm "$id" >/dev/null'
    assert "$output" =~ nodev
    # bootc opens the store without the option, and still can.
    oracle image exists localhost/a
}

@test "host storage.conf.d: drop-ins are inherited where podman reads them" {
    local want='map[overlay.mountopt:nodev]'
    mkdir -p /etc/containers/storage.conf.d
    printf '[storage.options.overlay]\nmountopt = "nodev"\n' >/etc/containers/storage.conf.d/50-opt.conf
    # Plain podman is the judge.
    run --separate-stderr podman info --format '{{.Store.GraphOptions}}'
    [[ $output =~ nodev ]] || want='map[]'
    bp exec -- podman info --format '{{.Store.GraphOptions}}'
    assert "$output" == "$want"
    bp storage-conf
    assert "$(grep -c mountopt <<<"$output")" == "$(grep -c mountopt <<<"$want")"
}

@test "host storage.conf: never one below the working directory" {
    mkdir containers
    printf '[storage.options.overlay]\nmountopt = "nodev"\n' >containers/storage.conf
    XDG_CONFIG_HOME='' bp storage-conf
    assert "$output" !~ nodev
    XDG_CONFIG_HOME=. bp --dry-run image ls
    assert "$output" !~ nodev
    XDG_CONFIG_HOME=$PWD bp storage-conf
    assert "$output" =~ nodev
    # Nor another user's, whose program root would run.
    mkdir -p home/.config && mv containers home/.config/
    HOME=$PWD/home bp storage-conf
    assert "$output" =~ nodev
    chown -R nobody home
    HOME=$PWD/home bp storage-conf
    assert "$output" !~ nodev
}

@test "descriptors: any of the caller's may be open" {
    local fds
    for fds in '4</dev/null' '4</dev/null 5</dev/null 6</dev/null 7</dev/null 8</dev/null' \
        '{3..9}</dev/null 10</dev/null 11</dev/null 12</dev/null 13</dev/null'; do
        run bash -c "exec ${fds/\{3..9\}<\/dev\/null/3<\/dev\/null 4<\/dev\/null 5<\/dev\/null 6<\/dev\/null 7<\/dev\/null 8<\/dev\/null 9<\/dev\/null}; \"\$BOOTC_PODMAN\" exec -- sh -c 'cat \"\$REGISTRY_AUTH_FILE\"'"
        assert "$status $output" == "0 {}" "$fds"
    done
}

@test "two sysroots: commands on one do not disturb the other" {
    mkdir other && mount -t tmpfs other other && ostree admin init-fs --modern other
    printf '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' >/etc/containers/storage.conf
    bp --sysroot other init
    rm /etc/containers/storage.conf
    bp exec -- sh -c '"$BOOTC_PODMAN" --sysroot other image ls >/dev/null; podman image ls'
    local i pids=()
    for i in {1..20}; do
        "$BOOTC_PODMAN" image ls >/dev/null 2>>err 3>&- &
        pids+=($!)
        "$BOOTC_PODMAN" --sysroot other image ls >/dev/null 2>>err 3>&- &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i" || die "$(cat err)"; done
    assert "$(ls "$STORE")" !~ vfs
    oracle images
    umount other
}

@test "host storage.conf: an imagestore is bootc's too" {
    podman_at_least 5 || skip "podman before 4.7 has no image store"
    mkdir -p /srv/images
    printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\nimagestore = "/srv/images"\n' >/etc/containers/storage.conf
    mount -t tmpfs images /srv/images
    bp image build -q -t localhost/a ctx
    assert "$(oracle images -q | wc -l)" == 1
    context ctx2 two && oracle build -q -t localhost/b ctx2
    bp images --format '{{.Repository}}'
    assert "$(sort <<<"$output" | tr '\n' ' ')" == 'localhost/a localhost/b '
    # podman's own store has its images in the same file.
    grep -q localhost/a /srv/images/overlay-images/images.json
    local command
    for command in list status 'unset-unified --dry-run' 'image untag localhost/b' 'image rm localhost/a'; do
        # shellcheck disable=SC2086 # words
        bp '?' $command
        assert "$stderr" =~ Warning:.*imagestore.*/srv/images "$command"
    done
    run -1 grep localhost/a /srv/images/overlay-images/images.json
    umount /srv/images
}

@test "environment: nothing in it redirects to another store" {
    bp image build -q -t localhost/a ctx
    printf '[storage]\ndriver="vfs"\nrunroot="/tmp/other/run"\ngraphroot="/tmp/other"\n' >other.conf
    local setting
    for setting in CONTAINER_HOST=unix:///nonexistent CONTAINER_CONNECTION=nowhere \
        CONTAINERS_STORAGE_CONF="$PWD/other.conf" CONTAINERS_STORAGE_CONF= \
        CONTAINERS_STORAGE_CONF_OVERRIDE="$PWD/other.conf" STORAGE_DRIVER=vfs \
        STORAGE_OPTS=overlay.mountopt=nosuchoption STORAGE_OPTS= \
        _CONTAINERS_USERNS_CONFIGURED=done _CONTAINERS_ROOTLESS_UID=1000 \
        REGISTRY_AUTH_FILE=/nonexistent LISTEN_FDS=1; do
        run --separate-stderr env "$setting" "$BOOTC_PODMAN" image ls --format '{{.Repository}}'
        assert "$status $output" == "0 localhost/a" "$setting"
    done
    assert "$(find /tmp/other 2>/dev/null)" == ""
    run --separate-stderr env -u HOME "$BOOTC_PODMAN" image exists localhost/a
    assert "$status" == 0 "no HOME"
}

@test "private storage.conf: mode 0600, rewritten only when it changes" {
    bp exec -- true
    assert "$(stat -c %a /run/bootc-podman/storage.conf)" == 600
    local inode
    inode=$(stat -c %i /run/bootc-podman/storage.conf)
    bp exec -- true
    assert "$(stat -c %i /run/bootc-podman/storage.conf)" == "$inode"
    bp storage-conf --check /run/bootc-podman/storage.conf
    echo '# changed' >>/run/bootc-podman/storage.conf
    bp 1 storage-conf --check /run/bootc-podman/storage.conf
    assert "$output" =~ '-# changed'
    bp exec -- true
    bp storage-conf --check /run/bootc-podman/storage.conf
    # The other is where the namespace has files of its own.
    assert "$(find /run/bootc-podman ! -name storage.database -printf '%P %m\n' | sort | tr '\n' ' ')" == ' 755 private 700 storage.conf 600 '
}

@test "exec: runs where podman's own store is the bootc store" {
    bp image build -q -t localhost/a ctx
    bp exec -- podman image exists localhost/a
    bp exec podman images --format '{{.Repository}}'
    assert "$output" == localhost/a
    bp 3 exec -- sh -c 'exit 3'
    bp 127 exec -- no-such-program
    bp 126 exec -- /etc/passwd
    bp 125 exec
}

@test "exec: podman's own store is to bootc-podman what it is outside" {
    context own && podman build -q -t localhost/own own
    bp image build -q -t localhost/a ctx
    bp list --all-stores --format '{{.Store}} {{.Image}}'
    local outside=$output
    [[ $outside =~ default\ localhost/own && $outside =~ bootc\ localhost/a ]] || die "$outside"
    bp exec -- "$BOOTC_PODMAN" list --all-stores --format '{{.Store}} {{.Image}}'
    assert "$output" == "$outside"
    bp exec -- "$BOOTC_PODMAN" exists --store default localhost/own
    bp 1 exec -- "$BOOTC_PODMAN" exists --store default localhost/a
    # Of another sysroot, which has a private storage.conf of its own.
    mkdir other && ostree admin init-fs --modern other
    bp --sysroot other init
    bp --sysroot other exec -- "$BOOTC_PODMAN" exists --store default localhost/own
    podman rmi localhost/own
}

@test "exec: buildah and skopeo work on the store" {
    bp image build -q -t localhost/a ctx
    bp exec -- skopeo inspect --format '{{.Labels.test}}' containers-storage:localhost/a
    assert "$output" == hello
    bp exec -- sh -c 'id=$(buildah from localhost/a) && buildah commit -q "$id" localhost/b && buildah rm "$id"'
    oracle image exists localhost/b
}

@test "exec: scripts can compose podman commands" {
    bp image build -q -t localhost/a ctx
    run --separate-stderr sh -euc 'eval "$("$BOOTC_PODMAN" env)"
        test -d "$BOOTC_PODMAN_STORE"
        bootc_store podman image ls --quiet | bootc_store xargs -r podman image inspect --format "{{.RepoTags}}"'
    assert "$status" == 0
    assert "$output" == '[localhost/a:latest]'
}

@test "exec: bootc-podman inside it uses the namespace that is there" {
    bp image build -q -t localhost/a ctx
    bp exec -- sh -c 'readlink /proc/self/ns/mnt; "$BOOTC_PODMAN" exec readlink /proc/self/ns/mnt'
    assert "${lines[0]}" == "${lines[1]}"
    # Whatever the program did with descriptor 3.
    local third
    for third in '3>&-' '3<"$BOOTC_PODMAN"' '3</run/bootc/storage'; do
        bp exec -- sh -c "exec $third"'; "$BOOTC_PODMAN" exec -- sh -c "stat -Lc %d:%i /proc/self/fd/3; exec readlink /proc/self/ns/mnt"
            readlink /proc/self/ns/mnt; "$BOOTC_PODMAN" image exists localhost/a'
        assert "${lines[0]}" == "$(stat -c %d:%i /run/bootc/storage)" "$third"
        assert "${lines[1]}" == "${lines[2]}" "$third"
    done
    # A mount there that cannot be written is not what we would have made.
    bp exec -- sh -c 'mount -o remount,bind,ro /run/bootc/storage; "$BOOTC_PODMAN" image build -q -t localhost/a "$1"' sh "$PWD/ctx"
}

@test "a store that somebody mounted for all to see" {
    local run_root before
    mkdir -p /run/bootc/storage
    run_root=$(stat -c %d:%i /run/bootc/storage)
    mount --bind "$STORE" /run/bootc/storage
    before=$(mount_table)
    bp image build -q -t localhost/a ctx
    bp exec -- stat -Lc %d:%i /proc/self/fd/3
    assert "$output" == "$run_root"
    assert "$(mount_table)" == "$before"
    umount /run/bootc/storage
}

@test "a store that somebody mounted for all to see, with the descriptors of its namespace" {
    bp init
    # Process 1 of this script stands for the host's. Without the capability its
    # namespace cannot be looked at, only its mount table.
    for without in "" "setpriv --bounding-set -sys_ptrace,-mknod"; do
        # shellcheck disable=SC2016
        run -0 unshare --pid --fork --kill-child --mount-proc sh -c '
            exec 3</run/bootc/storage
            mount --bind "$1" /run/bootc/storage
            readlink /proc/1/ns/mnt
            $2 "$BOOTC_PODMAN" exec sh -c "readlink /proc/self/ns/mnt; exec readlink /proc/1/ns/mnt"
            exit 0' sh "$STORE" "$without"
        [ "${lines[0]}" != "${lines[1]}" ] || die "$output"
        if [ -z "$without" ]; then
            assert "${lines[2]}" == "${lines[0]}"
        else
            assert "${#lines[@]}" == 2
        fi
    done
}

@test "exec: the store of another sysroot inside it" {
    mkdir other && ostree admin init-fs --modern other
    bp --sysroot other init
    bp image build -q -t localhost/a ctx
    bp exec -- "$BOOTC_PODMAN" --sysroot "$PWD/other" images -q
    assert "$output" == ""
    bp --sysroot other exec -- sh -c 'stat -Lc %d:%i /proc/self/fd/3; "$BOOTC_PODMAN" images -q --no-trunc'
    assert "${lines[0]}" == "$(stat -c %d:%i /run/bootc/storage)"
    assert "${lines[1]}" == "$(oracle images -q --no-trunc)"
}

@test "exec: files of other sysroots are removed once no process needs them" {
    local used unused
    mkdir one two && ostree admin init-fs --modern one && ostree admin init-fs --modern two
    confs() { (cd /run/bootc-podman && printf '%s\n' storage-* .tmp-*); }
    shopt -s nullglob
    mkfifo stop
    # As conmon does, a program keeps the file in its environment.
    bp --sysroot one init
    "$BOOTC_PODMAN" --sysroot one exec -- sh -c 'echo $$ >pid; read -r _ <stop; podman images -q' >used.out 2>&1 3>&- &
    wait_for test -s pid
    used=$(confs)
    bp --sysroot two init
    bp --sysroot two exec true
    unused=$(confs | grep -vxF "$used")
    assert "$(wc -l <<<"$unused")" == 2 # and what is known of its database
    # Neither is old enough.
    rm -rf two
    bp exec true
    assert "$(confs)" == "$(sort <<<"$used"$'\n'"$unused")"
    touch /run/bootc-podman/.tmp-storage.conf1
    touch -d '2 hours ago' /run/bootc-podman/{storage,.tmp}-*
    # No business of a command that only reads, and of podman's.
    bp image ls
    bp list
    assert "$(confs | wc -l)" == 5
    bp exec true
    assert "$(confs)" == "$used" "unused: $unused"
    echo >stop
    wait
    assert "$(cat used.out)" == ""
    touch -d '2 hours ago' /run/bootc-podman/storage-*
    # A use makes it as good as new.
    bp --sysroot one exec true
    assert "$(confs)" == "$used"
    touch -d '2 hours ago' /run/bootc-podman/storage-*
    bp exec true
    assert "$(confs)" == ""
}

@test "credentials: podman gets a copy of bootc's file, and no other one" {
    mkdir -p /run/ostree /etc/ostree /usr/lib/ostree
    echo '{"auths":{"three":{}}}' >/usr/lib/ostree/auth.json
    bp exec -- sh -c 'cat "$REGISTRY_AUTH_FILE"'
    assert "$output" =~ three
    echo '{"auths":{"two":{}}}' >/etc/ostree/auth.json
    bp exec -- sh -c 'cat "$REGISTRY_AUTH_FILE"'
    assert "$output" =~ two
    echo '{"auths":{"one":{}}}' >/run/ostree/auth.json
    bp exec -- sh -c 'echo "$REGISTRY_AUTH_FILE"; cat "$REGISTRY_AUTH_FILE"'
    assert "${lines[0]}" == /run/bootc-podman/private/auth.json
    assert "${lines[1]}" =~ one
    echo '{"auths":{"own":{}}}' >own.json
    bp --authfile own.json exec -- sh -c 'cat "$REGISTRY_AUTH_FILE"'
    assert "$output" =~ own
    # Inside, they are those of the namespace, unless others are named.
    bp --authfile own.json exec -- sh -c '
        "$BOOTC_PODMAN" exec -- sh -c "cat \$REGISTRY_AUTH_FILE; readlink /proc/self/ns/mnt"
        "$BOOTC_PODMAN" --authfile /etc/ostree/auth.json exec -- sh -c "cat \$REGISTRY_AUTH_FILE; stat -Lc %d:%i /proc/self/fd/3"
        cat "$REGISTRY_AUTH_FILE"; readlink /proc/self/ns/mnt; "$BOOTC_PODMAN" image ls -q'
    assert "${lines[0]}${lines[2]}${lines[4]}" == '{"auths":{"own":{}}}{"auths":{"two":{}}}{"auths":{"own":{}}}'
    assert "${lines[1]}" == "${lines[5]}"
    assert "${lines[3]}" == "$(stat -c %d:%i /run/bootc/storage)"
    # A pipe can be read once only.
    "$BOOTC_PODMAN" --authfile <(cat own.json) exec -- sh -c 'cat "$REGISTRY_AUTH_FILE"' >got
    cmp got own.json
    rm -rf /run/ostree /etc/ostree /usr/lib/ostree
    bp exec -- sh -c 'cat "$REGISTRY_AUTH_FILE"'
    assert "$output" == '{}'
}
