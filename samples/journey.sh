#!/bin/sh
# The whole journey in single commands, on the pictures of samples/trash and without an AWS account.
#
#   sh samples/journey.sh [FOLDER]
#
# Everything it makes is kept in FOLDER (by default ./journey). Against AWS, leave out the three commands
# that begin with `gtlabel local`, and name a bucket, a team and a role of yours.
set -eu
samples=$(cd "$(dirname "$0")" && pwd)
folder=${1:-journey}
mkdir -p "$folder"

# An account on this machine, with a bucket, a team of workers and a role.
gtlabel local up --port 0 --state "$folder/state" --bucket trash-sorter --detach
trap 'gtlabel local down --state "$folder/state"' EXIT
eval "$(gtlabel local env --state "$folder/state")"

# Label: five simulated people, three for each picture.
gtlabel label s3://trash-sorter/trash/ --upload "$samples/trash/images" \
  --classes Compost,Landfill,Recycle --name trash-bins
gtlabel local answer trash-bins --workers 5 --accuracy 0.85 --truth "$samples/trash/truth.jsonl" --seed 7
gtlabel jobs wait trash-bins --poll 0.2 --timeout 60

# Consolidate: class folders and two channels.
gtlabel consolidate trash-bins --into s3://trash-sorter/bins/

# Train: pipe mode, on pictures of 64x64.
gtlabel train s3://trash-sorter/bins/ --name trash-bins --set image_shape=3,64,64 --set epochs=1 \
  --wait --poll 0.2

# Deploy: a camera that sees the pictures nobody has labeled.
gtlabel local device kitchen-camera --root "$folder/device" --once --detach
gtlabel deploy trash-bins --to kitchen-camera --set "folder=$samples/trash/held-out" --set watch=no \
  --yes --poll 0.2
gtlabel local results --root "$folder/device" > "$folder/predictions.jsonl"
wc -l "$folder/predictions.jsonl"
