# syntax=docker/dockerfile:1
# loyaltyd as an image: built here, without a shell or a package manager in what is left, run as a user that is not root.
#
#     docker build --tag loyaltyd:0.1.0 --build-arg LOYALTYD_REVISION="$(git rev-parse --short=12 HEAD)" .
#
# The two Debian releases belong together: what is built with one's libc runs with it. Where images must be pinned by digest, give both as
# RUST_IMAGE and BASE_IMAGE with an @sha256.

ARG RUST_IMAGE=rust:1.95.0-bookworm
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS builder
# What needs more than Rust in the build is C of three libraries (aws-lc, zstd, mimalloc): the image's gcc, neither cmake nor protoc.
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY src src
# Cargo looks for this target, which the manifest names; it is not built.
COPY benches/domain.rs benches/domain.rs
# No debug information, and no symbols of it: a panic still names its file and line.
ENV CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=symbols
# There is no .git here for the build to ask which commit this is.
ARG LOYALTYD_REVISION=
# The caches keep what was fetched and built for the next time and are no part of the image, so the program is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin loyaltyd \
    && install -D --mode=0755 target/release/loyaltyd /image/loyaltyd
# A folder that the user may write to: a volume that is made over it takes its owner.
RUN install -d --mode=0700 /image/var/lib/loyaltyd

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG LOYALTYD_REVISION=
LABEL org.opencontainers.image.title="loyaltyd" \
      org.opencontainers.image.description="The loyalty service a retailer runs: members, point ledgers and tiers over gRPC." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${LOYALTYD_REVISION}" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"
COPY --from=builder --chown=65532:65532 /image/var/lib/loyaltyd /var/lib/loyaltyd
COPY --from=builder /image/loyaltyd /loyaltyd
COPY LICENSE /LICENSE
# Reached from outside of the container, and refused there until TLS and credentials are given, or LOYALTYD_INSECURE=true for a trial.
ENV LOYALTYD_LISTEN=0.0.0.0:50051 LOYALTYD_DATA=/var/lib/loyaltyd/data
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /var/lib/loyaltyd
EXPOSE 50051
VOLUME ["/var/lib/loyaltyd"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/loyaltyd"]
CMD ["serve"]
