FROM rust:1.95-slim-bookworm AS builder
WORKDIR /build

# The dependencies alone, so that a change of the sources does not build them again. The manifest names the benches,
# so they have to be there.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY benches benches
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked

# COPY keeps the times of the files, which may be older than the build above.
COPY src src
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked

FROM debian:bookworm-slim
COPY --from=builder /build/target/release/forebay /usr/local/bin/forebay
COPY config /etc/forebay
USER 65532:65532
EXPOSE 8080 9900
ENTRYPOINT ["forebay"]
CMD ["--help"]
