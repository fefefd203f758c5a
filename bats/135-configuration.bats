#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Host configurations: what bootc's own podman command can do with them, ours can, and
# what ours writes is what bootc's reads.

load helpers

setup_file() {
    mount -t tmpfs sysroot /sysroot
    new_sysroot
    mkdir -p /srv/context/dir
    cd /srv || return 1
    echo secret >context/private
    echo '#!/bin/sh' >context/dir/program
    chmod 0600 context/private
    chmod 0755 context/dir/program
    chmod 0711 context/dir
    printf 'FROM scratch\nCOPY dir /dir\nCOPY --chown=5:6 private /\n' >context/Containerfile
    scratch_podman build -q -t localhost/source context >/dev/null
    rm -f /srv/source.tar
    scratch_podman save -q -o /srv/source.tar localhost/source
}

teardown_file() { umount /sysroot; }

setup() {
    cd "$BATS_TEST_TMPDIR"
    fresh_host
}

FILES=(/etc/containers/containers.conf /{etc,usr/share,root/.config,srv/xdg}/containers/storage.{conf,conf.d,rootful.conf.d,rootless.conf.d})

# fresh_host - a bootc host without a store, and without any configuration of storage.
fresh_host() {
    rm -rf "${FILES[@]}" /srv/images /run/bootc /sysroot/ostree/bootc
    unset XDG_CONFIG_HOME
    HOME=/root
}

# conf PLACE TEXT - write a file of configuration. "etc" and the like are main files, which
# older podmans refuse without roots; those with a dot are drop-ins, and containers.conf.
# "link TARGET" makes the file a link.
conf() {
    local base=$'[storage]\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' path
    case $1 in
    etc | share | home | xdg) path=$(dir_of "$1")/storage.conf ;;
    containers.conf) path=/etc/containers/containers.conf base= ;;
    *) path=$(dir_of "${1%%.*}")/storage.${1#*.}/50-test.conf base=$'[storage]\n' ;;
    esac
    [ "${1%%.*}" != xdg ] || export XDG_CONFIG_HOME=/srv/xdg
    mkdir -p "${path%/*}"
    if [[ $2 == link\ * ]]; then
        ln -s "${2#link }" "$path"
    else
        printf "%s$2\n" "$base" >"$path"
    fi
}

dir_of() {
    case $1 in
    etc) echo /etc/containers ;;
    share) echo /usr/share/containers ;;
    home) echo /root/.config/containers ;;
    xdg) echo /srv/xdg/containers ;;
    *) die "BUG: place $1" ;;
    esac
}

# files - what the images that are stored have, whatever the layers are called.
files() {
    find "$STORE" /srv/images \( -path '*/overlay/*/diff/*' -o -path '*/vfs/dir/*/*' \) \
        -printf '%f %y %m %U:%G %s\n' 2>/dev/null | grep -v ' d .* 0$' | sort
}

# pull - the command line after podman's name.
PULL=(image pull -q docker-archive:/srv/source.tar)

# same - compare what our commands do on this host, without a store, with the oracle.
# Sets $answer to "cannot" where bootc's own command line fails.
same() {
    local want id
    answer=cannot
    mkdir -p "$STORE"
    if ! id=$(timeout 60 bash -c '. bats/scratch.bash; oracle "$@"' pull "${PULL[@]}" 2>/dev/null); then
        rm -rf "$STORE" /srv/images
        # We need not, but say why.
        bp '?' "${PULL[@]}"
        [[ $status == 0 || -n $stderr ]] || die "no reason given"
        return
    fi
    answer=can want=$(files)
    [[ $want =~ private\ f\ 600\ 5:6 ]] || die "the oracle's files: $want" || return
    rm -rf "$STORE" /srv/images /run/bootc
    bp "${PULL[@]}" && assert "$output" == "$id" "image ID" || return
    diff <(echo "$want") <(files) || die "other files" || return
    id="0 $id"
    run --separate-stderr oracle image inspect --format '{{.ID}}' localhost/source
    assert "$status $output" == "$id" "the oracle finds it" || return
    # What a program sees that reads the private storage.conf.
    [[ $row != *imagestore* && $row != *driver* ]] || bp exec -- podman image exists localhost/source || return
    bp list --format '{{.Image}}' && assert "$output" == localhost/source:latest
}

rows() {
    local place
    printf '%s\n' 'etc|' 'share|' 'home|' 'xdg|' 'etc.conf.d|'
    for place in {etc,share,home,xdg}{,.conf.d,.rootful.conf.d} etc.rootless.conf.d; do
        echo "$place|imagestore = \"/srv/images\""
        [[ $place == xdg* ]] || echo "$place|imagestore = 7"
    done
    cat <<'END'
etc|link storage.conf
share|link storage.conf
etc|link /etc/passwd/file
etc|driver = "overlay"
etc|driver = "overlay2"
etc|driver = "vfs"
etc.conf.d|driver = "vfs"
etc|driver = "nosuch"
etc|driver_priority = ["vfs"]
etc|transient_store = true
etc|[
etc|from_the_future = true
etc|[storage.options.overlay]\nsize = "1G"
etc|[storage.options.overlay]\ninodes = "1000"
etc|[storage.options.overlay]\nforce_mask = "shared"
etc|[storage.options.overlay]\nmount_program = "/nonexistent"
etc|[storage.options.overlay]\nignore_chown_errors = "true"
etc|[storage.options.overlay]\nskip_mount_home = "true"
etc|[storage.options.overlay]\nsync = "filesystem"
etc|[storage.options.overlay]\nuse_composefs = "true"
etc|[storage.options.overlay]\nmountopt = "nodev,metacopy=on"
etc|[storage.options.overlay]\nmountopt = "nosuchoption"
etc.conf.d|[storage.options.overlay]\nmountopt = "nodev"
etc|[storage.options]\nsize = "1G"\nforce_mask = 0o700\nmount_program = "/nonexistent"
etc|[storage.options]\nadditionalimagestores = ["/nonexistent"]
etc|[storage.options]\nadditionalimagestores = ["/nonexistent", {append=true}]
etc|[storage.options]\nadditionallayerstores = ["/nonexistent:ref"]
etc|[storage.options]\nremap-uids = "0:100000:65536"\nremap-gids = "0:100000:65536"
etc|[storage.options.pull_options]\nuse_hard_links = "true"
etc|[storage.options.pull_options]\nconvert_images = "true"\nenable_partial_images = "true"
containers.conf|[engine]\nvolume_path = "/srv/volumes"
containers.conf|[engine]\nstatic_dir = "/srv/static"
containers.conf|[engine]\ntmp_dir = "/run/other"
containers.conf|[engine]\nimage_copy_tmp_dir = "storage"
containers.conf|[engine]\nimage_volume_mode = "tmpfs"
END
}

@test "host configuration: what bootc can do with it, we can" {
    local row answer asked=0 can=0 failed=0
    cd "$BATS_TEST_DIRNAME/.."
    while read -r row <&9; do
        fresh_host
        # Other roots first, so that older podmans start at all.
        [[ $row == etc\|* || $row == share\|* ]] || conf etc 'driver = "overlay"'
        conf "${row%%|*}" "${row#*|}"
        echo "# $row"
        asked=$((asked + 1))
        if same; then
            echo "# $answer: $row"
            [ "$answer" = cannot ] || can=$((can + 1))
        else
            echo "# DIFFERS: $row"
            failed=$((failed + 1))
        fi
    done 9< <(rows)
    [ "$asked" -ge 40 ] && [ "$can" -ge 30 ] || die "only $can of $asked"
    [ "$failed" = 0 ] || die "$failed differ"
}

@test "host configuration: a FIFO in place of a file is waited for by no command" {
    local file verb status
    mkdir -p /etc/containers
    for file in storage.conf registries.conf; do
        rm -f "/etc/containers/$file"
        mkfifo "/etc/containers/$file"
        for verb in doctor "doctor --deep" list status "exists x" init "image ls" gc df "bound check" "bound fetch" \
            "hooks list" "hooks verify" "repair x" "localize x" set-unified copy-to-storage storage-conf; do
            status=0
            # shellcheck disable=SC2086 # words
            timeout -k 1 20 "$BOOTC_PODMAN" $verb </dev/null || status=$?
            [ "$status" -lt 124 ] || [ "$status" = 125 ] || die "$verb waits for $file"
        done
        rm "/etc/containers/$file"
    done
}
