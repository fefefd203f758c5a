#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Programs under exec: what they do with another store does not touch the bootc store, and
# what cannot work there is refused with the reason.

load helpers
load containers

setup_file() {
    mount_sysroot xfs
    container_conf
    source_archive source
    context /srv/ctx
    # A program that uses descriptor 3 for itself.
    printf '@test "podman" { podman --root /srv/bats.root --storage-driver vfs images; skopeo inspect containers-storage:localhost/a; }\n' >/srv/inner.bats
}

teardown_file() {
    rm -f /etc/containers/containers.conf
    umount /sysroot
}

setup() {
    new_sysroot
    oracle_init
    cd "$BATS_TEST_TMPDIR"
    "$BOOTC_PODMAN" image build -q -t localhost/a /srv/ctx >/dev/null
}

# store - every file of the store: names, owners, modes, times, content.
store() {
    (cd "$STORE" && find . -printf '%P %y %m %U:%G %s %T@ %l\n' | sort && find . -type f -exec sha256sum {} + | sort)
}

@test "exec: programs that name another store leave the bootc store as it is" {
    # Not on overlayfs, where the driver overlay does not work.
    local row want o=/var/lib/containers/other v=/srv/vfs
    printf '[storage]\ndriver="vfs"\ngraphroot="/srv/conf.root"\nrunroot="/srv/conf.run"\n' >/srv/other.conf
    # Which database podman has was not asked before.
    bp exec true
    store >before
    while read -r want row; do
        # shellcheck disable=SC2086 # words
        bp "$want" exec -- $row </dev/null
        store | diff before - || die "$row: changed the store"
    done <<END
0 podman --root $o images
0 podman --root $o build -q /srv/ctx
0 podman --root=$o.2 --runroot=/run/other load -q -i /srv/source.tar
0 podman --root $o load -q -i /srv/source.tar
0 podman --root $o system prune -af
0 podman --root $o system reset -f
0 podman --root $o.2 --runroot /run/other system reset -f
0 podman --root $v --storage-driver vfs build -q /srv/ctx
125 podman --root $v --storage-driver vfs run --pull never localhost/none true
0 podman --root $v --storage-driver vfs system reset -f
0 buildah --root $o build -q /srv/ctx
0 buildah --root $o rmi -af
0 buildah --root $v --storage-driver vfs from --name c scratch
0 skopeo copy -q docker-archive:/srv/source.tar containers-storage:[overlay@$o.3+/run/other.3]localhost/b
0 skopeo delete containers-storage:[overlay@$o.3+/run/other.3]localhost/b
0 env -u CONTAINERS_STORAGE_CONF podman images
0 env CONTAINERS_STORAGE_CONF=/srv/other.conf podman load -q -i /srv/source.tar
0 env CONTAINERS_STORAGE_CONF=/srv/other.conf podman system reset -f
0 $BOOTC_PODMAN list
125 podman run --rm localhost/a true
125 podman container start c
125 podman login registry.example
125 podman logout registry.example
125 podman system reset
125 podman system reset --force
125 podman --root /var/run/bootc/storage system reset -f
125 podman --out /srv/out system reset -f
END
    # What is in the namespace was not this store's.
    bp image exists localhost/a
}

@test "exec: a program that uses descriptor 3 for itself" {
    bp exec -- bats /srv/inner.bats
    bp exec -- sh -c 'exec 3</etc/passwd; buildah images -q && skopeo inspect containers-storage:localhost/a >/dev/null'
    oracle image exists localhost/a
}

@test "exec: podman first on a store without its database records bootc's paths" {
    local command
    for command in 'podman images' 'sh -c :' 'buildah images'; do
        rm -rf "$STORE"/db.sql "$STORE"/libpod/bolt_state.db
        # shellcheck disable=SC2086 # words
        bp exec -- $command
        bp exec -- podman images
        bp image ls
        oracle image exists localhost/a
    done
    # Asked once only.
    strace -f -e trace=execve -o trace "$BOOTC_PODMAN" exec true
    [ "$(grep -c 'execve("' trace)" -eq 2 ] || die "$(cat trace)"
}

@test "image mount: its record outlives the mount, and is in the way of nothing" {
    local mnt
    bp image mount localhost/a
    mnt=$output
    ! mountpoint -q "$mnt" || die "still mounted"
    bp image mount
    assert "$output" =~ "$mnt"
    bp exec -- sh -c 'cmp /srv/ctx/file "$(podman image mount localhost/a)/file"'
    bp image rm localhost/a
    bp image mount
    assert "$output" == ""
}

@test "exec: podman system reset asks first, and names what the host loses" {
    bp image tag localhost/a localhost/os:42
    run -125 --separate-stderr "$BOOTC_PODMAN" exec -- podman system reset -f <<<n
    assert "$stderr" =~ '2 images,'
    bp image exists localhost/a
    # It cannot remove the two directories themselves, and 4.3 then fails.
    "$BOOTC_PODMAN" exec -- podman system reset -f <<<y || [ $? = 125 ]
    assert "$(oracle images -q)" == ""
}

@test "exec: what cannot work there says what does" {
    bp 125 exec -- podman run --rm -it localhost/a sh
    assert "$stderr" =~ "Hint: bootc-podman run ... runs images of this store in podman's own"
    bp 125 exec -- podman kube play x.yaml
    assert "$stderr" =~ "kube play"
    bp 125 exec -- podman login -u user registry.example
    assert "$stderr" =~ 'podman login --authfile /etc/ostree/auth.json'
    echo '{}' >own.json
    bp 125 --authfile own.json exec -- buildah login registry.example
    assert "$stderr" =~ "buildah login --authfile $PWD/own.json"
    local scp
    for scp in 'image scp' 'exec -- podman image scp -q'; do
        # shellcheck disable=SC2086 # words
        bp 125 $scp localhost/a nobody@localhost::
        assert "$stderr" =~ 'Hint: '.*'image save IMAGE | sudo -u USER podman load'
    done
    bp exec -- podman run --help
    assert "$output" =~ Usage
    bp exec -- sh -c 'podman create --name c localhost/a none && podman rm c'
}
