import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RuntimeLine } from '../../integrations/deployer/port.ts'
import { identify } from '../../plugins/lib/processes.ts'
import { eventually } from '../support/eventually.ts'
import { linesUntil, localMachine, never, newApp } from '../support/local-apps.ts'

const listens = `.listen(process.env.PORT, '127.0.0.1')`

test('an app that exits is restarted with growing pauses, and its log says so', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `http.createServer((q, s) => q.url === '/die' ? process.exit(3) : s.end(String(process.pid)))${listens}`
    )
  )
  const pid = (await machine.get(app)).body
  for (const wait of ['0.1', '0.2', '0.4']) {
    await assert.doesNotReject(machine.get(app, '/die'))
    await linesUntil(machine, app, new RegExp(`exited with code 3; it restarts in ${wait} s`), new Date(0))
    const reply = await eventually(
      () => machine.get(app),
      ({ status }) => status === 200
    )
    assert.notEqual(reply.body, pid)
  }
})

test('processes that an app leaves behind are ended when it exits', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  const release = await machine.release(
    app,
    `const { spawn } = require('node:child_process')
    const child = spawn('/bin/sh', ['-c', 'trap "" TERM; while :; do sleep 1; done'], { stdio: 'inherit' })
    http.createServer((q, s) => s.end(String(child.pid)))${listens}`
  )
  await machine.deploy(release)
  const pid = Number((await machine.get(app)).body)
  assert.ok(identify(pid))
  await machine.deployer.retire(app, null, never)
  await eventually(
    () => identify(pid),
    found => found === null,
    10_000
  )
})

test('an app that exceeds its memory limit is killed and restarted', async t => {
  const machine = await localMachine(t, { memory: 150 })
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `const kept = []
      http.createServer((q, s) => { if (q.url === '/eat') kept.push(Buffer.alloc(300e6, 1)); s.end(String(process.pid)) })${listens}`
    )
  )
  const { body } = await machine.get(app, '/eat')
  await linesUntil(machine, app, /used \d+ MB of memory; the limit is 150/, new Date(0))
  const after = await eventually(
    () => machine.get(app),
    ({ status }) => status === 200
  )
  assert.notEqual(after.body, body)
})

test('the log has levels, keeps its order, and resumes where the reader left off', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  const said: RuntimeLine[] = []
  const reading = new AbortController()
  const reader = (async () => {
    for await (const entry of machine.deployer.logs(app, null, reading.signal)) if ('message' in entry) said.push(entry)
  })()
  const release = await machine.release(
    app,
    `console.log('plain'); console.error('wrong')
    console.log(JSON.stringify({ level: 'warn', msg: 'careful' })); console.log('{"level":50,"msg":"pino"}')
    console.log('{"level": nonsense'); console.log('\\u0000 zażółć 🦊'); console.log('y'.repeat(40000)); console.log('')
    http.createServer((q, s) => { console.log('asked for ' + q.url); s.end() })${listens}`
  )
  await machine.deploy(release)
  await machine.get(app, '/first')
  await eventually(
    () => said.some(line => line.message === 'asked for /first'),
    found => found
  )
  reading.abort()
  await reader

  const levels = new Map(said.map(({ message, level }) => [message.slice(0, 20), level]))
  assert.equal(levels.get('plain'), 'info')
  assert.equal(levels.get('wrong'), 'info', 'many programs write all of their log to their standard error')
  assert.equal(levels.get('{"level":"warn","msg'), 'warn')
  assert.equal(levels.get('{"level":50,"msg":"p'), 'error')
  assert.equal(levels.get('{"level": nonsense'), 'info')
  assert.ok(levels.has('\uFFFD zażółć 🦊'))
  assert.equal(said.find(line => line.message.startsWith('yyy'))?.message.length, 16_384)
  const first = said.find(line => line.message === 'asked for /first')!
  assert.deepEqual(
    [first.appId, first.deploymentId, first.source, first.region],
    [app.id, release.deploymentId, 'app', 'ams']
  )

  await machine.get(app, '/second')
  const { lines } = await linesUntil(machine, app, /second/, new Date(first.at.getTime() + 1))
  assert.ok(!lines.some(line => line.message === 'plain'))
})

test('an unfinished line is shown while the app runs and when it ends', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `process.stdout.write('Ready, waiting for jobs... ')
      http.createServer((q, s) => { s.end(); if (q.url === '/die') process.stdout.write('last words', () => process.exit()) })${listens}`
    )
  )
  await linesUntil(machine, app, /Ready, waiting for jobs/, new Date(0))
  await machine.get(app, '/die')
  await linesUntil(machine, app, /last words/, new Date(0))
})

test('memory held as files counts towards the memory limit', async t => {
  const machine = await localMachine(t, { memory: 150 })
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `const fs = require('node:fs')
      http.createServer((q, s) => {
        if (q.url === '/hide') {
          const file = fs.openSync('/dev/shm/' + process.env.RHONE_APP, 'w')
          fs.unlinkSync('/dev/shm/' + process.env.RHONE_APP)
          for (let i = 0; i < 20; i++) fs.writeSync(file, Buffer.alloc(10e6))
        }
        s.end()
      })${listens}`
    )
  )
  await machine.get(app, '/hide')
  await linesUntil(machine, app, /used \d+ MB of memory; the limit is 150/, new Date(0))
})

test('an app that stores too many files is stopped, however small they are', async t => {
  const machine = await localMachine(t, { files: 100 })
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `const fs = require('node:fs')
      http.createServer((q, s) => {
        if (q.url === '/litter') for (let i = 0; i < 200; i++) fs.writeFileSync(process.env.HOME + '/' + i, '')
        s.end()
      })${listens}`
    )
  )
  await machine.get(app, '/litter')
  await linesUntil(machine, app, /more than 100 files in its home/, new Date(0))
})

test('an app that floods its log loses lines, and keeps answering', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `const flood = () => { for (let i = 0; i < 5000; i++) console.log('flood ' + i) }
      http.createServer((q, s) => { if (q.url === '/flood') flood(); s.end('here') })${listens}`
    )
  )
  let isTold = false
  const reading = linesUntil(machine, app, /lines were dropped/, new Date()).then(() => {
    isTold = true
  })
  for (let i = 0; i < 3; i++) assert.equal((await machine.get(app, '/flood')).body, 'here')
  // The next line after a pause reports how many were dropped before it.
  await eventually(async () => {
    await machine.get(app, '/flood')
    return isTold
  })
  await reading
})

test('metrics show the usage and the replies of an app', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  assert.equal((await machine.deployer.metrics(app, never)).requests.total, 0)
  await machine.deploy(
    await machine.release(
      app,
      `http.createServer((q, s) => {
        if (q.url === '/work') for (const until = Date.now() + 400; Date.now() < until; );
        s.statusCode = q.url === '/fail' ? 500 : 200; s.end('x'.repeat(1000))
      })${listens}`
    )
  )
  for (const path of ['/', '/', '/work', '/fail']) await machine.get(app, path)
  const metrics = await eventually(
    async () => {
      await machine.get(app, '/work')
      return machine.deployer.metrics(app, never)
    },
    ({ cpuPercent, memory }) => cpuPercent > 1 && memory.usedMb > 5
  )
  assert.ok(metrics.requests.total >= 5)
  assert.ok(metrics.requests.errorRate > 0 && metrics.requests.errorRate < 1)
  assert.ok(metrics.requests.perSec > 0 && metrics.requests.avgLatencyMs > 50)
  assert.ok(metrics.network.bytesOutPerSec > metrics.network.bytesInPerSec && metrics.network.bytesInPerSec > 0)
  assert.equal(metrics.memory.totalMb, 512)
  assert.deepEqual(
    metrics.instances.map(({ region, state }) => [region, state]),
    [['ams', 'started']]
  )
})
