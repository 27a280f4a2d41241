# Makes the root file system of a Debian to which users log in, in directory $1. $0 names it: debian-12-sessions or
# debian-13-sessions. Runs as root, under `sh -eu`.
out=$1
export TMPDIR="$out"
case $0 in
debian-12-*) release=bookworm ;;
debian-13-*) release=trixie ;;
esac

mmdebstrap --quiet --variant=minbase --include=systemd-sysv,dbus-user-session,libpam-systemd,udev,iproute2 \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --customize-hook='rm -f "$1/etc/machine-id" && : >"$1/etc/machine-id"' \
    --customize-hook='echo debian >"$1/etc/hostname"' \
    --customize-hook='rm -f "$1/etc/resolv.conf" && : >"$1/etc/resolv.conf"' \
    --customize-hook='chroot "$1" useradd --create-home --shell /bin/bash eve' \
    --customize-hook='printf "[Match]\nName=eth0\n\n[Network]\nDHCP=ipv4\n" >"$1/etc/systemd/network/eth0.network"' \
    --customize-hook='chroot "$1" systemctl --quiet enable systemd-networkd.service' \
    "$release" "$out/$0.tar"
zstd --quiet --rm "$out/$0.tar"
