#!/bin/busybox sh
# Process 1 of the guest, in the initramfs: finds the host's files, and goes there.
# Whatever fails ends the machine; the host shows what the console said last.
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
give_up() {
    echo "the guest gives up: $*" >/dev/console
    $B poweroff -f
}
while read -r module; do
    $B insmod "/modules/$module" || give_up "the module $module can't be loaded"
done </modules/order
options=trans=virtio,version=9p2000.L,msize=512000,cache=loose
$B mount -t 9p -o "ro,$options" host /lower || give_up "the host's files can't be mounted"
$B mount -t tmpfs upper /upper && $B mkdir /upper/files /upper/work
$B mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work root /root ||
    give_up "the host's files can't be made writable"
$B mount -t tmpfs -o mode=755 run /root/run && $B cp -r /guest /root/run/guest
for folder in proc sys dev; do
    $B mount --move "/$folder" "/root/$folder"
done
exec $B switch_root /root /bin/bash /run/guest/main.sh
