import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DeployError } from '../../integrations/deployer/port.ts'
import { eventually } from '../support/eventually.ts'
import { answering, context, linesUntil, localMachine, never, newApp } from '../support/local-apps.ts'

const listens = `.listen(process.env.PORT, '127.0.0.1')`
/** An app that replies with the value of an expression. */
const telling = (expression: string) => `http.createServer((q, s) => s.end(JSON.stringify(${expression})))${listens}`

const isAbout = (message: RegExp) => (error: Error) => {
  assert.ok(error instanceof DeployError, error.stack)
  assert.match(`${error.message}\n${(error as { said?: string }).said ?? ''}`, message)
  return true
}

test('an app is started, reached by its name, replaced, and removed', async t => {
  const machine = await localMachine(t)
  const { deployer } = machine
  const app = newApp()
  assert.deepEqual(await deployer.running(never), [], 'and no runner is started to find that out')

  const first = await machine.release(app, answering('one'))
  await deployer.start(first, context())
  assert.equal((await machine.get(app)).status, 404, 'it is healthy, and not open yet')
  await deployer.serve(first, context())
  assert.equal((await machine.get(app)).body, 'one')

  const second = await machine.deploy(await machine.release(app, answering('two')))
  assert.equal((await machine.get(app)).body, 'two')
  const both = await deployer.running(never)
  assert.deepEqual(
    new Map(both.map(({ deploymentId, isServing, isHealthy }) => [deploymentId, [isServing, isHealthy]])),
    new Map([
      [first.deploymentId, [false, true]],
      [second.deploymentId, [true, true]]
    ])
  )
  await deployer.retire(app, second.deploymentId, never)
  const [left, ...others] = await deployer.running(never)
  assert.deepEqual([left?.deploymentId, others.length], [second.deploymentId, 0])

  await deployer.destroy(app, never)
  await deployer.destroy(app, never)
  assert.deepEqual(await deployer.running(never), [])
  assert.equal((await machine.get(app)).status, 404)
})

test('every step can be repeated, even by another server', async t => {
  const machine = await localMachine(t)
  const other = machine.another()
  const app = newApp()
  const release = await machine.release(app, `console.log('started', process.pid)\n${answering('once')}`)
  await Promise.all([machine.deployer.start(release, context()), other.start(release, context())])
  await other.start(release, context())
  for (const deployer of [other, machine.deployer]) await deployer.serve(release, context())
  await Promise.all([
    machine.deployer.retire(app, release.deploymentId, never),
    other.retire(app, release.deploymentId, never)
  ])
  assert.equal((await machine.get(app)).body, 'once')
  const { lines } = await linesUntil(machine, app, /started/, new Date(0))
  assert.equal(lines.filter(line => line.message.startsWith('started')).length, 1)

  await Promise.all([machine.deployer.retire(app, null, never), other.retire(app, null, never)])
  assert.deepEqual(await other.running(never), [])
  assert.equal((await machine.get(app)).status, 503)
  await assert.rejects(machine.deployer.serve(release, context()), /not running/)
  await machine.deploy(release)
  assert.equal((await machine.get(app)).body, 'once', 'what was retired can be started again')
})

test('an app gets its env vars unchanged, and no more of Rhone than it needs', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  const env = {
    LINES: 'one\ntwo\r\n\tthree',
    UNICODE: 'zażółć 🦊 \u202e',
    SHELL_LIKE: '$(id) `id` "quoted" \'single\' \\ ; rm -rf / #',
    EMPTY: '',
    HUGE: 'x'.repeat(100_000),
    PORT: '1'
  }
  await machine.deploy(await machine.release(app, telling('process.env'), env))
  const { PORT, HOME, PATH, PWD, RHONE_DEPLOYMENT_ID, RHONE_RELEASE, RHONE_RUNNER, HUGE, ...rest } = JSON.parse(
    (await machine.get(app)).body
  )
  assert.ok(Number(PORT) > 1_024)
  assert.equal(HUGE.length, env.HUGE.length)
  assert.ok(HOME.startsWith(machine.dataDir))
  assert.match(PATH, /^\//)
  assert.deepEqual(rest, {
    ...{ LINES: env.LINES, UNICODE: env.UNICODE, SHELL_LIKE: env.SHELL_LIKE, EMPTY: '' },
    ...{ PRIMARY_REGION: 'ams', HOST: '127.0.0.1', NODE_ENV: 'production', RHONE_APP: app.slug }
  })
})

test('invalid env vars fail the deployment with an explanation, but without their values', async t => {
  const machine = await localMachine(t)
  const start = async (env: Record<string, string>) =>
    machine.deployer.start(await machine.release(newApp(), answering('never'), env), context())
  await assert.rejects(start({ SECRET: 'pass\0word' }), (error: Error) => {
    assert.doesNotMatch(error.message, /pass|word/)
    return isAbout(/The value of SECRET contains a NUL/)(error)
  })
  await assert.rejects(start({ BIG: 'x'.repeat(200_000) }), isAbout(/too long in total/))
  await assert.rejects(start({ BIGGER: 'x'.repeat(20_000_000) }), isAbout(/too long in total/))
  await assert.rejects(start({ 'A=B': 'x' }), isAbout(/"A=B" is not a valid/))
})

test('an app can write only to its home directory, and cannot read other apps', {
  skip: process.geteuid?.() !== 0 && 'only root can give each app a user of its own'
}, async t => {
  const machine = await localMachine(t)
  const [one, other] = [newApp(), newApp()]
  const look = `
    const fs = require('node:fs')
    const attempt = work => { try { work(); return 'done' } catch (error) { return error.code } }
    http.createServer((q, s) => {
      if (q.url === '/health') return s.end()
      const { pid, files } = JSON.parse(decodeURIComponent(q.url.slice(2)) || '{}')
      s.end(JSON.stringify({
        uid: process.getuid(),
        home: attempt(() => fs.writeFileSync(process.env.HOME + '/note', 'x')),
        image: attempt(() => fs.writeFileSync('note', 'x')),
        files: files?.map(file => attempt(() => fs.readFileSync(file))),
        kill: pid && attempt(() => process.kill(pid, 0)),
        pid: process.pid
      }))
    })${listens}`
  await machine.deploy(await machine.release(one, look))
  await machine.deploy(await machine.release(other, look))
  const seen = JSON.parse((await machine.get(one)).body)
  assert.deepEqual([seen.home, seen.image], ['done', 'EACCES'])
  const files = [
    `/proc/${seen.pid}/environ`,
    `${machine.dataDir}/apps/of/${one.id}/home/note`,
    `${machine.dataDir}/apps/processes.json`
  ]
  const wish = encodeURIComponent(JSON.stringify({ pid: seen.pid, files }))
  const result = JSON.parse((await machine.get(other, `/?${wish}`)).body)
  assert.deepEqual([result.files, result.kill], [['EACCES', 'EACCES', 'EACCES'], 'EPERM'])
  assert.notEqual(result.uid, seen.uid)
})

test('a broken release reports why, and the old one keeps serving', async t => {
  const machine = await localMachine(t, { healthGrace: 5_000 })
  const app = newApp()
  const good = await machine.deploy(await machine.release(app, answering('good')))
  const broken: [source: string, complaint: RegExp][] = [
    [
      `console.log('about to fail'); throw new Error('no database')`,
      /exited with code 1\.[\s\S]*about to fail[\s\S]*no database/
    ],
    [`process.kill(process.pid, 'SIGKILL')`, /was killed by SIGKILL\. It logged nothing/],
    ['setInterval(() => {}, 1000)', /not healthy after 5 s: it does not listen on the port in PORT/],
    [`http.createServer((q, s) => { s.statusCode = 500; s.end() })${listens}`, /GET \/health with 500/],
    [
      `http.createServer((q, s) => { s.statusCode = q.url === '/health' ? 404 : 503; s.end() })${listens}`,
      /GET \/ with 503/
    ],
    [
      `require('node:net').createServer(c => c.on('error', () => {}).end('what?\\r\\n\\r\\n'))${listens}`,
      /closes connections without a reply/
    ]
  ]
  await Promise.all(
    broken.map(async ([source, complaint]) => {
      const release = await machine.release(app, source)
      await assert.rejects(machine.deployer.start(release, context()), isAbout(complaint))
    })
  )
  assert.equal((await machine.get(app)).body, 'good')
  const [left, ...others] = await machine.deployer.running(never)
  assert.deepEqual([left?.deploymentId, left?.isServing, others.length], [good.deploymentId, true, 0])
})

test('an app that writes to its read-only working directory fails with a message that says where it may write', {
  skip: process.geteuid?.() !== 0 && 'only root can give each app a user of its own'
}, async t => {
  const machine = await localMachine(t)
  const release = await machine.release(newApp(), `require('node:fs').writeFileSync('./data.sqlite', '')`)
  await assert.rejects(
    machine.deployer.start(release, context()),
    isAbout(/cannot write to its build directory: it can write to its home directory[\s\S]*EACCES/)
  )
})

test('an app without a health page is checked by its front page', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `http.createServer((q, s) => { s.statusCode = q.url === '/health' ? 404 : 401; s.end() })${listens}`
    )
  )
  assert.equal((await machine.get(app)).status, 401)
})

test('a slow app becomes live within its healthGrace; without it, the error mentions the setting', async t => {
  const machine = await localMachine(t, { healthGrace: 100 })
  const app = newApp()
  const slow = await machine.release(
    app,
    `setTimeout(() => http.createServer((q, s) => s.end('late'))${listens}, 1000)`
  )
  await assert.rejects(machine.deployer.start(slow, context()), isAbout(/If it needs longer to start.*healthGrace/))
  await machine.deploy({ ...slow, health: { path: null, grace: 60, port: null } })
  assert.equal((await machine.get(app)).body, 'late')
})

test('a configured health path means healthy with a status below 400', async t => {
  const machine = await localMachine(t, { healthGrace: 1_500 })
  const app = newApp()
  const release = await machine.release(
    app,
    `http.createServer((q, s) => { s.statusCode = { '/up': 204, '/login': 401 }[q.url] ?? 503; s.end() })${listens}`
  )
  const asked = (path: string) => ({ ...release, health: { path, grace: null, port: null } })
  await assert.rejects(machine.deployer.start(asked('/login'), context()), isAbout(/GET \/login with 401/))
  await machine.deploy(asked('/up'))
  assert.equal((await machine.get(app, '/login')).status, 401)
})

test('a missing or invalid image starts nothing', async t => {
  const machine = await localMachine(t)
  const release = await machine.release(newApp(), answering('x'))
  const gone = { ...release, image: `local:sha256:${'0'.repeat(64)}` }
  await assert.rejects(machine.deployer.start(gone, context()), isAbout(/image is no longer available/))
  for (const image of ['local:sha256:../../etc', 'registry.fly.io/x@sha256:0'])
    await assert.rejects(machine.deployer.start({ ...release, image }, context()), /this image is not on this machine/)
  const stranger = { ...release, app: { ...release.app, id: '../../etc' } }
  await assert.rejects(machine.deployer.start(stranger, context()), /not an app id/)
  await assert.rejects(machine.deployer.destroy(stranger.app, never), /not an app id/)
})

test('a hanging start ends with its signal, and its remains are removed by retire', async t => {
  const machine = await localMachine(t, { healthGrace: 60_000 })
  const app = newApp()
  const release = await machine.release(app, `process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)`)
  const cancelling = new AbortController()
  const starting = machine.deployer.start(release, context(cancelling.signal))
  await eventually(
    () => machine.deployer.running(never),
    found => found.length === 1
  )
  cancelling.abort(new Error('cancelled'))
  await assert.rejects(starting, /cancelled|aborted/)
  await machine.deployer.retire(app, null, never)
  assert.deepEqual(await machine.deployer.running(never), [])
})
