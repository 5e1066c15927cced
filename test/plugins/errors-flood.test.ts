import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import errorsPlugin from '../../plugins/errors/index.ts'
import { onEntry } from '../../plugins/lib/entry.ts'
import { type AppError, errors } from '../../plugins/lib/errors.ts'
import { TextHeadResponse } from '../../plugins/lib/response-head.ts'

/** The same refusal of every request, over responses that the quick way can write to, and over plain ones. */
async function refusing(t: { after(close: () => Promise<void>): void }, error: AppError, isQuick: boolean) {
  const http = isQuick ? { ServerResponse: TextHeadResponse } : {}
  const app = Fastify({ http }) as unknown as FastifyInstance
  t.after(() => app.close())
  await app.register(errorsPlugin)
  onEntry(app, () => error)
  app.get('/', async () => 'served')
  return app.listen({ host: '127.0.0.1', port: 0 })
}

for (const [what, error] of [
  ['over a limit', errors.rateLimit(7)],
  ['of a busy server', errors.unavailable(2)],
  ['with an empty detail', errors.unavailable(2, '')],
  ['with a detail full of quotes', errors.unavailable(2, '"","requestId":""')]
] as const)
  test(`a refusal ${what} that takes the quick path has the same reply`, async t => {
    const [quick, usual] = await Promise.all(
      [true, false].map(async isQuick => {
        const reply = await fetch(await refusing(t, error, isQuick))
        const { requestId, ...told } = ((await reply.json()) as { error: Record<string, unknown> }).error
        assert.ok(requestId)
        const { date: _, 'content-length': __, ...headers } = Object.fromEntries(reply.headers)
        return { status: reply.status, headers, told }
      })
    )
    assert.deepEqual(quick, usual)
  })
