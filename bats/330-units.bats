#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# The units of contrib/systemd, run by a systemd that is process 1 of a namespace of its own.

# bats file_tags=oldest-and-newest
# shellcheck disable=SC2030,SC2031 # each test is a process of its own

load helpers
load os-images
load documents

UNITS=/etc/systemd/system

setup_file() {
    # An older one mounts another /proc for its services, without the file that os_boot puts there.
    [ -x /usr/lib/systemd/systemd ] && [ "$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')" -ge 256 ] || return 0
    local unit
    for unit in "$BATS_TEST_DIRNAME"/../contrib/systemd/*.in; do
        sed "s|@BINDIR@|${BOOTC_PODMAN%/*}|g" "$unit" >"$UNITS/$(basename "${unit%.in}")"
    done
    mkdir -p "$UNITS/bootc-podman-.service.d"
    printf '[Service]\nStandardOutput=append:/run/%%N.log\nStandardError=append:/run/%%N.log\n' >"$UNITS/bootc-podman-.service.d/log.conf"
    # They would clear or hide /tmp, where the tests are.
    ln -s /dev/null "$UNITS/systemd-tmpfiles-setup.service"
    ln -s /dev/null "$UNITS/tmp.mount"
    ostree_host
    new_registry /srv
    cd /srv || return 1
    os_tree tree 42
    head -c 300000 /dev/urandom >tree/usr/lib/blob
    tar --owner=0 --group=0 --mtime=@0 -C tree -cf base.tar .
    app_image "$REGISTRY" 1
    app_image "$REGISTRY" 2
    # The host follows app:1, and has app:2 bound.
    os_import "docker_3A__2F__2F_127_2E_0_2E_0_2E_1_3A_${REGISTRY#*:}/app_3A_1" app.1 >commit
    os_deploy "$(tail -1 commit)" "ostree-unverified-registry:$REGISTRY/app:1" >deployment
    os_boot "$(cat deployment)"
    mkdir -p /usr/local/bootc/bound-images.d /usr/local/units /run/ostree
    ln -sfn /usr/local/bootc /usr/lib/bootc
    ln -sfn "$STORE" /usr/local/bootc/storage
    printf '[Image]\nImage=%s/app:2\n' "$REGISTRY" >/usr/local/units/app.image
    ln -sfn /usr/local/units/app.image /usr/local/bootc/bound-images.d/app.image
}

teardown_file() {
    [ ! -e /srv/registry.pid ] || kill "$(cat /srv/registry.pid)" || true
    umount -q /proc/cmdline || true
    umount -q /sysroot || true
}

setup() {
    [ -e /srv/registry.pid ] || skip "needs systemd 256"
    cd "$BATS_TEST_TMPDIR"
}

# under_systemd - run the script on standard input as a service of a systemd that boots, with
# the functions below. Leaves $output and $status.
under_systemd() {
    {
        echo 'set -euo pipefail'
        declare -f show start printed
        cat
    } >script
    cat >"$UNITS/script.service" <<EOF
[Unit]
After=basic.target
[Service]
Type=oneshot
WorkingDirectory=$PWD
ExecStart=/bin/bash -x $PWD/script
StandardOutput=file:$PWD/stdout
StandardError=file:$PWD/stderr
ExecStopPost=/bin/sh -c 'echo \$EXIT_STATUS >$PWD/status'
ExecStopPost=/bin/systemctl --force --force poweroff
EOF
    rm -rf /run/log/journal /var/log/journal /run/bootc-podman-*.log
    # systemd needs the second version of control groups.
    unshare --mount --propagation private bash -c '
        umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit
        group=/sys/fs/cgroup/bats-$$ && mkdir "$group" && echo $$ >"$group/cgroup.procs" || exit
        timeout -s KILL 120 unshare --pid --fork --kill-child --cgroup --mount --uts --ipc bash -c "
            umount /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup
            mount -t proc proc /proc && mount --bind /run/cmdline /proc/cmdline
            exec /usr/lib/systemd/systemd --unit=script.service --show-status=0"
        echo $$ >/sys/fs/cgroup/cgroup.procs
        find "$group" -depth -type d -exec rmdir {} +' >systemd.log 2>&1 3>&- || true
    [ -s status ] || { cat systemd.log stderr && die "systemd did not run the script"; }
    cat stderr
    output=$(cat stdout) status=$(cat status)
    echo "$output"
    assert "$status" == 0
}

# show UNIT - the result of a service's last start.
show() { echo "${1#bootc-podman-}: $(systemctl show -P Result "$1")"; }

# start UNIT - start a service, wait for its end, and show its result.
start() {
    systemctl start "bootc-podman-$1" 2>/dev/null || true
    until systemctl show -P ActiveState "bootc-podman-$1" | grep -qE '^(inactive|failed)$'; do
        read -rt 0.05 <> <(:) || true
    done
    show "bootc-podman-$1"
}

# printed UNIT - what a service has printed.
printed() { cat "/run/bootc-podman-$1.log" 2>/dev/null || true; }

@test "units: a host is unified once, bound images are fetched when an upgrade is staged, the check sees it" {
    # The exporter's directory may be another user's.
    document_files "$BATS_TEST_DIRNAME/../docs/fleet.md" fleet
    cp -r fleet/usr/lib/systemd/system/bootc-podman-check.service.d "$UNITS/"
    install -d -o nobody /var/lib/prometheus/node-exporter
    os_stage "$(cat /srv/deployment)"
    mv /run/ostree/staged-deployment /run/ostree/staged
    under_systemd <<'EOF'
start check
cp /var/lib/prometheus/node-exporter/bootc-podman.prom before.prom
start set-unified
start set-unified
printed set-unified
systemctl start bootc-podman-bound-fetch.path
mv /run/ostree/staged /run/ostree/staged-deployment
until printed bound-fetch | grep -q '^Bound images stored: 1$'; do read -rt 0.1 <> <(:) || true; done
rm /run/ostree/staged-deployment
start bound-fetch
start dedup
printed dedup | grep -q '^Saved: *[1-9]'
start identity
start verify
start check
cp /var/lib/prometheus/node-exporter/bootc-podman.prom after.prom
journalctl -o cat --no-pager -t bootc-podman _TRANSPORT=journal MESSAGE_ID=54af3aacf61f4410a152b6966b3b5814 + MESSAGE_ID=97e9555141c0421781feaf67c16fbfe0
EOF
    assert "$output" == "check: exit-code
set-unified: success
set-unified: success
Unified storage enabled for $REGISTRY/app:1.
bound-fetch: success
dedup: success
identity: success
verify: exit-code
check: success
host checked, something is wrong: 1 failing, 0 unknown, 0 risk, 0 information
host checked, nothing is wrong"
    grep -qx 'bootc_podman_rule_findings{rule="bound-missing",severity="failing"} 1' before.prom
    grep -qx 'bootc_podman_unified 0' before.prom
    grep -qx 'bootc_podman_bound_images{state="present"} 1' after.prom
    grep -qx 'bootc_podman_unified 1' after.prom
    assert "$(stat -c '%a %U' /var/lib/prometheus/node-exporter/*)" == "644 root"
    assert "$(jq -r .image /run/bootc-podman/host.json)" == "docker://$REGISTRY/app:1"
    oracle image exists "$REGISTRY/app:1"
    oracle image exists "$REGISTRY/app:2"
}

@test "units: the check prints its findings where the metrics cannot be written" {
    rm -r /var/lib/prometheus
    oracle image untag "$REGISTRY/app:2"
    under_systemd <<'EOF'
start check
EOF
    assert "$output" == "check: exit-code"
    grep -q '^failing: bound image' /run/bootc-podman-check.log
    assert "$(tail -1 /run/bootc-podman-check.log)" == "Error: write metrics: open /var/lib/prometheus/node-exporter: no such file or directory"
    rm -r "$UNITS/bootc-podman-check.service.d"
}

@test "fleet: the commands of the play in docs/fleet.md succeed on a host with a staged deployment" {
    local command commands
    bp bound fetch --quiet
    os_stage "$(cat /srv/deployment)"
    commands=$(document_file "$BATS_TEST_DIRNAME/../docs/fleet.md" fleet.yml | sed -n 's/.*command: bootc-podman //p')
    assert "$(wc -l <<<"$commands")" == 5
    while read -r command; do
        # shellcheck disable=SC2086 # words
        bp $command
    done <<<"$commands"
    rm /run/ostree/staged-deployment
}

@test "units: they do nothing on a host without deployments" {
    mv /sysroot/ostree /sysroot/none
    under_systemd <<'EOF' || { mv /sysroot/none /sysroot/ostree && false; }
for unit in check set-unified bound-fetch dedup identity verify; do
    start $unit
    printed $unit
    systemctl show -P ConditionResult bootc-podman-$unit
done
EOF
    mv /sysroot/none /sysroot/ostree
    assert "$output" == "$(printf '%s: success\nno\n' check set-unified bound-fetch dedup identity verify)"
}
