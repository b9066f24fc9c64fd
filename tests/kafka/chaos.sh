#!/usr/bin/env bash
# The chaos suite on a real Apache Kafka: starts one, injects the faults, prints what came of it as a table, stops it.
#
#   chaos.sh [short | full] [SCENARIO...]     short, the default, takes minutes; full takes 18 for at least once, 30 for exactly once
#
# A scenario is a file of tests/kafka/chaos, such as kills, or one of its tests. Needs what broker.sh needs, cc and libfaketime
# for the clock, and root for the full disk; what cannot run here says so and is left out.
#
#   CHAOS_SEED       repeats the random moments of a run that printed it
#   CHAOS_MODES      at_least_once, exactly_once or both with a comma between
#   E2E_KEEP         a folder for the logs of the processes
set -euo pipefail
cd "$(dirname "$0")/../.."

form=short
case "${1:-}" in
    short | full) form=$1; shift ;;
    -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;;
esac
filters=("${@/#/chaos::}")
[ $# = 0 ] && filters=(chaos::)

KAFKA_DIR=$(mktemp -d)
export KAFKA_DIR CHAOS=$form CHAOS_TABLE=$KAFKA_DIR/table
finish() {
    local code=$?
    trap '' INT TERM
    if [ -s "$CHAOS_TABLE" ]; then
        # Markdown, as in docs/guarantees.md; the modes of a fault together.
        sort -s -t '|' -k 2,3 "$CHAOS_TABLE" | awk -F ' [|] ' 'BEGIN {
            print "\n| fault | mode | alerts | missing | repeated | out of order | altered | committed too early | |"
            print "|---|---|---|---|---|---|---|---|---|"
        } {
            split($0, field)
            for (at = 4; at <= 11; at++) sub(/ .*/, "", field[at])
            printf "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", field[2], field[3], field[4], field[7], field[8],
                field[9], field[10], field[11], field[12]
        }'
    fi
    tests/kafka/broker.sh stop || true
    rm -rf "$KAFKA_DIR"
    exit $code
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cargo build --release --locked --test kafka --bins
tests/kafka/broker.sh start
eval "$(tests/kafka/broker.sh env)"
cargo test --release --locked --test kafka -- --test-threads=1 --nocapture "${filters[@]}"
