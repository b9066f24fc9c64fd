#!/usr/bin/env bash
# The rules of the house that the compiler and clippy cannot check: house.sh [DIR]
#
# Works on the code as text: comments, blank lines and test modules are left out first. Prints one line per breach,
# with the reason for the rule.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"

readonly MAX_LINES=500
code=$(mktemp)
trap 'rm -f "$code"' EXIT
breaches=0

breach() {
    echo "$1" >&2
    breaches=$((breaches + 1))
}

is_test() { [[ $1 =~ (^|/)(tests|[a-z_]+_tests)(\.rs|/) ]]; }

mapfile -t sources < <(find src -name '*.rs' | sort)
mapfile -t all < <(find src tests benches fuzz -name '*.rs' -not -path '*/target/*' 2>/dev/null | sort)

# PATH:LINE:TEXT of each line of code. A test module in the file ends its code; one in a file of its own is a line.
for file in "${sources[@]}"; do
    is_test "$file" || awk -v file="$file" '
        held != "" && /^[[:space:]]*(#\[|\/\/|$)/ { next }
        held != "" { if ($0 ~ /^[[:space:]]*(pub(\([a-z]+\))? )?mod [a-z_0-9]+ *\{/) exit; held = "" }
        /^[[:space:]]*#\[cfg\(test\)\]/ { held = $0; next }
        /^[[:space:]]*(\/\/|$)/ { next }
        { print file ":" FNR ":" $0 }' "$file"
done >"$code"

# Lines of code that match, outside the places where they may: nowhere_but PLACES PATTERN WHY
# PLACES are modules, as an alternation of paths below src without ".rs".
nowhere_but() {
    local hit
    while IFS= read -r hit; do
        breach "$hit  <- $3"
    done < <(grep -P "^[^:]+:[0-9]+:.*(?:$2)" "$code" | grep -vP "^src/(?:$1)(?:/|\.rs:)" || true)
}

# Lines of code that match, inside places where they must not: nowhere_in PLACES PATTERN WHY
nowhere_in() {
    local hit
    while IFS= read -r hit; do
        breach "$hit  <- $3"
    done < <(grep -P "^src/(?:$1)(?:/[^:]*|\.rs):[0-9]+:.*(?:$2)" "$code" || true)
}

# Use of a crate, in a path or an import; not its name in a string.
uses() { echo "(?<![\\w\"])$1(?:::|;|\\s+as\\s)"; }

nowhere_but 'source|sink|commit/committer|simulator|cli' "$(uses rdkafka)" \
    "rdkafka is for source, sink, commit::committer, simulator and cli: the rest must not know Kafka's client"
nowhere_but 'http' "$(uses reqwest)" \
    "reqwest is for http.rs: one client, so that limits, redirects and TLS are decided once"
nowhere_but 'metrics|admin' "$(uses prometheus)" \
    "prometheus is for metrics and admin: every metric stands in one place"
nowhere_but 'main|cli|app' "$(uses anyhow)" \
    "anyhow is for main, cli and app: elsewhere errors are closed kinds"
nowhere_but 'config' '\benv::vars?(?:_os)?\b' \
    "the environment is read in config only: what can be set must be found in one place"

pure='entity|score|compose|alert|commit/ledger|commit/policy|provider/[a-z_]+/normalise|provider/snapshot/(?:walk|table)|sink/flood'
pure+='|source/(?:late|share|order)|cli/dlq/(?:letter|filter|destination|marker|pace)'
nowhere_in "$pure" '\basync\b|\.await\b|\btokio::' "a pure module has no async"
nowhere_in "$pure" '\b(?:Instant|SystemTime|Timestamp|Zoned)::now\b' "a pure module has no clock: now is passed in"
nowhere_in "$pure" '\b(?:std|core)::(?:fs|process|env|thread)\b|\bFile::(?:open|create|options)|\b(?:TcpStream|TcpListener|UdpSocket|ToSocketAddrs)\b' \
    "a pure module does no I/O"

# A vendor's folder is one that normalises; others hold the tests of a file beside them.
mapfile -t vendors < <(find src/provider -mindepth 2 -maxdepth 2 -name normalise.rs -printf '%h\n' 2>/dev/null | xargs -rn1 basename | sort)
for vendor in ${vendors[@]+"${vendors[@]}"}; do
    others=$(printf '%s\n' "${vendors[@]}" | grep -vx "$vendor" | paste -sd'|' || true)
    [ -z "$others" ] || nowhere_in "provider/$vendor" "\\b(?:provider|super)::\\{?[^;]*\\b(?:$others)(?:::|;|,|\\})" \
        "vendors never import each other: what two share belongs beside them"
done

for file in "${all[@]}"; do
    [ "$(head -c 3 "$file")" = '//!' ] ||
        breach "$file:1: <- a file opens with //! saying what it owns, its contract, and what it never does"
done

while read -r lines file; do
    [ "$lines" -le $MAX_LINES ] || breach "$file: $lines lines of code <- at most $MAX_LINES: split it by what it owns"
done < <(cut -d: -f1 "$code" | uniq -c)

for file in "${all[@]}"; do
    while IFS= read -r hit; do
        breach "$file:$hit <- do it, or write an issue; the code says what is"
    done < <(grep -nE '\b(TODO|FIXME)\b' "$file" || true)
done

[ "$breaches" = 0 ] || { echo "$breaches breaches of the rules of the house" >&2; exit 1; }
echo "${#sources[@]} files, $(wc -l <"$code") lines of code: the rules of the house hold"
