#!/bin-busybox sh
# Pid 1 of the guest: makes a root that pivot_root works on, mounts what a Debian host has, runs the suites, and
# writes the verdict to QEMU's debug port: 0x10 for success.
busybox=/bin-busybox

verdict() {
  $busybox sleep 1 # Lets the serial line drain.
  printf "\\$1" | $busybox dd of=/dev/port bs=1 seek=244 count=1 2>/dev/null
  $busybox poweroff -f
}

if [ "$1" != inside ]; then
  # The initramfs root cannot be pivoted away from, a bind of it can.
  $busybox mount -o bind / /newroot
  cd /newroot
  $busybox mount --move . /
  exec $busybox chroot . $busybox sh /init inside
fi

$busybox mount -t devtmpfs dev /dev
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sys /sys
$busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup
$busybox mount -t tmpfs -o size=1500m tmp /tmp
exec 0</dev/console >/dev/console 2>&1
for module in $($busybox cat /modules/order); do
  $busybox insmod /modules/$module.ko || { echo "guest: no module $module"; verdict 001; }
done
$busybox ip link set lo up
# A data directory on ext4, as a host has it.
$busybox truncate -s 1200m /tmp/disk
mkfs.ext4 -q -F /tmp/disk && $busybox mount -o loop -t ext4 /tmp/disk /data || verdict 001
export PATH=/usr/bin:/usr/sbin HOME=/ TMPDIR=/data CI=true LAMPLIGHT_GUEST=1

echo "guest: kernel $($busybox uname -r), $($busybox cat /sys/fs/cgroup/cgroup.controllers)"
if /tests/contract; then verdict 020; else verdict 001; fi
