# A static binary in an empty image: no shell, no package, nothing to patch but riskstream itself.
#
#   docker build --tag riskstream .
#   docker build --tag riskstream --build-arg FEATURES=msk-iam .     with AWS's IAM for MSK
#   docker run --rm --volume "$PWD/riskstream.yaml:/etc/riskstream/riskstream.yaml:ro" riskstream

FROM rust:1.95-bookworm AS build
ARG FEATURES=
WORKDIR /src
COPY . .
# The target is named although it is the machine's own: without that the flag would reach build scripts and procedural
# macros too, which cannot be static.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    target="$(rustc --print host-tuple)" \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --features "$FEATURES" --target "$target" \
    && mkdir -p /out/etc/ssl/certs \
    && cp "target/$target/release/riskstream" /out/riskstream \
    && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
    && echo 'riskstream:x:65532:65532::/:/riskstream' > /out/etc/passwd \
    && echo 'riskstream:x:65532:' > /out/etc/group

FROM scratch
LABEL org.opencontainers.image.title="riskstream" \
      org.opencontainers.image.description="Enriches security alerts on Kafka with the risk scores of the entities they name" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/ /
# OpenSSL, which speaks to the brokers, is built in and knows no system directory of its own.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
EXPOSE 9464
ENTRYPOINT ["/riskstream"]
CMD ["run", "--config", "/etc/riskstream/riskstream.yaml"]
