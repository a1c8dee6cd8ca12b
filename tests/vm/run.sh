#!/bin/sh
# Runs the cases of tests/kernels inside a virtual machine that has the bundle; see README.md beside this.
set -eu
mkdir -p /opt/ig-cases
tar -C /opt/ig-cases -xf /tmp/vm-bundle.tar
cd /opt/ig-cases
# The cases look for the program where it was built.
place=$(cat place)
mkdir -p "$(dirname "$place")"
cp ig "$place"
cp traced "$(cat traced-place)"
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
export IG_TEST_IMAGES=/opt/ig-cases/images.tar
IG_TEST_CATALOGUE=$(cat catalogue)
export IG_TEST_CATALOGUE
# What a distribution's kernel was built or locked down without is said in the table; it is no failure here.
exec ./cases --skip vm:: --skip arm64:: --test-threads=1 --nocapture
