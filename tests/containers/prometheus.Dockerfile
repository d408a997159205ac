# Debian's Prometheus, laid out as the official image is: what `setup` makes where that one cannot be pulled.
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE}
# hadolint ignore=DL3008
RUN apt-get update -q && apt-get install -qy --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/* \
    && install -d -o 65534 -g 65534 /prometheus
USER 65534
EXPOSE 9090
ENTRYPOINT ["prometheus"]
