#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Shell completion, in the shells themselves.
#
# bats file_tags=oldest-and-newest

load helpers

setup_file() {
    mount_sysroot xfs
    new_sysroot
    oracle_init
    context /srv/ctx
    "$BOOTC_PODMAN" image build -q -t localhost/app:1 -t localhost/app:2 -t quay.io/example/os /srv/ctx
    mkdir -p /srv/files/some.dir "/srv/files/other dir" /srv/bin
    touch /srv/files/some.file
    cp "$BOOTC_PODMAN" /srv/bin/bootc-podman
    # shellcheck disable=SC2016
    printf '#!/bin/bash\nprintf "<%%s>" "$@" >words\n' >/srv/bin/words
    chmod +x /srv/bin/words
}

teardown_file() { umount /sysroot; }

setup() {
    PATH=/srv/bin:$PATH
    cd /srv/files
}

# candidates WORD... - leaves the candidates for the last word, on one line and
# without descriptions, in $output and the directive in $directive.
# Podman's releases order names differently.
candidates() {
    bp __complete "$@"
    assert "$stderr" == "" "standard error"
    directive=${lines[-1]}
    output=$(head -n -1 <<<"$output" | cut -f 1 | LC_ALL=C sort | paste -sd ' ')
}

# in_bash LINE [REPLACED] - what bash gets for LINE, whose end REPLACED would be
# replaced: the last word by default.
in_bash() {
    # shellcheck disable=SC2016
    run --separate-stderr bash --norc -euc '
        source <("$BOOTC_PODMAN" completion bash)
        compopt() { echo "compopt $*"; }
        COMP_LINE=$1 COMP_POINT=${#1}
        _bootc_podman bootc-podman "$2"
        printf "%s\n" "${COMPREPLY[@]}" | LC_ALL=C sort' bash "$1" "${2-${1##* }}"
    echo "$output"
    echo "$stderr"
    assert "$status" == 0
    assert "$stderr" == "" "standard error"
    output=$(paste -sd ' ' <<<"$output")
}

# on_keys SHELL KEYS - the words that an interactive shell has when KEYS were typed.
on_keys() {
    # Shells read keys one by one, so that nothing has to be waited for.
    printf '%b\001words \005\r exit\r' "$2" >keys
    rm -f words
    timeout 60 script -qec "$1" /dev/null <keys
    output=$(cat words)
}

# expect_keys SHELL - what all shells make of keys alike.
expect_keys() {
    on_keys "$1" 'bootc-podman storage-\t--che\tso\tf\t'
    assert "$output" == "<bootc-podman><storage-conf><--check><some.file>"
    on_keys "$1" 'bootc-podman image r\tquay\t'
    assert "$output" == "<bootc-podman><image><rm><quay.io/example/os:latest>"
    on_keys "$1" 'bootc-podman image rm localhost/app:\t2\t'
    assert "$output" == "<bootc-podman><image><rm><localhost/app:2>"
    on_keys "$1" 'bootc-podman image rm "q\t'
    assert "$output" == "<bootc-podman><image><rm><quay.io/example/os:latest>"
    on_keys "$1" 'bootc-podman image ls --filter=sin\tqua\t'
    assert "$output" == "<bootc-podman><image><ls><--filter=since=quay.io/example/os:latest>"
    on_keys "$1" 'bootc-podman --sysroot=oth\t exists q\t'
    assert "${output/\/>/>}" == "<bootc-podman><--sysroot=other dir><exists><q>"
    on_keys "$1" 'bootc-podman list --fo\tj\t'
    assert "$output" == "<bootc-podman><list><--format><json>"
    on_keys "$1" 'bootc-podman exec setpri\tso\tf\t'
    assert "$output" == "<bootc-podman><exec><setpriv><some.file>"
    on_keys "$1" 'bootc-podman image load -i so\tf\t'
    assert "$output" == "<bootc-podman><image><load><-i><some.file>"
    on_keys "$1" 'bootc-podman bogus so\t'
    assert "$output" == "<bootc-podman><bogus><so>"
}

@test "completion: our own options of podman's commands" {
    candidates image rm --force
    assert "$output" == "--force --force-in-use"
    candidates rmi --force-in-use --force-i
    assert "$output" == "--force-in-use"
    candidates rmi localhost/app
    assert "$output" == "localhost/app:1 localhost/app:2"
    candidates rmi --force-in-use localhost/app
    assert "$output" == "localhost/app:1 localhost/app:2"
    candidates image untag --force
    assert "$output" == "--force-in-use"
    candidates image prune --d
    assert "$output" == "--dry-run"
    # No option can stand here, or has ours.
    candidates image rm -- --force
    assert "$output" == ""
    candidates image prune --log-level --force-
    assert "$output" == ""
    candidates image ls --force-
    assert "$output" == ""
    candidates image rm --dry
    assert "$output" == ""
}

@test "completion: names of images come from the bootc-owned store" {
    scratch_podman build -q -t localhost/elsewhere /srv/ctx
    candidates image rm ''
    assert "$output" == "localhost/app:1 localhost/app:2 quay.io/example/os:latest"
    assert "$directive" == :4
    candidates image tag localhost/app:1 quay
    assert "$output" == quay.io/example/os:latest
    candidates image ls --filter=since=quay
    assert "$output" == since=quay.io/example/os:latest
    candidates exists l
    assert "$output" == "localhost/app:1 localhost/app:2"
    candidates --log-level=debug --dry-run image rm quay
    assert "$output" == quay.io/example/os:latest
}

@test "completion: of another sysroot" {
    mkdir -p /srv/other/ostree
    candidates --sysroot /srv/other image rm ''
    assert "$output" == ""
    candidates --sysroot=/srv/other exists ''
    assert "$output" == ""
    candidates --sysroot /sysroot image rm q
    assert "$output" == quay.io/example/os:latest
    assert "$(find /srv/other -mindepth 1)" == /srv/other/ostree
}

@test "completion: podman's commands, options and values" {
    candidates image tr
    assert "$output" == "tree trust"
    candidates image rm --f
    assert "$output" == "--force --force-in-use"
    candidates images --no-tr
    assert "$output" == --no-trunc
    candidates image ls --filter dang
    assert "$output" == dangling=
    assert "$directive" == :6
    candidates image load --input ''
    assert "$directive" == :0
}

@test "completion: no global options of podman's after its command" {
    candidates image rm --
    assert "$output" !~ --root
}

@test "completion: without root, store or podman, silently" {
    # Where there is no store, podman's own is not looked at.
    podman build -q -t localhost/podmans /srv/ctx
    as_nobody __complete image rm ''
    assert "$status,$output,$stderr" == 0,:4,
    as_nobody __complete image rm --f
    assert "$status,$stderr" == 0,
    assert "$output" =~ ^--force
    as_nobody __complete exists ''
    assert "$status,$stderr" == 0,

    mv "$STORE" "$STORE.away"
    run --separate-stderr "$BOOTC_PODMAN" __complete image rm ''
    local no_names=$output,$stderr
    run --separate-stderr "$BOOTC_PODMAN" __complete image pu
    local static=$output,$stderr
    local made
    made=$(ls "${STORE%/*}")
    mv "$STORE.away" "$STORE"
    assert "$no_names" == :4,
    assert "$static" =~ pull.*push.*:4,$
    assert "$made" == storage.away

    export BOOTC_PODMAN_PODMAN=/missing
    candidates image rm ''
    assert "$output" == ""
    candidates li
    assert "$output" == list
}

@test "completion: writes nothing but what opening the store does" {
    local before
    before=$(find "$STORE" -newer "$STORE/overlay-images/images.json" | sort)
    candidates exists ''
    assert "$(find "$STORE" -newer "$STORE/overlay-images/images.json" | sort)" == "$before"
    before=$(mount_table)
    candidates image rm ''
    assert "$(mount_table)" == "$before"
}

@test "completion in bash: commands and options" {
    in_bash 'bootc-podman li'
    assert "$output" == "compopt +o default list"
    in_bash 'bootc-podman image rm --f'
    assert "$output" == "compopt +o default --force --force-in-use"
    in_bash 'bootc-podman list --type='  ''
    assert "$output" == "compopt +o default all host logical unified"
    in_bash 'bootc-podman list --type=h' h
    assert "$output" == "compopt +o default host"
    in_bash 'bootc-podman image ls --filter dang'
    assert "$output" == "compopt -o nospace compopt +o default dangling="
}

@test "completion in bash: names, however they are typed" {
    in_bash 'bootc-podman image rm localhost/app:' ''
    assert "$output" == "compopt +o default 1 2"
    in_bash 'bootc-podman image rm localhost/app:' :
    assert "$output" == "compopt +o default 1 2" "below sudo"
    in_bash 'bootc-podman image rm localhost/app:2' 2
    assert "$output" == "compopt +o default 2"
    in_bash 'bootc-podman image rm "localhost/app:' 'localhost/app:'
    assert "$output" == "compopt +o default localhost/app:1 localhost/app:2"
    in_bash 'bootc-podman  image	rm loc\alhost/a'
    assert "$output" == "compopt +o default localhost/app:1 localhost/app:2"
    in_bash 'bootc-podman image ls --filter=since=quay' quay
    assert "$output" == "compopt +o default quay.io/example/os:latest"
    in_bash "bootc-podman 'image' \"r\"m -f --a"
    assert "$output" == "compopt +o default --all"
}

@test "completion in bash: the line is not run" {
    in_bash 'bootc-podman image rm $(touch ran) `touch ran` ; touch ran; "$(touch ran)" l'
    assert "$(ls -d ran*)" == ""
}

@test "completion in bash: files and directories" {
    in_bash 'bootc-podman --sysroot so'
    assert "$output" == "compopt -o filenames compopt +o default some.dir"
    in_bash 'bootc-podman --sysroot=so' so
    assert "$output" == "compopt -o filenames compopt +o default some.dir"
    in_bash 'bootc-podman storage-conf --check so'
    assert "$output" == "" "left to bash"
}

@test "completion in bash: the other directives" {
    printf '#!/bin/sh\nprintf "file\\nx\\n:8\\n"\n' >podman.sh
    chmod +x podman.sh
    BOOTC_PODMAN_PODMAN=$PWD/podman.sh in_bash 'bootc-podman image load so'
    assert "$output" == "compopt -o filenames compopt +o default some.dir some.file"
    printf '#!/bin/sh\nprintf "a b\\twith a space\\n:0\\n"\n' >podman.sh
    BOOTC_PODMAN_PODMAN=$PWD/podman.sh in_bash 'bootc-podman image load '
    assert "$output" == 'a\ b'
    BOOTC_PODMAN_PODMAN=$PWD/podman.sh in_bash 'bootc-podman image load "a ' 'a '
    assert "$output" == 'a b'
    rm podman.sh
}

@test "completion in bash: keys on a terminal" {
    # shellcheck disable=SC2016
    echo 'source <("$BOOTC_PODMAN" completion bash)' >/srv/rc
    expect_keys 'bash --noprofile --rcfile /srv/rc -i'
}

@test "completion in zsh: keys on a terminal" {
    command -v zsh >/dev/null || skip "zsh is not installed"
    mkdir -p /srv/functions
    "$BOOTC_PODMAN" completion zsh >/srv/functions/_bootc-podman
    export ZDOTDIR=/srv/zsh
    mkdir -p /srv/zsh
    ln -sf ../rc /srv/zsh/.zshrc
    printf '%s\n' 'fpath+=/srv/functions' 'autoload -Uz compinit' 'compinit -u -D' 'bindkey -e' >/srv/rc
    expect_keys 'zsh -d -i'
}

@test "completion in fish: keys on a terminal" {
    command -v fish >/dev/null || skip "fish is not installed"
    export HOME=/srv/home
    "$BOOTC_PODMAN" completion fish >/srv/bootc-podman.fish
    echo 'source /srv/bootc-podman.fish' >/srv/rc
    expect_keys 'fish -N -i -C "source /srv/rc"'
}
