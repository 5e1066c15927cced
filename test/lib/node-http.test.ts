import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type HttpSocket, missingInternals, missingTlsInternals } from '../../plugins/lib/node-http.ts'

/** Sees sockets as they would be without these properties. */
const without =
  (...names: string[]) =>
  (socket: HttpSocket): HttpSocket =>
    new Proxy(socket, { get: (target, name) => (names.includes(String(name)) ? undefined : Reflect.get(target, name)) })

test('this Node keeps at its sockets what the plugins read there', async () => {
  assert.deepEqual(await missingInternals(), [])
  assert.deepEqual(missingTlsInternals(), [])
})

test('what a Node no longer keeps is named', async () => {
  assert.deepEqual(await missingInternals(without('_httpMessage')), ['socket._httpMessage'])
  assert.deepEqual(await missingInternals(without('parser')), ['socket.parser.incoming', 'socket.parser.onIncoming'])
})

test('a name that means something else counts as missing', async () => {
  const otherMeaning = (socket: HttpSocket): HttpSocket =>
    new Proxy(socket, { get: (target, name) => (name === '_httpMessage' ? {} : Reflect.get(target, name)) })
  assert.deepEqual(await missingInternals(otherMeaning), ['socket._httpMessage'])
})
