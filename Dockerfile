# The exact version of Node that package.json pins for development and tests; a test keeps the two equal. Where images
# must be reproducible to the byte, pin the digest too: `docker buildx imagetools inspect node:24.21.0-bookworm-slim`
# prints it, and it goes behind the tag as @sha256:...
ARG NODE_IMAGE=node:24.21.0-bookworm-slim

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No tools of development, no embedded PostgreSQL (a container brings DATABASE_URL), no scripts of packages.
RUN npm ci --omit=dev --omit=optional --ignore-scripts && npm cache clean --force

FROM ${NODE_IMAGE}
ENV ENVIRONMENT=production \
    NODE_ENV=production \
    PORT=8080 \
    DATA_DIR=/data
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY package.json LICENSE ./
# Node runs the TypeScript as it stands: the image holds the files that were tested, and there is nothing to build.
COPY drizzle drizzle
COPY plugins plugins
COPY integrations integrations
COPY routes routes
COPY views views
COPY public public
COPY schemas schemas
COPY monitoring monitoring
COPY src src

# The files belong to root and the process does not: it cannot change its own program. All it ever writes is the token of
# the first operator, into a volume, so that the container may run with a read-only root file system.
RUN install -d -o node -g node -m 0700 /data
VOLUME /data
USER node
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["node", "--input-type=module", "--eval", "const { ok } = await fetch(`http://127.0.0.1:${process.env.PORT}/health`); process.exit(ok ? 0 : 1)"]
# Without npm or a shell between, signals reach the server itself.
CMD ["node", "--min-semi-space-size=4", "--max-semi-space-size=32", "--heap-growing-percent=100", "src/server.ts"]
