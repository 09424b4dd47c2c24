#!/bin/sh
# Checks the queue's model with SPIN (packages spin and gcc), in a scratch directory:
#
#   check.sh MODEL -DPRODUCERS=2 -DITEMS=3 ...
#
# Exits with 0 only if the whole state space was searched and nothing was found.
set -eu
model=$(realpath "$1")
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
spin "$@" -a "$model"
${CC:-cc} -O2 -w -DSAFETY -DNOFAIR -DVECTORSZ=2048 -DMEMLIM=3000 -o pan pan.c
./pan -m100000 -w24 | tee report
grep -q 'errors: 0' report
! grep -qE 'Search not completed|max search depth too small|out of memory' report
