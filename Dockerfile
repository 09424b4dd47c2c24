# Millrace in a container.
#
#     docker build -t millrace .                   the server
#     docker build --target test -t millrace-test .   builds and runs the test suite
#
# The image listens on all addresses, so it says what it allows: see docker/millrace.json.

FROM debian:bookworm-slim AS build
WORKDIR /src
COPY deploy/packages.sh deploy/progress.sh deploy/
RUN . deploy/packages.sh && install_missing $build_packages && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake --preset release -DMILLRACE_TESTS=OFF -DMILLRACE_BENCH=OFF \
    && cmake --build --preset release --target millrace \
    && strip build/release/bin/millrace

FROM build AS test
RUN . deploy/packages.sh && install_missing $test_packages
RUN tests/run.sh

FROM debian:bookworm-slim
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
       libboost-program-options1.81.0 libprometheus-cpp-core1.0 libspdlog1.10 libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --user-group --no-create-home --uid 10001 millrace
COPY --from=build /src/build/release/bin/millrace /usr/local/bin/millrace
COPY docker/millrace.json /etc/millrace/millrace.json
ENV MILLRACE_CONFIG=/etc/millrace/millrace.json
USER millrace
EXPOSE 1883 8083 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=5s \
    CMD ["/usr/local/bin/millrace", "check", "--health"]
ENTRYPOINT ["/usr/local/bin/millrace"]
CMD ["serve"]
