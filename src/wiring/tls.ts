import type { SecureContextOptions } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import { certificateExpiry, expiryOf } from '../../plugins/lib/certificate-expiry.ts'
import { type Config, readTls } from '../config/index.ts'
import { registryOf } from '../kernel/has.ts'

/** From TLS 1.2, only suites with forward secrecy and authenticated encryption: no CBC. TLS 1.3 has nothing else. */
const CIPHERS = [
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'TLS_AES_128_GCM_SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256'
].join(':')

/**
 * Reads the HTTPS options from disk. A reload must pass all of them: Node drops any that are missing.
 *
 * @throws Error when a file cannot be read
 */
export function secureContextOf(files: NonNullable<Config['tls']>): SecureContextOptions {
  return { ...readTls(files), minVersion: 'TLSv1.2', ciphers: CIPHERS }
}

/** Records the expiry of the certificate in use; the one in the file may be newer. */
export function recordCertificate(app: FastifyInstance, { cert }: SecureContextOptions): void {
  certificateExpiry(registryOf(app).registry)('server', expiryOf(cert as Buffer))
}
