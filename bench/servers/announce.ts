import type { FastifyInstance } from 'fastify'

/** Reports the server's address to the benchmark, and exits with it. */
export function announce(app: FastifyInstance): void {
  process.stderr.write(`ready at ${app.listeningOrigin}\n`)
  process.once('SIGTERM', () => app.close().then(() => process.exit(0)))
}
