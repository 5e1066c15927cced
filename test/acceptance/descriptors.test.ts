import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { Agent, get } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { startServer } from '../support/process.ts'
import { stays } from '../support/stays.ts'

const LIMIT = 160

const onLinux = { skip: process.platform !== 'linux' && 'only Linux tells how many descriptors are open' }

test(
  'a server without a file descriptor left goes on, and warns at the start that it may come to that',
  onLinux,
  async t => {
    const DATA_DIR = await mkdtemp(join(tmpdir(), 'rhone-descriptors-'))
    t.after(() => rm(DATA_DIR, { recursive: true, force: true }))
    // With the pressure sensor, whose timer reads a file.
    const env = { DATA_DIR, DATABASE_URL: await freshDatabase(t), RHONE_SWAP: 'objectives=off' }
    const server = await startServer(t, env, LIMIT)
    const warned = () => server.logs().filter(({ msg }) => /may open 160 files.*MAX_CONNECTIONS/.test(String(msg)))
    assert.equal(warned().length, 1)

    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.after(() => agent.destroy())
    const status = () =>
      new Promise<number>((resolve, reject) => {
        get(`${server.url}/health`, { agent }, reply => {
          reply.resume().once('end', () => resolve(reply.statusCode!))
        }).once('error', reject)
      })
    assert.equal(await status(), 200)

    const sockets: Socket[] = []
    t.after(() => sockets.forEach(socket => void socket.destroy()))
    for (let i = 0; i < 2 * LIMIT; i++) {
      const socket = connect(server.port, '127.0.0.1').on('error', () => {})
      sockets.push(socket)
    }
    await Promise.all(sockets.map(socket => Promise.race([once(socket, 'connect'), once(socket, 'close')])))
    // Longer than several memory readings, each of which needs a descriptor.
    await stays(async () => server.child.exitCode === null && (await status()) === 200, 4_000)

    for (const socket of sockets) socket.destroy()
    await eventually(async () => (await fetch(`${server.url}/ready`)).status === 200)
    server.child.kill('SIGTERM')
    assert.equal(await server.exited, 0)
  }
)
