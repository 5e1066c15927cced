import type { SecureContextOptions } from 'node:tls'
import { type Config, readTls } from '../config/index.ts'

/** Of TLS 1.2, what has forward secrecy and authenticated encryption: no CBC. TLS 1.3 has nothing else. */
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
 * What we serve HTTPS with, read anew. A reload needs all of it: Node forgets what it is not given again.
 *
 * @throws Error when a file cannot be read
 */
export function secureContextOf(files: NonNullable<Config['tls']>): SecureContextOptions {
  return { ...readTls(files), minVersion: 'TLSv1.2', ciphers: CIPHERS }
}
