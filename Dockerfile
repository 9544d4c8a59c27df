# syntax=docker/dockerfile:1
# Builds on an image with npm, runs on nothing but Node and the libraries it is linked with: no shell, no package manager. What is done in
# the first stage is what scripts/image.ts does without a container engine, where test/image.test.ts runs it.
ARG BUILD_IMAGE=node:24-bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN node scripts/image.ts /image
# /runtime: Node, what the linker loads for it, and how names are looked up.
RUN mkdir -p /runtime/etc /runtime/tmp /runtime/var/lib/holdpoint \
 && cp --parents -L "$(command -v node)" $(ldd "$(command -v node)" | grep -o '/[^ ]*') /runtime \
 && mv "/runtime$(command -v node)" /runtime/node \
 && echo 'hosts: files dns' > /runtime/etc/nsswitch.conf \
 && echo 'holdpoint:x:65532:65532::/var/lib/holdpoint:/nonexistent' > /runtime/etc/passwd \
 && chown 65532:65532 /runtime/var/lib/holdpoint && chmod 1777 /runtime/tmp

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Holdpoint" \
      org.opencontainers.image.description="An identity-aware reverse proxy that holds sensitive API calls until a person approves them" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build --chown=0:0 /runtime /
COPY --from=build --chown=65532:65532 /runtime/var/lib/holdpoint /var/lib/holdpoint
COPY --from=build --chown=0:0 /image /app
# The only folder that is written to; give it a volume. Everything else may be read-only.
WORKDIR /var/lib/holdpoint
USER 65532:65532
ENV NODE_ENV=production
EXPOSE 8080 8081 9090
STOPSIGNAL SIGTERM
# Exec form: there is no shell. HOLDPOINT_ADMIN is where the admin listener is, if not on its usual port.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/node", "/app/health.js"]
ENTRYPOINT ["/node", "/app/bin/holdpoint.js"]
CMD ["serve", "--config", "/etc/holdpoint/holdpoint.yaml"]
