#!/bin/sh
# What the kernel runs. An initramfs cannot be pivoted away from, which is what
# OCI runtimes do, so everything moves to a tmpfs before anything else happens.
set -e
mkdir /new
mount -t tmpfs -o mode=755,size=1g root /new
for entry in /*; do
	case $entry in /new | /init | /dev | /proc | /sys) ;; *) cp -a "$entry" /new ;; esac
done
mkdir /new/dev /new/proc /new/sys
exec switch_root /new /second
