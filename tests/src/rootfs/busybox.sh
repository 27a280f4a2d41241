# Makes the busybox root file system in directory $1. Runs as root, under `sh -eu`.
out=$1
root=$out/busybox
umask 022

mkdir -p "$root"
for directory in bin sbin etc proc sys dev run home mnt var root tmp srv usr/bin usr/sbin; do
    mkdir -p "$root/$directory"
done
chmod 700 "$root/root"
chmod 1777 "$root/tmp"

cp "$(command -v busybox)" "$root/bin/busybox"
chmod 755 "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
ln -s ../bin/busybox "$root/sbin/init"

echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'ana:x:1000:1000:ana:/home/ana:/bin/sh' >>"$root/etc/passwd"
printf 'root:x:0:\nana:x:1000:\n' >"$root/etc/group"
echo 127.0.0.1 localhost >"$root/etc/hosts"
# A shell on the console and on the first terminal; nothing else runs.
printf '::sysinit:/bin/true\nconsole::respawn:/bin/sh\ntty1::respawn:/bin/sh\n' >"$root/etc/inittab"

# One file for each property that unpacking must keep.
kept=$root/srv/kept
mkdir "$kept"
echo text >"$kept/plain"
chmod 640 "$kept/plain"
chown 1000:1000 "$kept/plain"
ln "$kept/plain" "$kept/hard-link"
ln -s plain "$kept/soft-link"
cp "$kept/plain" "$kept/setuid"
chown 0:1000 "$kept/setuid"
chmod 4750 "$kept/setuid"
cp "$root/bin/busybox" "$kept/capable"
setcap cap_net_raw+ep "$kept/capable"
setfattr -n user.note -v kept "$kept/plain"
mkfifo "$kept/fifo"
mkdir -m 2775 "$kept/directory"
chown 1000:1000 "$kept/directory"
chmod 2775 "$kept/directory"
truncate -s 1M "$kept/sparse"
long=a-name-that-does-not-fit-into-the-hundred-bytes-which-the-oldest-header-of-a-tar-archive-has-for-it
mkdir "$kept/$long"
echo long >"$kept/$long/$long"
touch -d @1000000000 "$kept/plain" "$kept/directory"

archive=$out/busybox.tar
tar --create --file "$archive" --directory "$root" --numeric-owner --format=posix --xattrs --xattrs-include='*' .
gzip --keep "$archive"
xz --keep -1 "$archive"
zstd --quiet --keep "$archive"
rm -r "$root"

# What lxc-create -t local wants besides. busybox takes SIGUSR1 for halt and SIGTERM for reboot.
cat >"$out/config" <<END
lxc.signal.halt = SIGUSR1
lxc.signal.reboot = SIGTERM
lxc.tty.max = 1
lxc.pty.max = 1024
lxc.mount.auto = cgroup:mixed proc:mixed sys:mixed
END
tar --create --xz --file "$out/busybox-meta.tar.xz" --directory "$out" config
rm "$out/config"
