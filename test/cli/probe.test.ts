import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it, type TestContext, test } from 'node:test'
import { testApp } from '../support/app.ts'
import { rhone } from '../support/rhone.ts'

const GONE = 'http://127.0.0.1:1'

/** An HTTP server with answers of the test. */
async function answering(t: TestContext, answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer(answer).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** The answers of a healthy server to the checks. */
function healthy({ url, headers }: IncomingMessage, response: ServerResponse): void {
  const isKnown = url !== '/api/v1/me' || headers.authorization === 'Bearer good'
  response.writeHead(isKnown ? 200 : 401)
  response.end(url === '/login' ? '<h1>Sign in</h1>' : '{"pong":true}')
}

const probe = (url: string, ...more: string[]) =>
  rhone(['probe', '--url', url, '--token', 'good', '--pause', '0', '--json', ...more], { DATA_DIR: '/nonexistent' })
const verdictOf = ({ stdout }: { stdout: string }) => JSON.parse(stdout).verdict

describe('rhone probe', () => {
  const releases: (() => Promise<unknown>)[] = []
  after(async () => {
    for (const release of releases) await release()
  })

  it('checks ping, readiness, login page and a call with a token, and reports the server as up', async () => {
    const scope = { after: (release: () => Promise<unknown>) => void releases.unshift(release) }
    const { app, token } = await testApp(scope as unknown as TestContext, {}, { pressure: false })
    const url = await app.listen({ host: '127.0.0.1', port: 0 })
    const found = await rhone(['probe', '--pause', '0'], { RHONE_URL: url, RHONE_TOKEN: token })
    assert.equal(found.code, 0, found.stdout)
    for (const check of ['ping', 'ready', 'login', 'token'])
      assert.match(found.stdout, new RegExp(`^${check} +ok +2 `, 'm'))
    assert.match(found.stdout, /The server is up\./)
  })

  it('needs two of three attempts to report a failure or a success', async t => {
    let pings = 0
    const url = await answering(t, (request, response) => {
      if (request.url !== '/api/v1/ping' || ++pings !== 1) return healthy(request, response)
      response.writeHead(500)
      response.end()
    })
    const once = await probe(url)
    assert.equal(once.code, 0, once.stdout)
    assert.equal(JSON.parse(once.stdout).checks[0].attempts, 3)

    let readies = 0
    const failing = await answering(t, (request, response) => {
      if (request.url !== '/ready' || ++readies === 2) return healthy(request, response)
      response.writeHead(503)
      response.end()
    })
    const twice = await probe(failing)
    assert.equal(twice.code, 1)
    const { verdict, checks } = JSON.parse(twice.stdout)
    assert.equal(verdict, 'down')
    assert.deepEqual(
      checks.map(({ name, ok, problem }: { name: string; ok: boolean; problem: string }) => [name, ok, problem]),
      [
        ['ping', true, null],
        ['ready', false, 'answered 503, expected 200'],
        ['login', true, null],
        ['token', true, null]
      ]
    )
  })

  it('reports an unknown state if its own network may be down', async t => {
    const reference = await answering(t, (_request, response) => response.end())
    const down = await probe(GONE, '--reference', reference)
    assert.deepEqual([down.code, verdictOf(down)], [1, 'down'])
    const unknown = await probe(GONE, '--reference', 'http://127.0.0.1:2')
    assert.deepEqual([unknown.code, verdictOf(unknown)], [3, 'unknown'])
    assert.deepEqual([(await probe(GONE)).code], [1], 'without a reference, it is the server')
  })

  it('skips checks that need a token without one', async t => {
    const url = await answering(t, healthy)
    const found = await rhone(['probe', '--url', url, '--pause', '0', '--json'], { DATA_DIR: '/nonexistent' })
    assert.equal(found.code, 0)
    assert.deepEqual(
      JSON.parse(found.stdout).checks.map(({ name }: { name: string }) => name),
      ['ping', 'ready', 'login']
    )
  })

  it('sends a heartbeat only if the server is up; a failed heartbeat is only noted', async t => {
    const url = await answering(t, healthy)
    let beats = 0
    const heartbeat = await answering(t, (_request, response) => {
      beats++
      response.end()
    })
    await probe(url, '--heartbeat', heartbeat)
    await probe(GONE, '--heartbeat', heartbeat)
    assert.equal(beats, 1)
    const lost = await probe(url, '--heartbeat', GONE)
    assert.equal(lost.code, 0)
    assert.match(lost.stderr, /the heartbeat could not be sent/)
  })

  it('deploys an app and waits until it is live, or says why it is not', async t => {
    const states = ['building', 'live']
    let asked = 0
    const api = (results: readonly string[]) => (request: IncomingMessage, response: ServerResponse) => {
      if (request.url === '/api/v1/apps/sample/deploy') {
        response.writeHead(202)
        return response.end('{"id":"d1"}')
      }
      if (!request.url!.endsWith('/deployments/d1')) return healthy(request, response)
      const status = results[Math.min(asked++, results.length - 1)]
      response.end(JSON.stringify({ status, errorMessage: status === 'build_failed' ? 'npm ended with 1' : null }))
    }
    const done = await probe(await answering(t, api(states)), '--deploy', 'sample')
    assert.equal(done.code, 0, done.stdout)
    assert.equal(JSON.parse(done.stdout).checks.at(-1).attempts, 1)
    const failed = await probe(await answering(t, api(['build_failed'])), '--deploy', 'sample')
    assert.match(JSON.parse(failed.stdout).checks.at(-1).problem, /the deployment d1 is build_failed: npm ended with 1/)
  })

  it('answers wrong usage with 2', async () => {
    for (const more of [
      ['--pause', 'x'],
      ['--deploy-timeout', '0'],
      ['--reference', 'example.com'],
      ['--heartbeat', 'ftp://x']
    ]) {
      const wrong = await probe(GONE, ...more)
      assert.deepEqual([wrong.code, wrong.stdout], [2, ''], more.join(' '))
    }
  })
})

test('the textfile is valid for node_exporter, and is written atomically', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'rhone-probe-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const file = join(directory, 'rhone.prom')
  const url = await answering(t, healthy)
  await probe(url, '--textfile', file)
  const text = await readFile(file, 'utf8')
  const target = new URL(url).host
  assert.match(text, new RegExp(`^rhone_probe_up\\{target="${target}"\\} 1$`, 'm'))
  assert.match(text, new RegExp(`^rhone_probe_check_success\\{target="${target}",check="token"\\} 1$`, 'm'))
  assert.deepEqual(await readdir(directory), ['rhone.prom'])
  if (!spawnSync('promtool', ['--version']).error) {
    const { status, stderr, stdout } = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' })
    assert.equal(status, 0, stderr + stdout)
  }

  await probe(GONE, '--textfile', file, '--reference', 'http://127.0.0.1:2')
  const unknown = await readFile(file, 'utf8')
  assert.doesNotMatch(unknown, /^rhone_probe_up\{/m)
  assert.match(unknown, /^rhone_probe_conclusive\{.*\} 0$/m)
})
