import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { identify } from '../../plugins/lib/processes.ts'
import { eventually } from '../support/eventually.ts'
import { answering, type LocalMachine, linesUntil, localMachine, never, newApp } from '../support/local-apps.ts'

const listens = `.listen(process.env.PORT, '127.0.0.1')`
const asRoot = { skip: process.geteuid?.() !== 0 && 'only root can give each app a user of its own' }

const isOver = (pid: number) =>
  eventually(
    () => identify(pid),
    found => found === null,
    10_000
  )

/** Starts a process in its own session, and prints its pid. `env` is the part of the environment that it keeps. */
const detaching = (env: string) => `
  const { spawn } = require('node:child_process')
  const hold = 'process.on("SIGTERM", () => {}); const a = Buffer.alloc(100e6, 1); setInterval(() => a[0]++, 1000)'
  const child = spawn(process.execPath, ['-e', hold], { detached: true, stdio: 'ignore', env: ${env} })
  child.unref()
  http.createServer((q, s) => s.end(String(child.pid)))${listens}`

const pidOf = async (machine: LocalMachine, app: ReturnType<typeof newApp>) => Number((await machine.get(app)).body)

test('a child in its own session is counted, and is killed with its release, its app and the runner', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(await machine.release(app, detaching('process.env')))
  const first = await pidOf(machine, app)
  assert.ok(identify(first))
  await eventually(
    () => machine.deployer.metrics(app, never),
    ({ memory }) => memory.usedMb > 100
  )

  const second = await machine.deploy(await machine.release(app, detaching('process.env')))
  const next = await pidOf(machine, app)
  await machine.deployer.retire(app, second.deploymentId, never)
  assert.equal(identify(first), null)
  assert.ok(identify(next), 'processes of the other release continue')

  await machine.deployer.destroy(app, never)
  assert.equal(identify(next), null)

  await machine.deploy(second)
  const last = await pidOf(machine, app)
  await machine.deployer.stop(never)
  await isOver(last)
})

test('a child that also cleared its environment is killed through the user of its app', asRoot, async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(await machine.release(app, detaching('{}')))
  const pid = await pidOf(machine, app)
  const second = await machine.deploy(await machine.release(app, answering('two')))
  await machine.deployer.retire(app, second.deploymentId, never)
  assert.equal(identify(pid), null)
})

test('a child that cleared its environment does not outlive a killed runner', asRoot, async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(await machine.release(app, detaching('{}')))
  const pid = await pidOf(machine, app)
  const killed = await machine.runner()
  process.kill(killed, 'SIGKILL')
  await isOver(killed)
  assert.ok(identify(pid))
  assert.deepEqual(await machine.deployer.running(never), [])
  await isOver(pid)
})

test('a start command that daemonizes leaves nothing running, however often it is restarted', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  const release = await machine.release(
    app,
    `const { spawn } = require('node:child_process')
    if (process.argv[2] === 'serve') {
      console.log('serves as ' + process.pid)
      http.createServer((q, s) => s.end('hi'))${listens}
    } else {
      spawn(process.execPath, [__filename, 'serve'], { detached: true, stdio: 'inherit' }).unref()
      setTimeout(() => process.exit(), 700)
    }`
  )
  await machine.deploy(release)
  const said = await linesUntil(
    machine,
    app,
    /exited with code 0, and its background processes were stopped; it restarts in 0\.2 s/,
    new Date(0)
  )
  const pids = said.lines.flatMap(({ message }) => /serves as (\d+)/.exec(message)?.[1] ?? []).map(Number)
  assert.ok(pids.length >= 2)
  for (const pid of pids) await isOver(pid)
})

test('a process that reuses the pid of one of a killed runner is left alone', async t => {
  const machine = await localMachine(t)
  await mkdir(join(machine.dataDir, 'apps'), { mode: 0o711 })
  const ours = [{ pid: process.pid, startedAt: '1' }, { pid: process.ppid, startedAt: '' }, { pid: -1 }, null]
  await writeFile(join(machine.dataDir, 'apps/processes.json'), JSON.stringify(ours.slice(0, 3)))
  await machine.deploy(await machine.release(newApp(), answering('here')))
  assert.ok(identify(process.ppid))
})

/** Answers like another program that has taken the port of an app, and counts requests. */
async function thief(t: TestContext, port: number): Promise<{ asked: number; server: Server }> {
  const server = createServer((question, answer) => {
    // A health check may be under way when the port is taken: it contains no secrets, and its answer is not trusted.
    if (question.url !== '/health') taken.asked += 1
    answer.end('stolen')
  })
  const taken = { asked: 0, server }
  t.after(() => taken.server.close())
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return taken
}

test('an app’s requests do not reach another program that takes its port before the app listens', asRoot, async t => {
  const machine = await localMachine(t, { healthGrace: 10_000 })
  const app = newApp()
  const note = join(machine.dataDir, 'apps/of', app.id, 'home/ports')
  const release = await machine.release(
    app,
    `const fs = require('node:fs'), ports = process.env.HOME + '/ports'
    const first = !fs.existsSync(ports)
    fs.appendFileSync(ports, process.env.PORT + '\\n')
    const server = http.createServer((q, s) => s.end('mine')).on('error', () => {})
    setTimeout(() => server.listen(process.env.PORT, '127.0.0.1'), first ? 60_000 : 0)`
  )
  const deployed = machine.deploy(release)
  const port = await eventually(
    () => readFile(note, 'utf8').catch(() => ''),
    text => text.endsWith('\n')
  )
  const stolen = await thief(t, Number(port))
  await deployed
  assert.equal((await machine.get(app)).body, 'mine')
  assert.equal(stolen.asked, 0)
  assert.notEqual((await readFile(note, 'utf8')).trim().split('\n').at(-1), port.trim())
})

test('an app’s requests do not reach another program that takes its port while the app runs', asRoot, async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `const server = http.createServer((q, s) => {
        s.end(process.env.PORT)
        if (q.url === '/close') { server.close(); server.closeAllConnections() }
      })${listens}`
    )
  )
  const port = Number((await machine.get(app)).body)
  await machine.get(app, '/close').catch(() => {})
  const stolen = await eventually(
    () => thief(t, port).catch(() => null),
    taken => taken !== null
  )
  const reply = await machine.get(app, '/', { headers: { cookie: 'session=secret' } })
  assert.equal(reply.status, 503)
  assert.equal(stolen?.asked, 0)
})

test('only its own app can read an image, even if the path shows in process arguments', asRoot, async t => {
  const machine = await localMachine(t)
  const [one, other] = [newApp(), newApp()]
  const release = await machine.deploy(
    await machine.release(one, `http.createServer((q, s) => s.end(process.cwd()))${listens}`)
  )
  const directory = (await machine.get(one)).body
  assert.ok(directory.includes(release.image.replace('local:sha256:', '')))
  assert.equal((await stat(join(directory, '..'))).mode & 0o777, 0o750)
  await machine.deploy(
    await machine.release(
      other,
      `const look = () => { try { return require('node:fs').readFileSync(${JSON.stringify(`${directory}/server.cjs`)}) } catch (error) { return error.code } }
      http.createServer((q, s) => s.end(look()))${listens}`
    )
  )
  assert.equal((await machine.get(other)).body, 'EACCES')
})

test('no program runs with the env vars of an app before its limits are set', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  // With this variable, the loader of every program prints one line.
  const release = await machine.release(app, `console.log('started')\n${answering('here')}`, { LD_DEBUG: 'statistics' })
  await machine.deploy(release)
  const { lines } = await linesUntil(machine, app, /started/, new Date(0))
  assert.equal(lines.filter(({ message }) => /runtime linker statistics/.test(message)).length, 1)
})

test('env vars with names reserved by shells reach the app unchanged', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  const env = {
    UID: '7',
    EUID: '8',
    PPID: '9',
    IFS: ',',
    PS4: '+',
    RANDOM: 'no',
    LINENO: 'x',
    SHELLOPTS: 'y',
    OPTIND: 'z'
  }
  await machine.deploy(
    await machine.release(app, `http.createServer((q, s) => s.end(JSON.stringify(process.env)))${listens}`, env)
  )
  const seen = JSON.parse((await machine.get(app)).body)
  for (const [name, value] of Object.entries(env)) assert.equal(seen[name], value, name)
})

test('deleting an app removes its user’s files from world-writable directories', asRoot, async t => {
  const machine = await localMachine(t)
  const app = newApp()
  const place = await mkdtemp('/tmp/rhone-shared-')
  t.after(() => rm(place, { recursive: true, force: true }))
  await chmod(place, 0o1777)
  await machine.deploy(
    await machine.release(
      app,
      `const fs = require('node:fs'), place = ${JSON.stringify(place)}
      fs.mkdirSync(place + '/mine/locked', { recursive: true }); fs.writeFileSync(place + '/mine/locked/file', 'x')
      fs.writeFileSync('/dev/shm/' + process.env.RHONE_APP, 'x')
      ${answering('here')}`
    )
  )
  await stat(`/dev/shm/${app.slug}`)
  await machine.deployer.destroy(app, never)
  await assert.rejects(stat(`/dev/shm/${app.slug}`), { code: 'ENOENT' })
  await assert.rejects(stat(join(place, 'mine')), { code: 'ENOENT' })
})
