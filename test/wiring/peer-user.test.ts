import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { peerUser } from '../../src/wiring/peer-user.ts'
import { eventually } from '../support/eventually.ts'

const onLinux = { skip: process.platform !== 'linux' && 'only Linux tells whose a connection is' }
const asRoot = {
  skip: (process.platform !== 'linux' || process.geteuid?.() !== 0) && 'only root on Linux can start programs of others'
}

async function listening(t: TestContext, host: string) {
  const server = createServer()
  await once(server.listen(0, host), 'listening')
  t.after(() => server.close())
  return { server, port: (server.address() as AddressInfo).port }
}

for (const [host, target] of [
  ['127.0.0.1', '127.0.0.1'],
  ['::', '127.0.0.1'],
  ['::1', '::1']
] as const)
  test(`a connection to ${target} by a server on ${host} belongs to the user who opened it`, onLinux, async t => {
    const { server, port } = await listening(t, host)
    const accepted = once(server, 'connection')
    const client = connect(port, target)
    t.after(() => client.destroy())
    const [socket] = (await accepted) as [Socket]
    t.after(() => socket.destroy())
    assert.equal(peerUser(socket), process.getuid!())
  })

test('a connection of another user has that user’s id', asRoot, async t => {
  const { server, port } = await listening(t, '127.0.0.1')
  const accepted = once(server, 'connection')
  const script = `require('node:net').connect(${port}, '127.0.0.1')`
  const child = spawn(process.execPath, ['-e', script], { uid: 60_600, gid: 60_600, cwd: '/', stdio: 'ignore' })
  t.after(() => child.kill())
  const [socket] = (await accepted) as [Socket]
  t.after(() => socket.destroy())
  assert.equal(peerUser(socket), 60_600)
})

test('the user of a closed peer is unknown, although the kernel then reports root', onLinux, async t => {
  const { server, port } = await listening(t, '127.0.0.1')
  const accepted = once(server, 'connection')
  const client = connect(port, '127.0.0.1')
  const [socket] = (await accepted) as [Socket]
  t.after(() => socket.destroy())
  const { remoteAddress, remotePort, localAddress, localPort } = socket
  client.destroy()
  // A copy each time: the answer is kept with the socket.
  await eventually(() => {
    const copy = Object.create(new Socket(), {
      remoteAddress: { value: remoteAddress },
      remotePort: { value: remotePort },
      localAddress: { value: localAddress },
      localPort: { value: localPort }
    }) as Socket
    return peerUser(copy) === 'unknown'
  })
})

test('a remote peer and a socket without addresses have no local user', () => {
  const elsewhere = { remoteAddress: '192.0.2.1', remotePort: 4_000, localAddress: '192.0.2.2', localPort: 80 }
  assert.equal(peerUser(elsewhere as Socket), null)
  assert.equal(peerUser(new Socket()), null)
})
