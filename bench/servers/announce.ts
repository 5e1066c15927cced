import type { FastifyInstance } from 'fastify'

/** Tells the benchmark where the server listens, and ends with it. */
export function announce(app: FastifyInstance): void {
  process.stderr.write(`ready at ${app.listeningOrigin}\n`)
  process.once('SIGTERM', () => app.close().then(() => process.exit(0)))
}
