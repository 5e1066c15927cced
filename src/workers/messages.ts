import type { SharedBuckets } from '../../plugins/rate-limit/index.ts'
import { type Config, ConfigError } from '../config/index.ts'

/** What a worker receives at its start. */
export interface WorkerData {
  /** The result of structured cloning; see {@link receiveConfig}. */
  readonly config: Omit<Config, 'baseUrl'> & { readonly baseUrl: string }
  readonly buckets: SharedBuckets
}

/** From the primary to a worker. */
export type Order =
  | { readonly type: 'stop' | 'reload' | 'read' | 'ping' }
  | { readonly type: 'peers'; readonly texts: readonly string[] }

/** From a worker to the primary. */
export type Report =
  | { readonly type: 'listening' | 'ready' | 'pong' }
  | { readonly type: 'log'; readonly lines: string }
  | { readonly type: 'fault'; readonly fault: Fault }
  | { readonly type: 'collect' | 'reading'; readonly text: string }
  | { readonly type: 'stopped'; readonly text: string; readonly failure?: Fault }

/** An error to send out of its thread, with the properties that the process edge acts on. */
export interface Fault {
  readonly message: string
  readonly stack: string | undefined
  readonly problems: readonly string[] | undefined
}

export function sendConfig(config: Config): WorkerData['config'] {
  return { ...config, baseUrl: config.baseUrl.href }
}

export function receiveConfig({ baseUrl, keys, ...config }: WorkerData['config']): Config {
  return {
    ...config,
    baseUrl: new URL(baseUrl),
    keys: { session: asBuffers(keys.session), encryption: asBuffers(keys.encryption), signing: asBuffers(keys.signing) }
  }
}

/** Structured cloning turns Buffers into plain byte arrays. */
function asBuffers(keyring: Config['keys']['session']): Config['keys']['session'] {
  if (keyring === null) return null
  const keys = new Map([...keyring.keys].map(([id, key]) => [id, Buffer.from(key)]))
  return { current: { id: keyring.current.id, key: keys.get(keyring.current.id)! }, keys }
}

export function sendFault(error: unknown): Fault {
  const { message, stack } = error instanceof Error ? error : new Error(String(error))
  return { message, stack, problems: error instanceof ConfigError ? error.problems : undefined }
}

export function receiveFault({ message, stack, problems }: Fault): Error {
  return problems ? new ConfigError(problems) : Object.assign(new Error(message), { stack })
}
