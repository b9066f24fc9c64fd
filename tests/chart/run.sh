#!/usr/bin/env bash
# The chart's checks: lint, rendering with several sets of values, validation against the Kubernetes API, awkward
# release names, and refusal of wrong values. With RISKSTREAM=BINARY the application also checks what was rendered.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/tools.sh
. tests/tools.sh

chart=helm/riskstream
helm=$(go_tool helm.sh/helm/v3/cmd/helm $HELM)
kubeconform=$(go_tool github.com/yannh/kubeconform/cmd/kubeconform $KUBECONFORM)
python=$(python_tools)/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

fail() {
    echo "FAILED: $*" >&2
    failures=$((failures + 1))
}

schemas=$cache/schemas-$KUBERNETES-$PROMETHEUS_OPERATOR-$(sha256sum tests/chart/schemas.py | cut -c1-12)
if [ ! -d "$schemas" ]; then
    "$python" tests/chart/schemas.py "$(go_module k8s.io/kubernetes $KUBERNETES)/api/openapi-spec/swagger.json" "$work/schemas" \
        "$(go_module github.com/prometheus-operator/prometheus-operator $PROMETHEUS_OPERATOR)/example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"
    mv -T "$work/schemas" "$schemas"
fi

validate() { "$kubeconform" -strict -summary -schema-location "$schemas/{{.ResourceKind}}{{.KindSuffix}}.json" "$1"; }
render() { "$helm" template "$1" $chart --kube-version "${KUBERNETES#v}" "${@:2}"; }

# Renders, and has every object of the result checked: renders NAME FILE [helm's arguments...]
renders() {
    local name=$1 file=$work/$2.yaml
    if ! render "$name" "${@:3}" >"$file"; then
        fail "release $name with $2 does not render"
    elif ! validate "$file"; then
        fail "release $name with $2: refused by the schemas of Kubernetes"
    # What the schemas cannot say: a Service's name is a DNS label that begins with a letter.
    elif ! "$python" - "$file" <<'PYTHON'
import re, sys, yaml
objects = [o for o in yaml.safe_load_all(open(sys.argv[1])) if o]
bad = [o["metadata"]["name"] for o in objects if o["kind"] == "Service" and not re.fullmatch("[a-z]([a-z0-9-]{0,61}[a-z0-9])?", o["metadata"]["name"])]
sys.exit(f"not a Service's name: {bad}" if bad else 0)
PYTHON
    then
        fail "release $name with $2"
    fi
}

# The schemas themselves: a misspelt key and a value of the wrong type must not pass.
validates_strictly() {
    local edit
    for edit in 's/^  serviceName:/  serviceNames:/' 's/^  replicas: .*/  replicas: "2"/' 's/cpu: 500m/cpu: {}/'; do
        sed "$edit" "$work/default.yaml" >"$work/broken.yaml"
        if cmp -s "$work/default.yaml" "$work/broken.yaml" || validate "$work/broken.yaml" >/dev/null 2>&1; then
            fail "the schemas let $edit pass"
        fi
    done
}

# What a rendering must hold: holds FILE TEXT
holds() { grep -qF -- "$2" "$work/$1.yaml" || fail "$1 has no line: $2"; }

# Values that must be refused, with a message that names the cure: refuses MESSAGE [helm's arguments...]
refuses() {
    if render riskstream "${@:2}" >"$work/out" 2>&1; then
        fail "accepted, but must not be: ${*:2}"
    elif ! grep -qF -- "$1" "$work/out"; then
        cat "$work/out" >&2
        fail "refused without saying '$1': ${*:2}"
    fi
}

echo "lint"
"$helm" lint --strict --quiet $chart || fail "lint of the defaults"
for values in tests/chart/values/*.yaml; do
    "$helm" lint --strict --quiet -f "$values" $chart || fail "lint with $values"
done

echo "render"
renders riskstream default
for values in tests/chart/values/*.yaml; do
    renders riskstream "$(basename "$values" .yaml)" -f "$values"
done
renders y named-y -f tests/chart/values/secured.yaml
renders 1e3 named-1e3 -f tests/chart/values/secured.yaml
renders a.b named-with-a-dot
renders "$(printf 'long-%.0s' {1..10})end" named-long

validates_strictly

echo "content"
holds default 'name: RISKSTREAM__KAFKA__CONSUMER__GROUP.INSTANCE.ID'
holds default 'name: RISKSTREAM__KAFKA__INSTANCE'
holds minimal 'share: 1/2'
holds minimal 'mountPath: "/run/secrets/datadog"'
holds secured 'share: 1/3'
holds secured 'share: 1/6'
holds secured 'path: "formats/acme.yaml"'
holds secured 'image: "registry.example.com/security/riskstream@sha256:'
holds everything "value: \"'[::]:8080'\""
holds everything 'in_flight: 1000000'
holds everything 'image: "riskstream:1"'

# Whether pods restart: what they take over by themselves must not change their template, and all else must.
checksum() { render riskstream -f tests/chart/values/secured.yaml "$@" | grep 'checksum/config:'; }
for taken in config.routes=null config.cache.ttl.scored=7m config.providers.more.type=datadog replicas=9; do
    [ "$(checksum --set "$taken")" = "$(checksum)" ] || fail "pods restart for $taken, which they would take over"
done
for kept in config.kafka.instance=a config.cache.capacity=1MiB config.pipeline.threads=9 config.log.level=debug; do
    [ "$(checksum --set "$kept")" != "$(checksum)" ] || fail "pods do not restart for $kept"
done

echo "refusals"
refuses "brokers" --set 'config.kafka.brokers=kafka:9092'
refuses "brokers" --set 'config.kafka.brokers={kafka}'
refuses "replicas" --set replicas=0
refuses "replicaCount" --set replicaCount=3
refuses "digest" --set image.digest=latest
refuses "pullPolicy" --set image.pullPolicy=Sometimes
refuses "secrets/existing/0" --set 'secrets.existing[0].name=a,secrets.existing[0].directory=../../etc'
refuses "app.kubernetes.io/name" --set-string 'podLabels.app\.kubernetes\.io/name=other'
refuses "share" --set config.providers.a.type=datadog,config.providers.a.limit.share=2
refuses "terminationGracePeriodSeconds is 40, but config.pipeline.shutdown is 1m" --set config.pipeline.shutdown=1m

echo "documentation"
for key in $("$python" -c "import yaml; print(*yaml.safe_load(open('$chart/values.yaml')))"); do
    grep -qE "^\| \`${key}[\`.]" $chart/README.md || fail "$chart/README.md does not tell of the value $key"
done

if [ -n "${RISKSTREAM:-}" ]; then
    echo "application"
    render y -s templates/configmap.yaml | "$python" -c \
        'import sys, yaml; sys.stdout.write(yaml.safe_load(sys.stdin)["data"]["riskstream.yaml"])' >"$work/riskstream.yaml"
    env RISKSTREAM__ADMIN__LISTEN=0.0.0.0:9464 RISKSTREAM__KAFKA__INSTANCE=y-0 RISKSTREAM__KAFKA__CONSUMER__GROUP.INSTANCE.ID=y-0 \
        "$RISKSTREAM" check --config "$work/riskstream.yaml" || fail "riskstream refuses the chart's default configuration"
fi

[ "$failures" = 0 ] || { echo "$failures of the chart's checks failed" >&2; exit 1; }
echo "the chart is sound"
