# The image of reposerver, from source, for one platform or several:
#
#   docker buildx build --platform linux/amd64,linux/arm64 -t reposerver:4.0.0 .
#
# How it is run: docs/deploying.md. The last stage is deploy/container/Containerfile, which a test
# builds and runs; another test compares the two.

FROM --platform=$BUILDPLATFORM rust:1.95-bookworm AS build
ARG TARGETPLATFORM
WORKDIR /src
COPY . .
RUN scripts/install-packages $(scripts/prerequisites --packages cross) python3-venv
RUN scripts/install-cross
RUN PROGRAMS=reposerver scripts/static "$TARGETPLATFORM"
RUN scripts/image-root "$TARGETPLATFORM" /image

FROM scratch
LABEL org.opencontainers.image.title="reposerver" \
      org.opencontainers.image.description="The repository server of dbt" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/rootfs/ /
COPY --from=build --chown=65532:65532 /image/data/ /var/
EXPOSE 9999
USER 65532:65532
ENTRYPOINT ["/reposerver"]
CMD ["-a", "0.0.0.0", "-p", "9999", "-r", "/var/dbt"]
