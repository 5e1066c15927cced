import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import postgres, { type Sql } from 'postgres'
import { locateBinaries, restoreLibraryLinks } from '../../src/embedded-postgres/binaries.ts'
import { chooseLauncher } from '../../src/embedded-postgres/privileges.ts'
import { runProgram } from '../../src/embedded-postgres/programs.ts'
import { eventually } from './eventually.ts'
import { freePort } from './free-port.ts'

export interface OwnCluster {
  /** As its superuser, over TCP with a password. */
  readonly url: string
  urlFor(database: string, username?: string, password?: string): string
  asSuperuser<T>(work: (sql: Sql) => Promise<T>, database?: string): Promise<T>
}

const PASSWORD = 'superuser-of-a-test'

/** A PostgreSQL with its own superuser and roles; it ends with the test. */
export async function ownCluster(t: TestContext): Promise<OwnCluster> {
  const root = await mkdtemp(join(tmpdir(), 'rhone-cluster-'))
  const data = join(root, 'data')
  const binaries = await locateBinaries()
  await restoreLibraryLinks(binaries)
  const launcher = await chooseLauncher(binaries, tmpdir(), data)
  await chown(root, launcher.account.uid, launcher.account.gid)
  const secret = join(root, 'superuser')
  await writeFile(secret, PASSWORD)
  const initdb = [binaries.initdb, '-D', data, '-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${secret}`, '-N']
  const { ok, output } = await runProgram(() => launcher.spawn([...initdb, '--encoding=UTF8', '--locale=C'], {}))
  if (!ok) throw new Error(output)

  const port = await freePort()
  const settings = [`port=${port}`, 'listen_addresses=127.0.0.1', `unix_socket_directories=${root}`, 'fsync=off']
  const server = launcher.spawn([binaries.postgres, '-D', data, ...settings.flatMap(setting => ['-c', setting])], {
    stdio: 'ignore'
  })
  const ended = new Promise(done => server.once('close', done))
  t.after(async () => {
    server.kill('SIGQUIT')
    await ended
    await rm(root, { recursive: true, force: true })
  })

  const urlFor = (database: string, username = 'postgres', password = PASSWORD) =>
    `postgres://${username}:${password}@127.0.0.1:${port}/${database}`
  async function asSuperuser<T>(work: (sql: Sql) => Promise<T>, database = 'postgres'): Promise<T> {
    const sql = postgres(urlFor(database), { max: 1, fetch_types: false, onnotice: () => {} })
    try {
      return await work(sql)
    } finally {
      await sql.end({ timeout: 1 })
    }
  }
  await eventually(() =>
    asSuperuser(sql => sql`select 1`).then(
      () => true,
      () => false
    )
  )
  return { url: urlFor('postgres'), urlFor, asSuperuser }
}
