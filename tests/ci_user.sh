#!/usr/bin/env bash
# What somebody would write to keep sharp minima out of their main branch, from the first scan to the pipes.
# usage: ci_user.sh DIR [SEEDS]      DIR as scripts/flat_and_sharp.py writes it
set -euo pipefail
cd "$1"
seeds=${2:-2}

# a command that must end with this code
expect() {
    local code=0 wanted=$1
    shift
    "$@" || code=$?
    [ "$code" -eq "$wanted" ] || { echo "exit code $code in place of $wanted: $*" >&2; exit 9; }
}

cat > policy.toml <<'TOML'
[[rules]]
metric = "hessian.top"
max = 3
max_increase = "100%"
reason = "sharper than what is deployed"
TOML

echo "--- two checkpoints, one limit"
for net in flat sharp; do
    landscape scan job.toml -q --checkpoint $net.pt -o $net.h5
done
landscape gate flat.h5 --max hessian.top=3 --format text --format junit=flat.xml --force
expect 1 landscape gate sharp.h5 --max hessian.top=3 --format text --format junit=sharp.xml --force

echo "--- a baseline that is small enough to commit"
landscape report flat.h5 --format json --section hessian > baseline.json
[ "$(wc -c < baseline.json)" -lt 65536 ]
landscape gate flat.h5 --baseline baseline.json --policy policy.toml
expect 1 landscape gate sharp.h5 --baseline baseline.json --policy policy.toml

echo "--- pipes"
landscape report flat.h5 --format json | landscape gate - --max hessian.top=3
expect 1 landscape gate - --max hessian.top=3 < <(landscape report sharp.h5 --format json)
expect 1 landscape gate flat.h5 sharp.h5 --max hessian.top=3 --format ndjson > outcomes.ndjson
python - <<'PYTHON'
import json
outcomes = [json.loads(line) for line in open("outcomes.ndjson")]
print("failed:", *[each["file"] for each in outcomes if each["outcome"] == "fail"])
PYTHON
if command -v jq > /dev/null; then
    [ "$(jq -r 'select(.outcome == "fail") | .file' outcomes.ndjson)" = sharp.h5 ]
    landscape report flat.h5 sharp.h5 --format ndjson | jq -r '[.file, .hessian.top[0].value] | @tsv'
fi
expect 1 landscape compare flat.h5 sharp.h5 --metric hessian.top --exit-code

echo "--- measured, reported and judged in one call"
expect 1 landscape scan job.toml -q --checkpoint sharp.pt -o sharp.h5 --report --gate policy.toml --baseline baseline.json

echo "--- other samples, other starts: $seeds seeds"
printf '[[rules]]\nmetric = "hessian.top"\nmax = 3\n' > limit.toml
: > seeds.log
for net in flat sharp; do
    count=(0 0 0 0)
    for seed in $(seq "$seeds"); do
        code=0
        landscape scan job.toml -q --checkpoint $net.pt --set hessian.seed="$seed" --set hessian.samples=600 \
            -o $net-"$seed".h5 --gate limit.toml >> seeds.log || code=$?
        [[ $code == [013] ]] || exit "$code"
        count[code]=$((count[code] + 1))
    done
    echo "$net: passed ${count[0]}, failed ${count[1]}, inconclusive ${count[3]}"
done
