# Millrace in a container.
#
#     docker build -t millrace .                   the server
#     docker build --target test -t millrace-test .   builds and runs the test suite
#
# The image listens on all addresses, so it says what it allows: see docker/millrace.json. It runs as a
# user without rights, needs no capability, and writes nothing: run it with --read-only --cap-drop=all
# --security-opt=no-new-privileges. docker/compose.yaml does, with Prometheus and Grafana beside it.

FROM debian:bookworm-slim AS build
WORKDIR /src
COPY deploy/packages.sh deploy/progress.sh deploy/
RUN . deploy/packages.sh && install_missing $build_packages && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake --preset release -DMILLRACE_TESTS=OFF -DMILLRACE_BENCH=OFF \
    && cmake --build --preset release --target millrace \
    && strip build/release/bin/millrace
# Libraries that are inside the program and no package of the image.
RUN sh docker/built-in.sh build/release >built-in.txt

FROM build AS test
RUN . deploy/packages.sh && install_missing $test_packages
RUN tests/run.sh

FROM debian:bookworm-slim AS runtime
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
       libboost-program-options1.81.0 libprometheus-cpp-core1.0 libspdlog1.10 libssl3 libargon2-1 libnats3.4 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/* /var/cache/debconf/*-old \
    && useradd --system --user-group --no-create-home --uid 10001 millrace \
    && install -d -o millrace -g millrace -m 750 /run/millrace \
    && install -d -o millrace -g millrace -m 700 /var/lib/millrace

# What is in the image, as SPDX: /usr/share/doc/millrace/sbom.spdx.json.
FROM runtime AS sbom
COPY --from=build /src/build/release/bin/millrace /src/built-in.txt /
COPY docker/sbom.sh /
RUN sh /sbom.sh /millrace /built-in.txt >/sbom.spdx.json

FROM runtime
ARG REVISION=unknown
LABEL org.opencontainers.image.title="millrace" \
      org.opencontainers.image.description="An MQTT proxy server for the newest value" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"
COPY --from=build /src/build/release/bin/millrace /usr/local/bin/millrace
COPY --from=build /src/LICENSE /src/deploy/debian/copyright /usr/share/doc/millrace/
COPY --from=sbom /sbom.spdx.json /usr/share/doc/millrace/sbom.spdx.json
COPY docker/millrace.json /etc/millrace/millrace.json
ENV MILLRACE_CONFIG=/etc/millrace/millrace.json
VOLUME /var/lib/millrace
USER 10001:10001
EXPOSE 1883 8083 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=5s \
    CMD ["/usr/local/bin/millrace", "check", "--health"]
ENTRYPOINT ["/usr/local/bin/millrace"]
CMD ["serve"]
