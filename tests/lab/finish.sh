#!/bin/sh
# finish.sh ROOT: what the packages' own scripts would have done, by hand; running them emulated takes minutes.
set -eu
R=$1
cp "$R/usr/share/base-passwd/passwd.master" "$R/etc/passwd"
cp "$R/usr/share/base-passwd/group.master" "$R/etc/group"
sed -i 's#^root:\*:#root:x:#' "$R/etc/passwd"
echo 'sshd:x:100:65534::/run/sshd:/usr/sbin/nologin' >> "$R/etc/passwd"
sed -n 's#^\([^:]*\):.*#\1:*:19000:0:99999:7:::#p' "$R/etc/passwd" > "$R/etc/shadow"
chmod 600 "$R/etc/shadow"
sed 's/^UsePAM yes/UsePAM no/' "$R/usr/share/openssh/sshd_config" > "$R/etc/ssh/sshd_config"
printf 'MaxStartups 200\nMaxSessions 200\nHostKey /etc/ssh/ssh_host_ed25519_key\n' >> "$R/etc/ssh/sshd_config"
mkdir -p "$R/root/.ssh" "$R/dev/pts" "$R/dev/shm" "$R/run/sshd" "$R/proc" "$R/sys"
chmod 700 "$R/root" "$R/root/.ssh"
[ ! -e "$R/etc/skel/.bashrc" ] || cp "$R/etc/skel/.bashrc" "$R/root/"
node() { [ -e "$R/dev/$1" ] || mknod -m 666 "$R/dev/$1" c "$2" "$3"; }
node null 1 3; node zero 1 5; node full 1 7; node random 1 8; node urandom 1 9; node tty 5 0
ln -sfn pts/ptmx "$R/dev/ptmx"
ln -sfn /proc/self/fd "$R/dev/fd"
[ -e "$R/usr/bin/awk" ] || ln -s mawk "$R/usr/bin/awk"
[ -e "$R/usr/bin/which" ] || ln -s which.debianutils "$R/usr/bin/which"
# Where it came from is this machine's business.
: > "$R/etc/apt/sources.list"
rm -rf "$R/etc/resolv.conf" "$R/etc/apt/sources.list.d" "$R/etc/apt/apt.conf.d" "$R/var/lib/apt/lists" "$R/var/cache/apt" "$R/var/log"
mkdir -p "$R/var/lib/apt/lists" "$R/var/log"
printf 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\nID=debian\n' > "$R/etc/os-release"
printf '127.0.0.1 localhost\n' > "$R/etc/hosts"
chroot "$R" /sbin/ldconfig
