import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { brotliCompressSync } from 'node:zlib'
import { platform } from './support.ts'

const server = await platform({ after }, { pressure: false })
const get = (url: string, headers = {}) => server.app.inject({ url, headers })

test('the home page links to sign-in and the API', async () => {
  const reply = await get('/', { accept: 'text/html' })
  assert.equal(reply.statusCode, 200)
  assert.equal(reply.headers['content-type'], 'text/html; charset=utf-8')
  assert.match(String(reply.headers['content-security-policy']), /script-src 'nonce-/)
  for (const href of ['/login', '/docs']) assert.ok(reply.body.includes(`href="${href}"`))
})

test('favicon and robots.txt exist, even while the platform is closed', async t => {
  await server.operator.call('POST', '/admin/maintenance', { enabled: true })
  t.after(() => server.operator.call('POST', '/admin/maintenance', { enabled: false }))

  const icon = await get('/favicon.ico')
  assert.deepEqual([icon.statusCode, icon.headers['content-type']], [200, 'image/svg+xml'])
  assert.match(icon.body, /^<svg /)
  const robots = await get('/robots.txt')
  assert.deepEqual([robots.statusCode, robots.headers['content-type']], [200, 'text/plain; charset=utf-8'])
  assert.match(robots.body, /^User-agent: \*$/m)

  const page = await get('/', { accept: 'text/html' })
  assert.equal(page.statusCode, 503)
  assert.match(page.body, /<svg [^>]*aria-hidden="true"/)
  assert.doesNotMatch(page.body, /\p{Extended_Pictographic}/u)
})

test('security.txt has a contact, and expires in less than a year', async () => {
  const { statusCode, headers, body } = await get('/.well-known/security.txt')
  assert.deepEqual([statusCode, headers['content-type']], [200, 'text/plain; charset=utf-8'])
  const fields = Object.fromEntries(
    body
      .trim()
      .split('\n')
      .map(line => line.split(/: (.*)/s, 2))
  )
  assert.match(fields.Contact, /^mailto:security@/)
  const days = (Date.parse(fields.Expires) - Date.now()) / 86_400_000
  assert.ok(days > 30 && days < 365, fields.Expires)
})

/** The files of every page, and those that the script loads on pages with a log or a chart. */
const ALWAYS = /(?:src|href|data-events)="(\/assets\/[^"]+)"/g
const FOR_LOGS = /data-log-file="([^"]+)"/g
const HAS_CHARTS = / data-(?:charts|readings)[ =]/
const FOR_CHARTS = /data-(?:charts-file|uplot|uplot-look)="([^"]+)"/g

test('the first page view transfers at most 60 kB, of which 34 are third-party code', async () => {
  await server.operator.call('POST', '/api/v1/apps', {
    name: 'Budget',
    gitUrl: 'https://git.example.com/acme/budget.git'
  })
  const authorization = `Bearer ${server.operator.token}`
  for (const path of [
    '/',
    '/login',
    '/dashboard',
    '/apps/budget',
    '/apps/budget/logs',
    '/settings',
    '/admin/operations'
  ]) {
    const page = await get(path, { accept: 'text/html', authorization })
    assert.equal(page.statusCode, 200, path)
    const kinds = [
      ALWAYS,
      ...(/ data-log /.test(page.body) ? [FOR_LOGS] : []),
      ...(HAS_CHARTS.test(page.body) ? [FOR_CHARTS] : [])
    ]
    const urls = new Set(kinds.flatMap(kind => [...page.body.matchAll(kind)].map(([, url]) => url!)))
    assert.ok(urls.size >= 5, path)
    let ours = brotliCompressSync(page.rawPayload).length
    let others = 0
    for (const url of urls) {
      const asset = await get(url, { 'accept-encoding': 'br' })
      assert.ok(asset.statusCode === 200 && (asset.headers['content-encoding'] === 'br' || url.endsWith('.png')), url)
      if (/\/(?:htmx|hx-csp|uplot)-/.test(url)) others += asset.rawPayload.length
      else ours += asset.rawPayload.length
    }
    const words = `${path}: ${ours} bytes of ours and ${others} of others`
    assert.ok(others <= 34_000 && ours + others <= 60_000, words)
  }
})
