# Makes the Debian 12 root file system in directory $1. Runs as root, under `sh -eu`.
out=$1
export TMPDIR="$out"
archive=$out/debian-12.tar

mmdebstrap --quiet --variant=minbase --include=systemd-sysv,dbus \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --customize-hook='rm -f "$1/etc/machine-id" && : >"$1/etc/machine-id"' \
    --customize-hook='echo debian >"$1/etc/hostname"' \
    --customize-hook='rm -f "$1/etc/resolv.conf" && : >"$1/etc/resolv.conf"' \
    bookworm "$archive"
xz --keep -1 -T0 "$archive"
zstd --quiet --rm "$archive"

cat >"$out/config" <<END
lxc.signal.halt = SIGRTMIN+3
lxc.tty.max = 1
lxc.pty.max = 1024
lxc.mount.auto = cgroup:mixed proc:mixed sys:mixed
END
# The real template unpacks with tar, which may not make device nodes.
for node in console full null ptmx random tty urandom zero; do echo "./dev/$node"; done >"$out/excludes-user"
tar --create --xz --file "$out/debian-12-meta.tar.xz" --directory "$out" config excludes-user
rm "$out/config" "$out/excludes-user"
