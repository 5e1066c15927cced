import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener, ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { suite, type TestContext, test } from 'node:test'
import { onClosed, onReplied, TextHeadResponse } from '../../plugins/lib/response-head.ts'

/** A server with responses of this class, and one connection that has sent a request. */
async function start(t: TestContext, Response: typeof ServerResponse, onRequest: RequestListener) {
  const server = createServer({ ServerResponse: Response }, onRequest).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  t.after(() => {
    socket.destroy()
    server.close()
  })
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  return socket
}

for (const Response of [TextHeadResponse, ServerResponse])
  suite(`the listeners of a ${Response.name}`, () => {
    test('are called once each, within `end` and after it, before those of the events', async t => {
      const { promise: closed, resolve } = Promise.withResolvers<void>()
      const calls: string[] = []
      await start(t, Response, (_request, response) => {
        onClosed(response, () => calls.push('closed'))
        onReplied(response, () => calls.push('replied'))
        response.on('prefinish', () => calls.push('prefinish')).on('close', () => resolve(void calls.push('close')))
        response.end('a')
        calls.push('ended')
      })
      await closed
      assert.deepEqual(calls, ['replied', 'prefinish', 'ended', 'closed', 'close'])
    })

    test('learn of a client that leaves before the reply', async t => {
      const { promise: closed, resolve } = Promise.withResolvers<boolean>()
      const socket = await start(t, Response, (_request, response) => {
        onReplied(response, () => assert.fail('nothing was replied'))
        onClosed(response, () => resolve(response.writableEnded))
        socket.destroy()
      })
      assert.equal(await closed, false)
    })

    test('may be several', async t => {
      const { promise: closed, resolve } = Promise.withResolvers<void>()
      const calls: number[] = []
      await start(t, Response, (_request, response) => {
        for (const number of [1, 2]) onReplied(response, () => calls.push(number))
        onClosed(response, () => calls.push(3))
        onClosed(response, () => resolve(void calls.push(4)))
        response.end()
      })
      await closed
      assert.deepEqual(calls, [1, 2, 3, 4])
    })

    test('make an error of a response that is watched harmless, but leave it to those who listen', async t => {
      const { promise: found, resolve } = Promise.withResolvers<Error>()
      await start(t, Response, (_request, response) => {
        assert.throws(() => response.emit('error', new Error('not watched')))
        onClosed(response, () => {})
        assert.doesNotThrow(() => response.emit('error', new Error('watched')))
        response.on('error', resolve)
        response.emit('error', new Error('heard'))
        response.end()
      })
      assert.equal((await found).message, 'heard')
    })
  })
