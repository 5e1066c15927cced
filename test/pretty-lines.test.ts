import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import { prettyLines } from '../src/pretty-lines.ts'

const plain = (...lines: object[]) =>
  stripVTControlCharacters(prettyLines(lines.map(line => JSON.stringify(line)).join('\n')))
const base = { time: '2026-11-29T19:11:51.367Z', service: 'rhone' }

test('a person at the terminal sees what happened, and when', () => {
  const request = {
    method: 'GET',
    route: '/api/v1/apps/:app',
    status: 404,
    responseTime: 1.234,
    reqId: 'x',
    msg: 'request'
  }
  assert.equal(
    plain({ level: 'info', ...base, ...request }, { level: 'warn', ...base, msg: 'Redis is away', wait: 100 }),
    '19:11:51 info  GET /api/v1/apps/:app 404 1 ms\n19:11:51 warn  Redis is away wait=100\n'
  )
})

test('errors keep their stack, 404s their path, and text that is not JSON is unchanged', () => {
  assert.match(
    plain({ level: 'error', ...base, msg: 'failed', err: { stack: 'Error: boom\n  at x' } }),
    /failed\nError: boom\n {2}at x\n$/
  )
  const unmatched = { method: 'GET', route: '__unmatched__', path: '/aps', status: 404, responseTime: 0.2 }
  assert.match(plain({ level: 'info', ...base, ...unmatched }), /GET \/aps 404 0 ms/)
  assert.equal(prettyLines('not JSON\n'), 'not JSON\n')
})
