#!/bin/sh
# Labels of a Ground Truth job of 2019, made anew from the answers it left. Asks nobody, needs no account.
#
#   sh samples/quality/again.sh [FOLDER]
#
# What it makes is kept in FOLDER (by default ./again).
set -eu
job=$(cd "$(dirname "$0")" && pwd)/birds
mkdir -p "${1:-again}"
cd "${1:-again}"
cp -R "$job" .
exec 2>&1
set -x

: What AWS itself would say, by its published method, and what auto says
gtlabel quality reconsolidate birds --method aws
gtlabel quality reconsolidate birds

: Other methods, and the pictures they would label otherwise
gtlabel quality reconsolidate birds --method dawid-skene
gtlabel quality reconsolidate birds --method glad

: The busiest worker left out, and the new labels as a manifest and as a table
gtlabel quality reconsolidate birds --without HYFIBQEMR2HOJXWXD2I4NOQFAI --into better.manifest
head -n 1 better.manifest
gtlabel quality reconsolidate birds --into labels.csv > printed.txt
head -n 3 labels.csv

: How far the workers agree, who they are, and all methods side by side
gtlabel quality report birds --report report.html
