#!/bin/sh
# The demo's main job on an emulated ARM board, under both TFLite runtimes: demo_emulated.sh RECIPES
# The board is made when it is not there, and is off again at the end. Everything lies in demo/, the image in the cache.
set -eu
edgepress=.venv/bin/edgepress
export EDGEPRESS_DB=demo/edgepress.db EDGEPRESS_DEVICES=demo/devices.toml EDGEPRESS_MACHINES=demo/machines

$edgepress emulator status emulated >/dev/null 2>&1 || $edgepress emulator create emulated
trap '$edgepress emulator stop emulated' EXIT
trap 'exit 130' INT TERM
$edgepress emulator start emulated
# Times mean nothing here, and an emulated inference takes a thousand times longer than a real one: few of them.
$edgepress run demo/digits.keras --data demo/digits.npz --recipe "$1" --device emulated \
    --runtime ai-edge-litert,tflite-runtime --plan glance --samples 50 --cache demo/cache
