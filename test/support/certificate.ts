import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Scope } from './database.ts'

/** For the options of a test. */
export const needsOpenssl = { skip: spawnSync('openssl', ['version']).error ? 'openssl is not installed' : false }

/** A key with a self-signed certificate for localhost. */
export async function certificate(scope: Scope): Promise<{ key: Buffer; cert: Buffer }> {
  const directory = await mkdtemp(join(tmpdir(), 'rhone-tls-'))
  scope.after(() => rm(directory, { recursive: true, force: true }))
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  spawnSync('openssl', ['req', '-x509', ...curve, '-keyout', key, '-out', cert, '-subj', '/CN=localhost'])
  return { key: await readFile(key), cert: await readFile(cert) }
}
