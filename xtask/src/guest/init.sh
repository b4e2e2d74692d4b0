#!/busybox sh
# Pid 1 of the guest: makes a root that pivot_root works on, mounts what a Debian host has, runs the suites, and
# writes the verdict to QEMU's debug port: 16 for success.
busybox=/busybox

verdict() {
  /verdict "$1"
  $busybox poweroff -f # Only reached when the verdict could not be written; QEMU then exits with 0, a failure.
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
  $busybox insmod /modules/$module.ko || { echo "guest: no module $module"; verdict 1; }
done
$busybox ip link set lo up
# A data directory on ext4, as a host has it.
$busybox truncate -s 1200M /tmp/disk
mkfs.ext4 -q -F /tmp/disk && $busybox mount -o loop -t ext4 /tmp/disk /data || verdict 1
export PATH=/usr/bin:/usr/sbin HOME=/ TMPDIR=/data CI=true LAMPLIGHT_GUEST=1

echo "guest: kernel $($busybox uname -r), $($busybox cat /sys/fs/cgroup/cgroup.controllers)"
if /tests/contract; then verdict 16; else verdict 1; fi
