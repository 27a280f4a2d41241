# Makes the guest of the virtual machine in directory $1: disk, kernel and initrd. $2 is the directory of this script.
# Runs as root, under `sh -eu`.
out=$1
from=$2
export TMPDIR="$out"
root=$out/root

mmdebstrap --quiet --mode=root --variant=minbase --format=directory \
    --include=systemd-sysv,udev,kmod,dbus-user-session,libpam-systemd,uidmap,iproute2,nftables,apparmor,lxc,lxcfs,busybox-static \
    --include=btrfs-progs,dnsmasq-base,passt,fuse3,strace,libcap2-bin,attr,e2fsprogs,procps,zstd,xz-utils,openssh-server,openssh-client,cron \
    --include=docker.io,docker-cli,podman,crun \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --customize-hook='kernel=$(APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-cache depends linux-image-amd64 | sed -n "s/.*Depends: \(linux-image-[0-9].*\)/\1/p" | head -n1); cd "$1/.." && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --quiet download "$kernel"' \
    trixie "$root"

dpkg-deb --extract "$out"/linux-image-*.deb "$out/kernel"
rm "$out"/linux-image-*.deb
mv "$out"/kernel/boot/vmlinuz-* "$out/vmlinuz"
modules=$(echo "$out"/kernel/usr/lib/modules/* "$out"/kernel/lib/modules/*)
for directory in $modules; do [ -d "$directory" ] && modules=$directory; done
version=${modules##*/}

# What no test of containers loads: devices that the machine does not have, and file systems of others.
for part in drivers/gpu drivers/media drivers/infiniband drivers/scsi drivers/usb drivers/staging drivers/iio \
    drivers/hid drivers/input drivers/net/ethernet drivers/net/wireless drivers/mmc drivers/mtd drivers/hwmon sound \
    net/bluetooth net/mac80211 net/wireless fs/ocfs2 fs/nfs fs/nfsd fs/ceph fs/smb drivers/ata; do
    rm -rf "$modules/kernel/$part"
done
mkdir -p "$root/usr/lib/modules"
mv "$modules" "$root/usr/lib/modules/$version"
depmod -b "$root" "$version"

# The initrd: busybox, and the modules on the way to the disk.
initrd=$out/initrd.d
mkdir -p "$initrd/bin" "$initrd/dev" "$initrd/proc" "$initrd/root" "$initrd/modules"
cp "$(command -v busybox)" "$initrd/bin/busybox"
: >"$initrd/modules/order"
for module in virtio_pci virtio_blk ext4; do
    modprobe --dirname "$root" --set-version "$version" --show-depends "$module" | while read -r word path _; do
        [ "$word" = insmod ] || continue
        name=$(basename "$path" .xz)
        [ -e "$initrd/modules/$name" ] && continue
        case $path in *.xz) xz -dc "$path" >"$initrd/modules/$name" ;; *) cp "$path" "$initrd/modules/$name" ;; esac
        echo "$name" >>"$initrd/modules/order"
    done
done
cp "$from/initrd" "$initrd/init"
chmod 0755 "$initrd/init"
(cd "$initrd" && find . | cpio --quiet --create --format=newc | zstd --quiet >"$out/initrd")

# The system: users, the agent, and nothing that works by the clock.
echo guest >"$root/etc/hostname"
printf '127.0.0.1 localhost guest\n' >"$root/etc/hosts"
: >"$root/etc/machine-id"
echo '/dev/vda / ext4 defaults,noatime 0 1' >"$root/etc/fstab"
for user in ana ben; do
    chroot "$root" useradd --create-home --shell /bin/bash "$user"
    chroot "$root" chpasswd -e <<END
$user:*
END
done
mkdir -p "$root/var/lib/systemd/linger" "$root/mnt/share"
: >"$root/var/lib/systemd/linger/ana"
# Ana's systemd has every controller delegated to it, ben's those of Debian's own default.
mkdir -p "$root/etc/systemd/system/user@1000.service.d"
printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >"$root/etc/systemd/system/user@1000.service.d/delegate.conf"
printf '%s\n' 9p 9pnet_virtio overlay veth bridge fuse tun virtio_console loop >"$root/etc/modules-load.d/guest.conf"
install -m 0755 "$from/agent" "$root/usr/local/sbin/agent"
install -m 0644 "$from/agent.service" "$root/etc/systemd/system/agent.service"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../agent.service "$root/etc/systemd/system/multi-user.target.wants/agent.service"
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-tmpfiles-clean.timer getty@tty1.service serial-getty@ttyS0.service systemd-hwdb-update.service \
    systemd-pcrphase.service systemd-timesyncd.service lxc-net.service lxc.service lxc-monitord.service lxcfs.service \
    systemd-networkd-wait-online.service cron.service ssh.service docker.service docker.socket containerd.service \
    podman.service podman.socket podman-restart.service podman-auto-update.timer podman-clean-transient.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

mkfs.ext4 -q -F -d "$root" -E lazy_itable_init=0,root_owner=0:0 "$out/disk" 2500M
rm -rf "$root" "$out/kernel" "$initrd"
