#!/usr/bin/env bash
# A real Apache Kafka (KRaft; every node is broker and controller in one) on 127.0.0.1, for the tests.
#
#   broker.sh start             fetch the jars (first time), format, start, wait until ready; no-op when it runs
#   broker.sh stop              end it and remove its data
#   broker.sh kill [NODE]       SIGKILL all nodes or one; the data stays
#   broker.sh term [NODE]       SIGTERM all nodes or one and wait for the end; the data stays
#   broker.sh up [NODE]         start all nodes or one again on their old data and ports, wait until ready
#   broker.sh status            a line for each node; exit 0 only when all run
#   broker.sh env               how to reach it, for: eval "$(broker.sh env)"
#   broker.sh topic NAME N [KEY=VALUE...]   create a topic of N partitions; topics are never created by themselves
#   broker.sh acl ARGUMENT...   Kafka's kafka-acls against the first node
#   broker.sh quota CLIENT [BYTES]          bytes a second that a client id may produce; without BYTES as many as it can
#
# Needs bash, Java 17 or newer, Maven for the first start, openssl for KAFKA_SECURE=1. Installs nothing.
#
#   KAFKA_DIR        where state and data are (default: riskstream-kafka in the temporary directory)
#   KAFKA_NODES      1 (the default), or 3: topics then have three replicas, two of which must have a record
#   KAFKA_PORT       port of the first plaintext listener; 0, the default, picks one so that all that follow are free
#   KAFKA_SECURE     1 adds TLS on port + 2, SASL over TLS on port + 3 (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, and
#                    OAUTHBEARER with tokens that tls/jwt.der signs), TLS with an expired certificate on port + 6 and
#                    with one for another name on port + 7, and ACLs: alice may do everything, as may whoever comes
#                    without a name, and bob only what is granted to him
#   KAFKA_DATA       a directory for the data outside KAFKA_DIR: it is not removed by stop
#   KAFKA_JVM        options of the nodes' Java (default: small, and quick to start). To measure latency give it memory, or a full
#                    collection shows: "-Xms1g -Xmx1g -Xmn600m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
#   KAFKA_READY      seconds to wait for it (default 120)
#   RISKSTREAM_CACHE where the jars are kept (default ~/.cache/riskstream)
#
# A node has eight ports: plaintext, controller, TLS, SASL over TLS, one that sends its clients to the sixth, that one,
# which nobody listens on, and the two with bad certificates. A proxy on the sixth sees all that clients of the fifth say
# (KAFKA_PROXY and KAFKA_PROXIED).
set -euo pipefail

readonly KAFKA=4.3.1 SLF4J=1.7.36 PLUGIN=3.8.1
readonly CLUSTER=riskstream-test-broker
readonly USERNAME=alice PASSWORD=alice-secret LIMITED_USERNAME=bob LIMITED_PASSWORD=bob-secret
readonly TOKEN_ISSUER=https://login.example.com TOKEN_AUDIENCE=kafka
readonly PORTS=8

dir=$(realpath -m "${KAFKA_DIR:-${TMPDIR:-/tmp}/riskstream-kafka}")
read -ra jvm <<<"${KAFKA_JVM:--Xms64m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1}"
jars=${RISKSTREAM_CACHE:-$HOME/.cache/riskstream}/kafka-$KAFKA

die() { echo "broker.sh: $*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || die "$1 is not on the PATH: $2"; }

fetch() {
    [ -d "$jars" ] && return
    need mvn "Maven fetches Kafka's jars"
    local work
    mkdir -p "${jars%/*}"
    work=$(mktemp -d "$jars.XXXXXX")
    cat >"$work/pom.xml" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>riskstream</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$KAFKA</version></dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$KAFKA</version>
      <exclusions>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-api</artifactId></exclusion>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-json</artifactId></exclusion>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId></exclusion>
      </exclusions>
    </dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>$SLF4J</version></dependency>
  </dependencies>
</project>
XML
    if ! mvn -B -q -Dstyle.color=never -f "$work/pom.xml" "org.apache.maven.plugins:maven-dependency-plugin:$PLUGIN:copy-dependencies" \
        -DincludeScope=runtime -DoutputDirectory="$work/lib" >&2; then
        rm -rf "$work"
        die "Maven could not fetch Kafka $KAFKA"
    fi
    # Renamed only when whole, so that an interrupted download is never taken for a complete one. When another
    # start was quicker, its copy is as good.
    mv -T "$work/lib" "$jars" 2>/dev/null || [ -d "$jars" ] || die "$jars cannot be written"
    rm -rf "$work"
}

# The client-side compiler and the serial collector start a small broker fastest.
jvm() { java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$jars/*" "$@"; }
tool() { jvm -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=error "$@"; }

nodes() { seq "$(cat "$dir/nodes" 2>/dev/null || die "no broker was started in $dir")"; }
pid() { cat "$dir/$1.pid" 2>/dev/null || true; }
port() { # node
    local base
    base=$(cat "$dir/port" 2>/dev/null || die "no broker was started in $dir")
    echo $((base + PORTS * ($1 - 1)))
}
runs() { # node
    local p
    p=$(pid "$1")
    [ -n "$p" ] && kill -0 "$p" 2>/dev/null && grep -qs kafka.Kafka "/proc/$p/cmdline"
}
secure() { [ -e "$dir/tls" ]; }

# The node that was named, or all of them.
chosen() {
    local all
    all=$(nodes)
    [ -n "${1:-}" ] || { echo "$all"; return; }
    grep -x "$1" <<<"$all" || die "no node is called $1"
}

# A port so that as many as $1 from it on are free, below the range of outgoing connections.
pick() {
    local base offset
    for _ in {1..100}; do
        base=$((20000 + RANDOM % 10000))
        for ((offset = 0; offset < $1; offset++)); do
            grep -qs "$(printf ':%04X ' $((base + offset)))" /proc/net/tcp /proc/net/tcp6 && continue 2
        done
        echo "$base"
        return
    done
    die "no free port"
}

# The modulus that openssl prints, in base64 for addresses.
modulus() {
    # shellcheck disable=SC2059 # The escapes are the point.
    printf "$(cut -d= -f2 | sed 's/../\\x&/g')" | base64 -w0 | tr -d = | tr '+/' '-_'
}

certificate() { # name days alternative-names
    openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1"
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -out "$1.crt" -days "$2" \
        -extfile <(echo "subjectAltName=$3")
    cat "$1.key" "$1.crt" ca.pem >"$1.pem"
}

certificates() {
    need openssl "KAFKA_SECURE=1 makes certificates"
    mkdir -p "$dir/tls"
    (
        cd "$dir/tls"
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 3650 -subj /CN=riskstream-test-ca \
            -addext basicConstraints=critical,CA:TRUE
        certificate client 3650 DNS:localhost,IP:127.0.0.1
        certificate server 3650 DNS:localhost,IP:127.0.0.1
        certificate expired -1 DNS:localhost,IP:127.0.0.1
        certificate elsewhere 3650 DNS:kafka.example.com
        # What signs tokens, as the tests need it, and as the broker does.
        openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out jwt.key
        openssl pkcs8 -topk8 -nocrypt -in jwt.key -outform DER -out jwt.der
        printf '{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":"tests","e":"AQAB","n":"%s"}]}' \
            "$(openssl rsa -in jwt.key -noout -modulus | modulus)" >jwks.json
    ) 2>"$dir/openssl.log" || { cat "$dir/openssl.log" >&2; die "openssl could not make the certificates"; }
}

properties() { # node
    local p node listeners advertised voters=() all replicas quorum
    p=$(port "$1")
    all=$(nodes)
    replicas=$(wc -l <<<"$all")
    # With three replicas a record is safe when two have it, so that one may die.
    quorum=$((replicas / 2 + 1))
    for node in $all; do voters+=("$node@127.0.0.1:$(($(port "$node") + 1))"); done
    listeners="PLAINTEXT://127.0.0.1:$p"
    secure && listeners+=",SSL://127.0.0.1:$((p + 2)),SASL_SSL://127.0.0.1:$((p + 3))"
    secure && listeners+=",EXPIRED://127.0.0.1:$((p + 6)),ELSEWHERE://127.0.0.1:$((p + 7))"
    advertised="$listeners,PROXIED://127.0.0.1:$((p + 5))"
    listeners+=",PROXIED://127.0.0.1:$((p + 4))"
    cat <<PROPERTIES
process.roles=broker,controller
node.id=$1
controller.quorum.voters=$(IFS=,; echo "${voters[*]}")
controller.listener.names=CONTROLLER
listeners=$listeners,CONTROLLER://127.0.0.1:$((p + 1))
advertised.listeners=$advertised
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,EXPIRED:SSL,ELSEWHERE:SSL
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data/$1
auto.create.topics.enable=false
default.replication.factor=$replicas
min.insync.replicas=$quorum
# Internal topics have few partitions so that they are ready at once.
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$quorum
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$quorum
share.coordinator.state.topic.num.partitions=4
# Tests do not wait for members that will not come, and may choose short sessions.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=100
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
# A killed broker may come back only when its old session has ended.
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=4194304
PROPERTIES
    secure || return 0
    cat <<PROPERTIES
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/server.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/tls/ca.pem
listener.name.ssl.ssl.client.auth=requested
listener.name.expired.ssl.keystore.location=$dir/tls/expired.pem
listener.name.elsewhere.ssl.keystore.location=$dir/tls/elsewhere.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:CN=client;User:$USERNAME
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
# Whoever has a token must show a new one as often.
listener.name.sasl_ssl.oauthbearer.connections.max.reauth.ms=4000
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
sasl.oauthbearer.jwks.endpoint.url=file://$dir/tls/jwks.json
sasl.oauthbearer.expected.issuer=$TOKEN_ISSUER
sasl.oauthbearer.expected.audience=$TOKEN_AUDIENCE
sasl.oauthbearer.clock.skew.seconds=0
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_$USERNAME="$PASSWORD";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
PROPERTIES
}

format() { # node
    local users=()
    secure && users=(
        --add-scram "SCRAM-SHA-256=[name=$USERNAME,password=$PASSWORD]"
        --add-scram "SCRAM-SHA-512=[name=$USERNAME,password=$PASSWORD]"
        --add-scram "SCRAM-SHA-512=[name=$LIMITED_USERNAME,password=$LIMITED_PASSWORD]"
    )
    tool kafka.tools.StorageTool format -t $CLUSTER -c "$dir/$1.properties" ${users[@]+"${users[@]}"} \
        >"$dir/format.log" 2>&1 || { cat "$dir/format.log" >&2; die "the data directory could not be formatted"; }
}

launch() { # node
    runs "$1" && return
    [ -e "$dir/data/$1/meta.properties" ] || die "no data in $dir: use start"
    : >"$dir/$1.log"
    # Its own session, so that a Ctrl-C for the tests does not end the broker behind their back. Ahead of the tests, as far as
    # that is allowed: a broker that gets no processor for seconds is taken for dead.
    setsid nice -n -5 java "${jvm[@]}" \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true \
        -Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info \
        "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://$dir/tls/jwks.json" \
        "-Dorg.apache.kafka.sasl.oauthbearer.allowed.files=$dir/tls/jwks.json" \
        -cp "$jars/*" kafka.Kafka "$dir/$1.properties" >>"$dir/$1.log" 2>&1 </dev/null &
    echo $! >"$dir/$1.pid"
}

# Logged once the broker may serve: its listeners are open and the controller counts it in.
ready() { # node
    local until=$((SECONDS + ${KAFKA_READY:-120}))
    until grep -qs "Kafka Server started" "$dir/$1.log"; do
        kill -0 "$(pid "$1")" 2>/dev/null || { tail -20 "$dir/$1.log" >&2; die "the broker ended while starting"; }
        ((SECONDS < until)) || { tail -20 "$dir/$1.log" >&2; die "the broker is not ready after ${KAFKA_READY:-120} s"; }
        sleep 0.1
    done
}

up() { # [node]
    local node some
    some=$(chosen "$@")
    for node in $some; do launch "$node"; done
    for node in $some; do ready "$node"; done
}

end() { # signal [node]
    local node some until
    some=$(chosen "${@:2}")
    for node in $some; do
        runs "$node" && kill "-$1" "$(pid "$node")"
    done
    for node in $some; do
        until=$((SECONDS + 20))
        while runs "$node"; do
            ((SECONDS < until)) || kill -KILL "$(pid "$node")" 2>/dev/null || true
            sleep 0.05
        done
    done
}

start() {
    need java "Kafka runs on Java 17 or newer"
    fetch
    if [ ! -e "$dir/formatted" ]; then
        mkdir -p "$dir"
        echo "${KAFKA_NODES:-1}" >"$dir/nodes"
        local node all
        all=$(nodes)
        if [ "${KAFKA_PORT:-0}" = 0 ]; then pick $((PORTS * $(wc -l <<<"$all"))); else echo "$KAFKA_PORT"; fi >"$dir/port"
        if [ "${KAFKA_SECURE:-0}" = 1 ]; then certificates; fi
        [ -z "${KAFKA_DATA:-}" ] || { mkdir -p "$KAFKA_DATA"; ln -sfn "$(realpath "$KAFKA_DATA")" "$dir/data"; }
        for node in $all; do
            properties "$node" >"$dir/$node.properties"
            format "$node"
        done
        touch "$dir/formatted"
    fi
    up
}

stop() {
    [ ! -e "$dir/nodes" ] || end TERM
    rm -rf "$dir"/{data,tls,port,nodes,formatted} "$dir"/*.{pid,log,properties}
    rmdir "$dir" 2>/dev/null || true
}

environment() {
    local p node all brokers=()
    p=$(port 1)
    all=$(nodes)
    for node in $all; do brokers+=("127.0.0.1:$(port "$node")"); done
    printf 'export KAFKA_DIR=%q\n' "$dir"
    echo "export KAFKA_BROKERS=$(IFS=,; echo "${brokers[*]}")"
    echo "export KAFKA_PROXY=127.0.0.1:$((p + 5)) KAFKA_PROXIED=127.0.0.1:$((p + 4))"
    secure || return 0
    echo "export KAFKA_TLS_BROKERS=127.0.0.1:$((p + 2))"
    echo "export KAFKA_SASL_TLS_BROKERS=127.0.0.1:$((p + 3))"
    printf 'export KAFKA_CA=%q KAFKA_CERTIFICATE=%q KAFKA_KEY=%q\n' "$dir"/tls/{ca.pem,client.crt,client.key}
    echo "export KAFKA_USERNAME=$USERNAME KAFKA_PASSWORD=$PASSWORD"
    echo "export KAFKA_LIMITED_USERNAME=$LIMITED_USERNAME KAFKA_LIMITED_PASSWORD=$LIMITED_PASSWORD"
    echo "export KAFKA_EXPIRED_BROKERS=127.0.0.1:$((p + 6)) KAFKA_ELSEWHERE_BROKERS=127.0.0.1:$((p + 7))"
    printf 'export KAFKA_TOKEN_KEY=%q\n' "$dir/tls/jwt.der"
    echo "export KAFKA_TOKEN_ISSUER=$TOKEN_ISSUER KAFKA_TOKEN_AUDIENCE=$TOKEN_AUDIENCE"
}

topic() { # name partitions [key=value...]
    [ $# -ge 2 ] || die "topic NAME PARTITIONS [KEY=VALUE...]"
    local name=$1 partitions=$2 setting settings=()
    shift 2
    for setting; do settings+=(--config "$setting"); done
    tool org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$(port 1)" --create --if-not-exists \
        --topic "$name" --partitions "$partitions" ${settings[@]+"${settings[@]}"} >&2
}

acl() {
    tool org.apache.kafka.tools.AclCommand --bootstrap-server "127.0.0.1:$(port 1)" "$@"
}

quota() { # client [bytes]
    [ $# -ge 1 ] || die "quota CLIENT [BYTES]"
    local change=(--delete-config producer_byte_rate)
    [ $# -eq 1 ] || change=(--add-config "producer_byte_rate=$2")
    tool kafka.admin.ConfigCommand --bootstrap-server "127.0.0.1:$(port 1)" --alter \
        --entity-type clients --entity-name "$1" "${change[@]}" >&2
}

status() {
    local node all p code=0
    all=$(nodes 2>/dev/null) || { echo down; return 1; }
    for node in $all; do
        p=$(pid "$node")
        if runs "$node"; then
            echo "up pid=$p port=$(port "$node") rss_mb=$(awk '/VmRSS/ {print int($2 / 1024)}' "/proc/$p/status")"
        else
            echo down
            code=1
        fi
    done
    return $code
}

case "${1:-}" in
    start | stop | status) "$1" ;;
    up) up "${@:2}" ;;
    kill) end KILL "${@:2}" ;;
    term) end TERM "${@:2}" ;;
    env) environment ;;
    topic | acl | quota) "$1" "${@:2}" ;;
    *)
        sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2
        exit 2
        ;;
esac
