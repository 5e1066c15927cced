import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, readdir, readFile, readlink, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { identify } from '../../plugins/lib/processes.ts'
import { eventually } from '../support/eventually.ts'
import { answering, context, get, linesUntil, localMachine, never, newApp, processesOf } from '../support/local-apps.ts'
import { stays } from '../support/stays.ts'

const listens = `.listen(process.env.PORT, '127.0.0.1')`
const root = resolve(import.meta.dirname, '../..')

const nothingRuns = (dataDir: string) =>
  eventually(
    () => processesOf(dataDir),
    found => found.length === 0,
    20_000
  )

const isOver = (pid: number) =>
  eventually(
    () => identify(pid),
    found => found === null,
    10_000
  )

test('apps keep answering when Rhone stops', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  const release = await machine.release(app, answering('still here'))
  // A separate server in its own process group, which deploys and is then killed with its group.
  const script = `
    const { LocalDeployer } = await import(${JSON.stringify(join(root, 'integrations/deployer/local/index.ts'))})
    const deployer = new LocalDeployer({ dataDir: ${JSON.stringify(machine.dataDir)}, port: 0 })
    const context = { signal: new AbortController().signal }
    await deployer.start(${JSON.stringify(release)}, context)
    await deployer.serve(${JSON.stringify(release)}, context)
    console.log('deployed')
    setInterval(() => {}, 1000)`
  const rhone = spawn(process.execPath, ['--input-type=module', '-e', script], {
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.after(() => rhone.kill('SIGKILL'))
  await once(rhone.stdout, 'data')
  process.kill(-rhone.pid!, 'SIGKILL')
  await once(rhone, 'exit')
  assert.equal((await machine.get(app)).body, 'still here')

  const [found] = await machine.deployer.running(never)
  assert.deepEqual(
    [found?.appId, found?.deploymentId, found?.isServing, found?.isHealthy],
    [app.id, release.deploymentId, true, true],
    'and the next server finds them'
  )
})

test('orphans of a killed runner are stopped by the next one before it starts anything', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  const release = await machine.deploy(
    await machine.release(app, `http.createServer((q, s) => s.end(String(process.pid)))${listens}`)
  )
  const url = machine.deployer.urlOf(app)
  const orphan = Number((await machine.get(app)).body)
  const killed = await machine.runner()
  process.kill(killed, 'SIGKILL')
  await isOver(killed)
  assert.ok(identify(orphan))

  assert.deepEqual(await machine.deployer.running(never), [], 'so that the reconciler starts it again')
  await isOver(orphan)
  await machine.deploy(release)
  assert.equal(machine.deployer.urlOf(app), url)
  assert.notEqual((await machine.get(app)).body, String(orphan))
})

test('the end of the runner is reported at once, so that its apps restart without waiting for the reconciler', async t => {
  const machine = await localMachine(t)
  const release = await machine.release(newApp(), answering('here'))
  let lost = 0
  const stop = machine.deployer.onLost(() => {
    lost += 1
  })
  t.after(stop)
  // It may be killed before it was first seen.
  await eventually(async () => {
    await machine.deploy(release)
    const killed = await machine.runner()
    process.kill(killed, 'SIGKILL')
    await isOver(killed)
    return lost > 0
  })
  assert.deepEqual(await machine.deployer.running(never), [], 'the next one ends the remaining processes')
})

/** File damage after a power loss or a full disk. */
for (const [damage, content] of [
  ['empty', ''],
  ['cut off', '[{"pid":1'],
  ['of another shape', '{"port":"x","configured":-1}']
] as const)
  test(`a runner starts, and serves apps, even if its state file is ${damage}`, async t => {
    const machine = await localMachine(t)
    const app = newApp()
    const release = await machine.deploy(await machine.release(app, answering('here')))
    const killed = await machine.runner()
    process.kill(killed, 'SIGKILL')
    await isOver(killed)
    for (const file of ['processes.json', 'port.json', 'runner.pid'])
      await writeFile(join(machine.dataDir, 'apps', file), content)
    assert.match(machine.another().urlOf(app), /^http:/)
    assert.deepEqual(await machine.deployer.running(never), [])
    await machine.deploy(release)
    assert.equal((await machine.get(app)).body, 'here')
  })

test('a runner starts on a full disk, and serves its apps', {
  skip: (process.geteuid?.() !== 0 || process.platform !== 'linux') && 'only root can mount a small disk'
}, async t => {
  const machine = await localMachine(t)
  const disk = join(machine.dataDir, 'disk')
  await mkdir(disk, { mode: 0o711 })
  const mounted = spawnSync('/bin/sh', ['-c', 'mount -t tmpfs -o size=2m,mode=711 tmpfs "$1"', 'sh', disk])
  if (mounted.status !== 0) return t.skip('this machine mounts nothing')
  const deployer = machine.another({ dataDir: disk })
  const app = newApp()
  const release = await machine.release(app, answering('here'))
  try {
    await cp(join(machine.dataDir, 'images'), join(disk, 'images'), { recursive: true })
    await deployer.start(release, context())
    const first = Number(await readFile(join(disk, 'apps/runner.pid'), 'utf8'))
    await writeFile(join(disk, 'ballast'), Buffer.alloc(4_000_000)).catch(error => assert.equal(error.code, 'ENOSPC'))
    process.kill(first, 'SIGKILL')
    await isOver(first)
    await deployer.start(release, context())
    await deployer.serve(release, context())
    assert.equal((await get(deployer.urlOf(app), '/')).body, 'here')
  } finally {
    await deployer.stop(never)
    spawnSync('/bin/sh', ['-c', 'umount -l "$1"', 'sh', disk])
  }
})

test('after the runner is killed, any step starts a new one', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  const release = await machine.deploy(await machine.release(app, answering('here')))
  const kill = async () => {
    const killed = await machine.runner()
    process.kill(killed, 'SIGKILL')
    await isOver(killed)
  }
  await kill()
  await machine.deployer.retire(app, null, never)
  await machine.deploy(release)
  await kill()
  await machine.deployer.destroy(app, never)
  await machine.deploy(release)
  await kill()
  await assert.rejects(machine.deployer.serve(release, context()), /not running/)
  await machine.deploy(release)
  assert.equal((await machine.get(app)).body, 'here')
})

test('a runner that is killed in the middle of a start does not lose it', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  const release = await machine.release(app, `setTimeout(() => { ${answering('late')} }, 1000)`)
  const starting = machine.deployer.start(release, context())
  await eventually(
    () => machine.deployer.running(never),
    found => found.length === 1
  )
  process.kill(await machine.runner(), 'SIGKILL')
  await starting
  await machine.deployer.serve(release, context())
  assert.equal((await machine.get(app)).body, 'late')
})

test('servers that need a runner at the same moment share one', async t => {
  const machine = await localMachine(t)
  const apps = Array.from({ length: 4 }, () => newApp())
  const releases = await Promise.all(apps.map(app => machine.release(app, answering(app.slug))))
  await Promise.all(releases.map(release => machine.another().start(release, context())))
  assert.equal((await machine.deployer.running(never)).length, 4)
  await eventually(
    () => processesOf(machine.dataDir).filter(command => command.includes('runner/main')).length,
    count => count === 1
  )
})

test('the runner exits when there is nothing to run, and starts when there is', async t => {
  const machine = await localMachine(t, { idle: 100 })
  const app = newApp()
  const release = await machine.deploy(await machine.release(app, answering('here')))
  const first = await machine.runner()
  await stays(async () => (await machine.get(app)).body === 'here', 700)
  await machine.deployer.retire(app, null, never)
  await isOver(first)
  assert.deepEqual(await machine.deployer.running(never), [])
  for (let round = 0; round < 3; round++) {
    // At any point of its shutdown.
    await new Promise(done => setTimeout(done, 300 + round * 60))
    await machine.deploy(release)
    await machine.deployer.retire(app, null, never)
  }
})

test('when DATA_DIR is removed, everything that runs there ends', async t => {
  const machine = await localMachine(t)
  await machine.deploy(await machine.release(newApp(), answering('one')))
  await machine.deploy(await machine.release(newApp(), `process.on('SIGTERM', () => {})\n${answering('two')}`))
  assert.ok(processesOf(machine.dataDir).length >= 3)
  await rm(machine.dataDir, { recursive: true, force: true })
  await nothingRuns(machine.dataDir)
})

test('stopping the runner stops its apps orderly', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `process.on('SIGTERM', () => { console.log('asked to end'); setTimeout(() => { require('node:fs').writeFileSync(process.env.HOME + '/ended', ''); process.exit() }, 300) })
      http.createServer((q, s) => s.end())${listens}`
    )
  )
  assert.equal(await machine.deployer.stop(never), true)
  assert.deepEqual(processesOf(machine.dataDir), [])
  await stat(join(machine.dataDir, 'apps/of', app.id, 'home/ended'))
  assert.equal(await machine.deployer.stop(never), false)
})

test('a DATA_DIR too long for a socket path works, and leaves nothing outside', async t => {
  const machine = await localMachine(t)
  const dataDir = join(machine.dataDir, 'x'.repeat(120))
  const deployer = machine.another({ dataDir })
  t.after(() => deployer.stop(never))
  const app = newApp()
  const release = await machine.release(app, answering('far away'))
  await mkdir(dataDir, { mode: 0o711 })
  await rename(join(machine.dataDir, 'images'), join(dataDir, 'images'))
  await deployer.start(release, context())
  await machine.another({ dataDir }).serve(release, context())
  assert.equal((await get(deployer.urlOf(app), '/')).body, 'far away')

  const link = join(dataDir, 'apps/runner.sock')
  const socket = await readlink(link)
  process.kill(Number(await readFile(join(dataDir, 'apps/runner.pid'), 'utf8')), 'SIGKILL')
  await deployer.retire(app, null, never)
  const next = await readlink(link)
  assert.notEqual(next, socket)
  await assert.rejects(stat(socket), { code: 'ENOENT' })
  await deployer.stop(never)
  await nothingRuns(dataDir)
  await assert.rejects(stat(next), { code: 'ENOENT' })
})

test('env vars are not written to disk, and other users cannot connect to the runner', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  const secret = 'correct-horse-battery-staple'
  await machine.deploy(await machine.release(app, answering('here'), { SECRET: secret }))
  const apps = join(machine.dataDir, 'apps')
  for (const entry of await readdir(apps, { recursive: true, withFileTypes: true }))
    if (entry.isFile())
      assert.ok(!(await readFile(join(entry.parentPath, entry.name), 'utf8')).includes(secret), entry.name)
  assert.ok(!processesOf(machine.dataDir).join().includes(secret), 'nor into an argument')
  assert.equal((await stat(join(apps, 'runner.sock'))).mode & 0o777, 0o600)
  const environment = await readFile(`/proc/${await machine.runner()}/environ`, 'utf8')
  assert.match(
    environment,
    /^PATH=[^\0]*\0?(NODE_COMPILE_CACHE=[^\0]*\0?)?$/,
    "the runner has none of the server's secrets"
  )
})

test('a log reader survives a restart of the runner without missing kept lines', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  const release = await machine.deploy(
    await machine.release(app, `http.createServer((q, s) => { console.log('asked for ' + q.url); s.end() })${listens}`)
  )
  const since = new Date()
  const reading = linesUntil(machine, app, /\/after/, since)
  await machine.get(app, '/before')
  await linesUntil(machine, app, /\/before/, since)
  const runner = await machine.runner()
  process.kill(runner, 'SIGKILL')
  await isOver(runner)
  await machine.deploy(release)
  await machine.get(app, '/after')
  const { lines } = await reading
  const asked = lines.map(line => line.message).filter(message => message !== 'asked for /health')
  assert.deepEqual(asked, ['asked for /before', 'asked for /after'])
})

test('the runner answers invalid requests with an error and keeps running', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(await machine.release(app, answering('here')))
  const ask = (method: string, path: string, body = '') =>
    new Promise<number>((resolve, reject) => {
      const asked = request({ socketPath: join(machine.dataDir, 'apps/runner.sock'), method, path }, reply => {
        reply.resume()
        resolve(reply.statusCode!)
      })
      asked.on('error', reject)
      asked.end(body)
    })
  assert.equal(await ask('GET', '/no-such-thing'), 404)
  assert.equal(await ask('GET', '//'), 404)
  assert.equal(await ask('POST', '/v2/start'), 404, 'a question that a later version may ask')
  for (const body of ['', '{', '[]', '{"app":null}', '{"app":{"id":7}}'])
    assert.equal(await ask('POST', '/v1/start', body), 500)
  assert.equal((await machine.get(app)).body, 'here')
})

test('a runner with another protocol version is reported', async t => {
  const machine = await localMachine(t)
  await mkdir(join(machine.dataDir, 'apps'))
  const foreign = createServer((question, answer) => {
    answer.statusCode = question.url === '/' ? 200 : 404
    answer.end('{}')
  })
  foreign.listen(join(machine.dataDir, 'apps/runner.sock'))
  t.after(() => foreign.close())
  await once(foreign, 'listening')
  await assert.rejects(machine.deployer.running(never), /another version of Rhone: stop it with "rhone local stop"/)
})
