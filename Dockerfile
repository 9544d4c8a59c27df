# syntax=docker/dockerfile:1
# Builds on an image with npm, runs on one without a shell or a package manager. What is done in the first stage is what scripts/image.ts
# does without a container engine, where test/image.test.ts runs it.
ARG BUILD_IMAGE=node:24-bookworm-slim
ARG RUN_IMAGE=gcr.io/distroless/nodejs24-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN node scripts/image.ts /image

FROM ${RUN_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Holdpoint" \
      org.opencontainers.image.description="An identity-aware reverse proxy that holds sensitive API calls until a person approves them" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build --chown=0:0 /image /app
# The only folder that is written to; give it a volume. Everything else may be read-only.
WORKDIR /var/lib/holdpoint
USER 65532:65532
ENV NODE_ENV=production
EXPOSE 8080 8081 9090
STOPSIGNAL SIGTERM
# Exec form: there is no shell. HOLDPOINT_ADMIN is where the admin listener is, if not on its usual port.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/nodejs/bin/node", "/app/health.js"]
ENTRYPOINT ["/nodejs/bin/node", "/app/bin/holdpoint.js"]
CMD ["serve", "--config", "/etc/holdpoint/holdpoint.yaml"]
