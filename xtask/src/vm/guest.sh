# Process 1 of the guest, on the host's files: sets up what a booted machine has,
# and does the job that job.sh describes. What is said here, and by the job, goes to
# the second serial port. What follows the token says how far it is; the host ends
# the machine.
stty -F /dev/ttyS1 raw -echo
exec </dev/null >/dev/ttyS1 2>&1
. /run/guest/job.sh # TOKEN FOLDER KERNEL_MODULES LOAD, and the function job

tell() { printf '%s %s\n' "$TOKEN" "$*"; }

# step NUMBER COMMAND…
step() {
    local number=$1
    shift
    tell begin "$number"
    "$@"
    tell end "$number" "$?"
}

# Modules come from the kernel's package; not from the host, which runs another.
load_modules() {
    local module failed=0
    for module in $LOAD; do
        modprobe "$module" || failed=1
    done
    return $failed
}

release=$(uname -r)
tell up "$(cut -d' ' -f1 /proc/uptime)" "$release"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Emulated, everything takes longer, also what a test waits for.
export FLOWGATE_SLOWNESS=5
export HOME=/root TERM=dumb LC_ALL=C.UTF-8 TMPDIR=/run/tmp
mkdir -m 1777 "$TMPDIR"
mkdir -p "/lib/modules/$release" /dev/pts /dev/shm
mount --bind "$KERNEL_MODULES" "/lib/modules/$release"
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs trace /sys/kernel/tracing
ip link set lo up
cd "$FOLDER"
job
tell done
# Only the host knows when the last byte has left the serial port.
exec sleep infinity
