# The exact version of Node that package.json pins for development and tests; a test keeps the two equal. Where images
# must be reproducible to the byte, pin the digest too: `docker buildx imagetools inspect node:24.21.0-bookworm-slim`
# prints it, and it goes behind the tag as @sha256:...
ARG NODE_IMAGE=node:24.21.0-bookworm-slim

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No tools of development, no embedded PostgreSQL (a container brings DATABASE_URL), no scripts of packages.
RUN npm ci --omit=dev --omit=optional --ignore-scripts && npm cache clean --force

FROM ${NODE_IMAGE} AS bundle
WORKDIR /app
COPY package.json package-lock.json .npmrc LICENSE ./
RUN npm ci --ignore-scripts && npm cache clean --force
COPY drizzle drizzle
COPY plugins plugins
COPY integrations integrations
COPY routes routes
COPY views views
COPY public public
COPY schemas schemas
COPY monitoring monitoring
COPY src src
COPY scripts/bundle.ts scripts/bundle.ts
RUN node scripts/bundle.ts && chown -R node:node .cache
# A server that waits for its database has compiled most of its code, and keeps it in .cache when it ends. Node keeps it
# by user and by its options, and lets only that user read it.
USER node
RUN PORT=0 DATA_DIR=/tmp/data DATABASE_URL=postgres://nobody@127.0.0.1:1/nothing NODE_COMPILE_CACHE=.cache \
    timeout --preserve-status 10 \
    node --min-semi-space-size=2 --max-semi-space-size=32 --heap-growing-percent=100 src/server.ts \
    && chmod -R a+rX .cache

FROM ${NODE_IMAGE}
ENV ENVIRONMENT=production \
    NODE_ENV=production \
    NODE_COMPILE_CACHE=.cache \
    PORT=8080 \
    DATA_DIR=/data
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
# The server runs from the bundle as long as the sources are those that it was made of; commands run from the sources.
COPY --from=bundle /app/package.json /app/package-lock.json /app/LICENSE ./
COPY --from=bundle /app/drizzle drizzle
COPY --from=bundle /app/plugins plugins
COPY --from=bundle /app/integrations integrations
COPY --from=bundle /app/routes routes
COPY --from=bundle /app/views views
COPY --from=bundle /app/public public
COPY --from=bundle /app/schemas schemas
COPY --from=bundle /app/monitoring monitoring
COPY --from=bundle /app/src src
COPY --from=bundle /app/.cache .cache

# The files belong to root and the process does not: it cannot change its own program. All it ever writes is the token of
# the first operator, into a volume, so that the container may run with a read-only root file system.
RUN install -d -o node -g node -m 0700 /data
VOLUME /data
USER node
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["node", "--input-type=module", "--eval", "const { ok } = await fetch(`http://127.0.0.1:${process.env.PORT}/health`); process.exit(ok ? 0 : 1)"]
# Without npm or a shell between, signals reach the server itself.
CMD ["node", "--min-semi-space-size=2", "--max-semi-space-size=32", "--heap-growing-percent=100", "src/server.ts"]
