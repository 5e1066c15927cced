import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify from 'fastify'
import securityHeaders from '../../plugins/security-headers.ts'
import { loadConfig } from '../../src/config/index.ts'
import { generateKey } from '../../src/config/keyring.ts'
import * as http from '../../src/wiring/http.ts'

const PRODUCTION = {
  ENVIRONMENT: 'production',
  BASE_URL: 'https://rhone.example.com',
  DATABASE_URL: 'postgres://rhone:secret@db.example.com/rhone?sslmode=verify-full',
  SESSION_KEYS: generateKey(),
  ENCRYPTION_KEYS: generateKey(),
  SIGNING_KEYS: generateKey()
}

async function hstsOf(variables: Record<string, string>): Promise<unknown> {
  const app = Fastify()
  await app.register(securityHeaders, http.securityHeaders(loadConfig(variables)))
  const { headers } = await app.inject('/')
  await app.close()
  return headers['strict-transport-security']
}

test('production and staging send HSTS, development does not, and preloading can be requested', async () => {
  assert.equal(await hstsOf(PRODUCTION), 'max-age=31536000; includeSubDomains')
  assert.equal(await hstsOf({ ...PRODUCTION, ENVIRONMENT: 'staging' }), 'max-age=31536000; includeSubDomains')
  assert.equal(await hstsOf({ ...PRODUCTION, HSTS_PRELOAD: 'true' }), 'max-age=31536000; includeSubDomains; preload')
  assert.equal(await hstsOf({ BASE_URL: 'https://localhost:8443', HSTS_PRELOAD: 'true' }), undefined)
})

test('memory pressure is measured against MEMORY_LIMIT, and always enabled', () => {
  const limitOf = (variables: Record<string, string>) => http.pressure(loadConfig(variables), Fastify()).memoryLimit
  assert.equal(limitOf({ MEMORY_LIMIT: '536870912' }), 536_870_912)
  assert.ok(limitOf({}) > 0)
})

test('the cache lifetime of preflights is configurable', () => {
  assert.equal(http.cors(loadConfig({})).maxAge, 7_200)
  assert.equal(http.cors(loadConfig({ CORS_MAX_AGE: '60' })).maxAge, 60)
  assert.throws(() => loadConfig({ CORS_MAX_AGE: '86401' }), /CORS_MAX_AGE/)
})
