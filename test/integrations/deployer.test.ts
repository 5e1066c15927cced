import assert from 'node:assert/strict'
import { access, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import Fastify from 'fastify'
import deployer, { type Deployer } from '../../integrations/deployer/index.ts'
import { answering, context, get, localMachine, never, newApp } from '../support/local-apps.ts'

test('by default, apps run on this machine, and nothing is started or written before one does', async t => {
  const dataDir = await mkdtemp(join(tmpdir(), 'rhone-apps-'))
  t.after(() => rm(dataDir, { recursive: true }))
  const app = Fastify()
  t.after(() => app.close())
  await app.register(deployer, { local: { dataDir } })
  assert.equal(app.deployer.name, 'local')
  assert.deepEqual(await app.deployer.running(never), [])
  await app.deployer.retire(newApp(), null, never)
  assert.equal(app.deployer.urlOf(newApp('shop')), 'http://shop.localhost:8090/')
  await assert.rejects(access(join(dataDir, 'apps')), { code: 'ENOENT' })
})

test('apps go on when the server closes', async t => {
  const machine = await localMachine(t)
  const server = Fastify()
  await server.register(deployer, { local: { dataDir: machine.dataDir, port: 0 } })
  const app = newApp()
  const release = await machine.release(app, answering('here'))
  await server.deployer.start(release, context())
  await server.deployer.serve(release, context())
  const url = server.deployer.urlOf(app)!
  await server.close()
  assert.equal((await get(url, '/')).body, 'here')
})

test('another deployer can replace the built-in ones', async t => {
  const mine = { name: 'mine' } as Deployer
  const app = Fastify()
  t.after(() => app.close())
  await app.register(deployer, { deployer: mine })
  assert.equal(app.deployer, mine)
})

test('wrong options fail the boot with the name of the key', async () => {
  const register = async (options: object) => {
    await Fastify().register(deployer, options as never)
  }
  await assert.rejects(register({ kind: 'moon' }), /rhone-deployer: option "kind"/)
  await assert.rejects(register({ local: { port: -1 } }), /rhone-deployer: option "local.port"/)
  await assert.rejects(register({ local: { prot: 1 } }), /rhone-deployer: .*"local.prot"/)
})
