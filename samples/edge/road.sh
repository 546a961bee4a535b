#!/bin/sh
# The road to two cameras and back, without an AWS account and without a camera: train, deploy to a thing group,
# see on a lamp what the cameras say over MQTT, deploy a version that crashes on start, and have the last good one back.
#
#   sh samples/edge/road.sh [FOLDER]
#
# Everything it makes is kept in FOLDER (by default ./road). BROKER is the address of an MQTT broker that runs,
# such as mqtt://192.168.1.5; without it mosquitto is started on port 1883. Against AWS, leave out what begins
# with `gtlabel local`, and name a bucket, a team, a role and a thing group of yours.
set -eu
samples=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:-road}"
cd "${1:-road}"

broker='' which_bin=''
leave() {
  { set +x; } 2> /dev/null
  kill $which_bin $broker || true
  for thing in kitchen garage; do gtlabel local device $thing --stop || true; done
  gtlabel local down --state state
}
if [ -z "${BROKER:-}" ]; then
  BROKER=mqtt://127.0.0.1:1883
  mosquitto -p 1883 > mosquitto.log 2>&1 &
  broker=$!
fi
gtlabel local up --port 0 --state state --bucket trash-sorter --detach
trap leave EXIT
# A shell that is told to end, or whose reader went away, leaves as well.
trap 'exit 1' HUP INT PIPE TERM
eval "$(gtlabel local env --state state)"
python3 "$samples/which_bin/which_bin.py" --broker "$BROKER" --seconds 0.02 >> lamp.txt &
which_bin=$!
# The first that the lamp showed of each camera since it was looked at last.
lamp() {
  { set +x; } 2> /dev/null
  for _ in $(seq 300); do
    grep -q kitchen lamp.txt && grep -q garage lamp.txt && break
    sleep 0.1
  done
  grep -m 1 kitchen lamp.txt
  grep -m 1 garage lamp.txt
  : > lamp.txt
  set -x
}
PS4='$ '
exec 2>&1
set -x

: A dataset. One simulated worker labels ninety photographs.
gtlabel label s3://trash-sorter/trash/ --upload "$samples/trash/images" --sample 90 \
  --classes Compost,Landfill,Recycle --workers 1 --name trash
gtlabel local answer trash --workers 1 --accuracy 1 --truth "$samples/trash/truth.jsonl" --seed 7
gtlabel jobs wait trash --poll 0.2
gtlabel consolidate trash --into s3://trash-sorter/bins/ --resize 32

: Train.
gtlabel train s3://trash-sorter/bins/ --name bins --set image_shape=3,32,32 --set epochs=1 --wait --poll 0.2

: Two cameras in a thing group, one on each kind of nucleus.
gtlabel local device kitchen --group cameras --broker "$BROKER" --detach
gtlabel local device garage --group cameras --broker "$BROKER" --runtime classic --detach

: Deploy, and see what runs.
gtlabel deploy bins --to thinggroup/cameras --set "folder=$samples/trash/held-out" --yes --poll 0.2
gtlabel deploy status --to thinggroup/cameras

: What the cameras say over MQTT, on the lamp.
lamp

: A version that crashes on start. Another bundle, and somebody names a program that is no Python.
gtlabel deploy bins --to thinggroup/cameras --set "folder=$samples/trash/held-out" --set python=true \
  --no-int8 --version 1.1.0 --abort-after 100 --yes --poll 0.2 || echo "exit code $?"

: The last good version is back, and the cameras speak again.
gtlabel deploy status --to thinggroup/cameras
gtlabel deploy list --to thinggroup/cameras
lamp
