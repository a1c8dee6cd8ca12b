#!/bin/sh
# Counts the instructions that an event costs in each stage of the pipeline: benches/stages.sh [RECORDING]…
# Needs valgrind. The difference of two runs of different length leaves out what only happens once. FEW and MANY are rounded up to whole
# passes over a recording, and must not be rounded to the same number.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- benches/recordings/trace_open.igrec benches/recordings/trace_exec.igrec
: "${FEW:=1}" "${MANY:=32000}"

# As a release, so that nothing but the bench is compiled anew, but with the names of functions, for who wants to see them.
bench=${BENCH:-$(cargo rustc --release --bench pipeline --message-format=json -- -C strip=none |
    sed -n 's/.*"executable":"\([^"]*pipeline-[^"]*\)".*/\1/p')}

# Prints how many events a run had, and how many instructions it took.
count() {
    out=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bench" --stage "$1" --events "$2" "$3" 2>&1)
    events=$(echo "$out" | sed -n 's/.* \([0-9]*\) events$/\1/p')
    instructions=$(echo "$out" | sed -n 's/.*Collected : \([0-9]*\).*/\1/p')
    echo "$events $instructions"
}

printf '%-12s %-8s %12s\n' recording stage instructions
for recording in "$@"; do
    name=$(basename "$recording" .igrec)
    for stage in ${STAGES:-decode select reject enrich format columns json}; do
        few=$(count "$stage" "$FEW" "$recording")
        many=$(count "$stage" "$MANY" "$recording")
        echo "$few $many" | awk -v name="$name" -v stage="$stage" \
            '{ printf "%-12s %-8s %12.0f\n", name, stage, ($4 - $2) / ($3 - $1) }'
    done
done
