import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { prometheus } from '../../integrations/prometheus.ts'

/** A server that answers like Prometheus, or not. */
async function answering(t: TestContext, answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer(answer).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

const never = new AbortController().signal
const range = { start: 60, end: 120, step: 15 }

test('a range is queried with its step, and parsed as numbers', async t => {
  const asked: string[] = []
  const host = await answering(t, ({ url = '', headers }, response) => {
    asked.push(`${url} ${headers.authorization}`)
    const result = [
      {
        metric: { class: 'a' },
        values: [
          [60, '1.5'],
          [75, 'NaN']
        ]
      }
    ]
    response.end(JSON.stringify({ status: 'success', data: { resultType: 'matrix', result } }))
  })
  const history = prometheus({ url: `http://ada:se%20cret@${host}/prom/` })
  assert.deepEqual(await history.range('up > 0', range, never), [
    {
      labels: { class: 'a' },
      points: [
        [60, 1.5],
        [75, Number.NaN]
      ]
    }
  ])
  const credentials = Buffer.from('ada:se cret').toString('base64')
  assert.deepEqual(asked, [`/prom/api/v1/query_range?query=up+%3E+0&start=60&end=120&step=15 Basic ${credentials}`])
})

test('a current value is the sum of the series; none yields null', async t => {
  let result: unknown[] = [
    { metric: {}, value: [1, '0.5'] },
    { metric: { a: 'b' }, value: [1, '0.25'] }
  ]
  const host = await answering(t, (_request, response) =>
    response.end(JSON.stringify({ status: 'success', data: { resultType: 'vector', result } }))
  )
  const history = prometheus({ url: `http://${host}` })
  assert.equal(await history.now('x', never), 0.75)
  result = []
  assert.equal(await history.now('x', never), null)
})

test('a server that refuses, hangs or is not a Prometheus fails with an error without the password', async t => {
  const refusing = await answering(t, (_request, response) => {
    response.writeHead(503)
    response.end('later')
  })
  const other = await answering(t, (_request, response) => response.end('<h1>Hello</h1>'))
  const hanging = await answering(t, () => {})
  for (const host of [refusing, other, hanging, '127.0.0.1:1']) {
    const history = prometheus({ url: `http://ada:secret@${host}`, timeout: 100 })
    await assert.rejects(history.now('x', never), error => {
      assert.match((error as Error).message, /prometheus/)
      assert.doesNotMatch((error as Error).message, /secret/)
      return true
    })
  }
})
