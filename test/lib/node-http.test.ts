import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type HttpSocket, missingInternals, missingTlsInternals } from '../../plugins/lib/node-http.ts'

/** Sockets without these properties. */
const without =
  (...names: string[]) =>
  (socket: HttpSocket): HttpSocket =>
    new Proxy(socket, { get: (target, name) => (names.includes(String(name)) ? undefined : Reflect.get(target, name)) })

test('this Node has the socket internals that the plugins read', async () => {
  assert.deepEqual(await missingInternals(), [])
  assert.deepEqual(missingTlsInternals(), [])
})

test('missing socket internals of Node are named', async () => {
  assert.deepEqual(await missingInternals(without('_httpMessage')), ['socket._httpMessage'])
  assert.deepEqual(await missingInternals(without('parser')), ['socket.parser.incoming', 'socket.parser.onIncoming'])
})

test('an internal with another meaning counts as missing', async () => {
  const otherMeaning = (socket: HttpSocket): HttpSocket =>
    new Proxy(socket, { get: (target, name) => (name === '_httpMessage' ? {} : Reflect.get(target, name)) })
  assert.deepEqual(await missingInternals(otherMeaning), ['socket._httpMessage'])
})
