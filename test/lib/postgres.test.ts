import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { createSecureContext, TLSSocket } from 'node:tls'
import {
  addressOf,
  hostUrls,
  isUnreachable,
  postgresTarget,
  postgresTargets,
  sqlState
} from '../../plugins/lib/postgres.ts'
import { ask, openSession } from '../../plugins/lib/postgres-session.ts'
import { needsOpenssl } from '../support/certificate.ts'
import { freshDatabase } from '../support/database.ts'
import { type TcpProxy, tcpProxy } from '../support/tcp-proxy.ts'

suite('a connection URL', () => {
  test('is read with its escapes and defaults', () => {
    assert.deepEqual(postgresTarget('postgresql://user%40x:p%2Fw@db.example:6543/my%20db?application_name=a'), {
      host: 'db.example',
      port: 6543,
      database: 'my db',
      username: 'user@x',
      password: 'p/w',
      ssl: 'prefer',
      connection: { application_name: 'a' }
    })
    const { host, port, database, username } = postgresTarget('postgres://ada@[::1]')
    assert.deepEqual({ host, port, database, username }, { host: '::1', port: 5432, database: 'ada', username: 'ada' })
  })

  test('may name a Unix socket, as a parameter or as the host', () => {
    for (const url of ['postgres://u:p@/db?host=/run/pg&port=5433', 'postgres://u:p@%2Frun%2Fpg:5433/db']) {
      const { path, ssl, database } = postgresTarget(url)
      assert.deepEqual({ path, ssl, database }, { path: '/run/pg/.s.PGSQL.5433', ssl: false, database: 'db' })
    }
    assert.equal(postgresTarget('postgres://u@%2Frun%2Fpg%2C/db').path, '/run/pg,/.s.PGSQL.5432')
  })

  test('may name several hosts, each with its own port', () => {
    assert.deepEqual(hostUrls('postgres://u:p%2C@a:5432,b:5433/db?sslmode=require'), [
      'postgres://u:p%2C@a:5432/db?sslmode=require',
      'postgres://u:p%2C@b:5433/db?sslmode=require'
    ])
    const sockets = postgresTargets('postgres://u:p@/db?host=/run/a,/run/b&port=5432,5433')
    assert.deepEqual(
      sockets.map(({ path }) => path),
      ['/run/a/.s.PGSQL.5432', '/run/b/.s.PGSQL.5433']
    )
    assert.deepEqual(postgresTargets('postgres://u@[::1]:1,b/db').map(addressOf), ['[::1]:1', 'b:5432'])
  })

  test('is one host where only its password or its socket has a comma', () => {
    for (const url of ['postgres://u:a,b@h/db', 'postgres://u@%2Frun%2Fpg%2C/db', 'postgres://u@h/db', 'nonsense'])
      assert.deepEqual(hostUrls(url), [url])
  })

  test('is refused when it names a host twice, or not as many ports as hosts', () => {
    assert.throws(() => postgresTargets('postgres://u@a,a:5432/db'), /the host a:5432 twice/)
    assert.throws(() => hostUrls('postgres://u@/db?host=/a,/b,/c&port=1,2'), /3 hosts but 2 ports/)
  })

  test('accepts the parameters that Neon adds', () => {
    const { ssl } = postgresTarget('postgresql://u:p@ep-x.neon.tech/db?sslmode=require&channel_binding=require')
    assert.equal(typeof ssl === 'object' && ssl.rejectUnauthorized, false)
  })

  for (const [url, complaint] of [
    ['mysql://u@h/db', /must have the form/],
    ['not a url', /must have the form/],
    ['postgres://u@a:1,b:2/db', /must have the form|single host/],
    ['postgres://u@h/db?target_session_attrs=standby', /it must be primary or read-write/],
    ['postgres://u@h/db?sslmode=maybe', /sslmode=maybe/],
    ['postgres://u@h/db?sslmode=require&sslrootcert=system', /needs sslmode=verify-full/],
    ['postgres://u@h/db?statement_cache=1', /unknown parameter "statement_cache"/]
  ] as const)
    test(`is refused when it is ${url}`, () => {
      assert.throws(() => postgresTarget(url), complaint)
    })
})

suite('sslmode', () => {
  test('controls encryption and the verification of the server', needsOpenssl, async t => {
    const { url, ca } = await tlsDatabase(t)
    const named = (host: string, parameters: string) => {
      const target = new URL(`${url}?${parameters}`)
      target.hostname = host
      return target.href
    }
    assert.equal(await connects(url), true)
    assert.equal(await connects(named('127.0.0.1', 'sslmode=disable')), false)
    assert.equal(await connects(named('127.0.0.1', 'sslmode=require')), true)
    assert.equal(await connects(named('localhost', 'sslmode=verify-full')), false)
    assert.equal(await connects(named('localhost', `sslmode=verify-full&sslrootcert=${ca}`)), true)
    assert.equal(await connects(named('127.0.0.1', `sslmode=verify-full&sslrootcert=${ca}`)), false)
    assert.equal(await connects(named('127.0.0.1', `sslmode=verify-ca&sslrootcert=${ca}`)), true)
    assert.equal(await connects(named('127.0.0.1', `sslmode=require&sslrootcert=${ca}`)), true)
    assert.equal(await connects(named('127.0.0.1', 'sslmode=verify-ca')), false)
  })

  test('require refuses a server without encryption, prefer accepts it', async t => {
    const proxy = await tcpProxy(t, await freshDatabase(t))
    answerSslRequest(proxy, 'N')
    assert.equal(await connects(`${proxy.url}?sslmode=require`), false)
    assert.equal(await connects(proxy.url), true)
  })
})

suite('errors', () => {
  test('keep their SQLSTATE however often they are wrapped', () => {
    const thrown = Object.assign(new Error('duplicate'), { severity: 'ERROR', code: '23505' })
    const wrapped = new Error('query failed', { cause: new Error('again', { cause: thrown }) })
    assert.equal(sqlState(wrapped), '23505')
    assert.equal(sqlState(new Error('no database at all')), undefined)
  })

  test('show whether the database is unavailable', () => {
    const of = (fields: object) => new Error('wrapped', { cause: Object.assign(new Error(), fields) })
    for (const code of ['ECONNREFUSED', 'CONNECT_TIMEOUT', 'CONNECTION_CLOSED', '57P01', '57P03', '53300', '08006'])
      assert.equal(isUnreachable(of({ code })), true, code)
    assert.equal(isUnreachable(of({ code: 'ENOENT', syscall: 'connect' })), true)
    for (const fields of [{ code: '23505' }, { code: '28P01' }, { code: 'ENOENT', syscall: 'open' }, {}])
      assert.equal(isUnreachable(of(fields)), false, JSON.stringify(fields))
  })
})

async function connects(url: string): Promise<boolean> {
  const options = { applicationName: 'test', connectTimeout: 3, prepare: false }
  const session = openSession(postgresTarget(url), options)
  try {
    await ask(session, 'select 1', 3_000)
    return true
  } catch {
    return false
  } finally {
    session.destroy()
  }
}

/** The database behind something that speaks TLS, as `localhost`, and nothing else. */
async function tlsDatabase(t: TestContext): Promise<{ url: string; ca: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'rhone-tls-'))
  t.after(() => rm(directory, { recursive: true }))
  const [key, ca] = [join(directory, 'key.pem'), join(directory, 'ca.pem')]
  const certificate = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  const name = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
  execFileSync('openssl', ['req', ...certificate, ...name, '-keyout', key, '-out', ca], { stdio: 'ignore' })
  const secureContext = createSecureContext({ key: await readFile(key), cert: await readFile(ca) })

  const proxy = await tcpProxy(t, await freshDatabase(t))
  answerSslRequest(proxy, 'S', secureContext)
  return { url: proxy.url, ca }
}

/** The first packet of a client that wants TLS is a request for it, to which one letter is the answer. */
function answerSslRequest(proxy: TcpProxy, answer: 'S' | 'N', secureContext?: ReturnType<typeof createSecureContext>) {
  proxy.handle = (client, passOn) =>
    client.once('data', first => {
      if (first.readInt32BE(4) !== 80_877_103) return client.destroy()
      client.write(answer)
      if (secureContext === undefined) passOn()
      else passOn(new TLSSocket(client, { isServer: true, secureContext }))
    })
}
