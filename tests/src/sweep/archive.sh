# Makes the archive $1 of a small root file system. Runs as root, under `sh -eu`.
root=$1.tree
umask 022
mkdir -p "$root/bin" "$root/sbin" "$root/etc" "$root/proc" "$root/sys" "$root/dev" "$root/root" "$root/run"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in sh true sleep cat; do ln -s busybox "$root/bin/$applet"; done
# Halts at once when it is asked to: busybox's own init sleeps for seconds first.
printf '#!/bin/sh\ntrap "exit 0" PWR\nwhile :; do sleep 1000 & wait; done\n' >"$root/sbin/init"
chmod 755 "$root/sbin/init"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
echo small >"$root/etc/hostname"
# One file of each kind that is unpacked in a way of its own.
echo text >"$root/root/file"
ln "$root/root/file" "$root/root/hard-link"
chmod 4750 "$root/root/file"
chown 0:1000 "$root/root/file"
setfattr -n user.note -v kept "$root/root/file"
mkfifo "$root/root/fifo"
truncate -s 1M "$root/root/sparse"
tar --create --file "$1.tar" --directory "$root" --numeric-owner --format=posix --xattrs --xattrs-include='user.*' .
zstd --quiet --force -o "$1" "$1.tar"
rm -r "$root" "$1.tar"
chmod 644 "$1"
