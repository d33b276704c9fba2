#!/bin/sh
# boot.sh ROOT NAME CPU FAKES: the first process of a device, in namespaces of its own, becomes its sshd.
# FAKES holds cpuinfo, meminfo and boot_id; QEMU would show this machine's.
set -eu
R=$1 NAME=$2 CPU=$3 FAKES=$4
hostname "$NAME"
mount -t proc proc "$R/proc"
mount --bind "$FAKES/cpuinfo" "$R/proc/cpuinfo"
mount --bind "$FAKES/meminfo" "$R/proc/meminfo"
mount --bind "$FAKES/boot_id" "$R/proc/sys/kernel/random/boot_id"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$R/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$R/dev/shm"
mount -t tmpfs -o mode=0755 tmpfs "$R/run"
mkdir -p "$R/run/sshd"
# A device starts with its own world: nothing of whoever ran the lab.
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin QEMU_CPU="$CPU" HOME=/root sh -euc '
    if [ -x "$0/usr/bin/nvpmodel" ]; then chroot "$0" /usr/bin/nvpmodel --apply-at-boot; fi
    exec chroot "$0" /usr/sbin/sshd -D -e -o SetEnv=QEMU_CPU=$QEMU_CPU' "$R"
