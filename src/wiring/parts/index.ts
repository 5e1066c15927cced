import type { FastifyInstance } from 'fastify'
import type { Config } from '../../config/index.ts'
import { type Contributions, collect, type Part } from '../../kernel/part.ts'
import type { Ports } from '../ports.ts'
import accounts from './accounts.ts'
import archive from './archive.ts'
import audit from './audit.ts'
import backups from './backups.ts'
import data from './data.ts'
import delivery from './delivery.ts'
import platform from './platform.ts'
import secrets from './secrets.ts'

/** The server's work besides answering requests. Start steps run in this order. */
export const parts: readonly Part[] = [data, secrets, accounts, audit, platform, delivery, backups, archive]

/** Everything of one kind that this server's parts contribute. */
export function contributed<Kind extends keyof Contributions>(
  kind: Kind,
  config: Config,
  app: FastifyInstance,
  ports: Ports
): Contributions[Kind][] {
  return collect(ports.parts ?? parts, kind, config, app)
}
