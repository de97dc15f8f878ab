#!/bin/sh
# The machine's process 1: what systemd does on a node, as far as the tests notice,
# then the suites one after the other, then power off. What the host reads is
# written to the second serial line, and transcript.go knows its marks.
export PATH=/bin HOME=/root

mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs dev /dev
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mkdir /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t tmpfs -o nosuid,nodev,mode=755 run /run
# Tests make root filesystems in it, with devices.
mount -t tmpfs -o nosuid,mode=1777 tmp /tmp
# Containers' mounts must not be seen by other namespaces by chance, and shims and
# runtimes have to make their own private where they need it: as systemd has it.
mount --make-rshared /

mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
mkdir /sys/fs/cgroup/init.scope
echo $$ >/sys/fs/cgroup/init.scope/cgroup.procs
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
	echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done

for module in /modules/*; do insmod "$module"; done
ip link set lo up
hostname machine

line=/dev/ttyS1
stty -F $line raw -echo

# What no suite may leave behind.
left() { find /sys/fs/cgroup -mindepth 1 -type d ! -path /sys/fs/cgroup/init.scope; }

# suite NAME DIRECTORY COMMAND...
suite() {
	printf '@@ suite %s\n' "$1" >$line
	cd "$2"
	shift 2
	"$@" </dev/null >$line 2>&1
	printf '\n@@ status %s\n' $? >$line
	left | sed 's/^/@@ left cgroup /' >$line
	cd /
}

printf '@@ machine Linux %s, controllers %s\n' "$(uname -r)" "$(cat /sys/fs/cgroup/cgroup.subtree_control)" >$line
. /suites
printf '@@ end\n' >$line
# The line is slower than the power switch.
stty -F $line sane
poweroff -f
