import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { type PluginInput, parseOptions } from '../../plugins/lib/options.ts'
import { fileStorage } from './file.ts'
import type { Storage } from './port.ts'
import { s3Storage } from './s3.ts'

export type { Content, Storage, Stored, StoredObject } from './port.ts'
export { StorageError } from './port.ts'

const S3Options = Type.Object(
  {
    bucket: Type.String(),
    prefix: Type.String(),
    endpoint: Type.Union([Type.String(), Type.Null()]),
    region: Type.String(),
    accessKeyId: Type.String(),
    secretAccessKey: Type.String(),
    sessionToken: Type.Optional(Type.String()),
    partSize: Type.Optional(Type.Integer({ minimum: 5 * 1024 * 1024 })),
    timeout: Type.Optional(Type.Integer({ minimum: 1 })),
    backoff: Type.Optional(Type.Integer({ minimum: 0 }))
  },
  { additionalProperties: false, description: 'A bucket of S3 or a compatible service.' }
)

export const StorageOptions = Type.Object(
  {
    directory: Type.Optional(Type.String({ description: 'A directory that stores the objects as files.' })),
    s3: Type.Optional(S3Options)
  },
  { additionalProperties: false }
)
export type StorageOptions = Static<typeof StorageOptions>

export interface StorageDeps {
  /** Replaces the built-in kinds. */
  storage?: Storage
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Null: none is configured. */
    storage: Storage | null
  }
}

/** The storage that the options describe, for callers without a server. Null if they describe none. */
export function openStorage({ directory, s3 }: StorageOptions): Storage | null {
  if (s3 !== undefined) return s3Storage(s3)
  return directory === undefined ? null : fileStorage(directory)
}

/** Object storage outside the database: a directory or a bucket. */
const storage: FastifyPluginAsync<PluginInput<typeof StorageOptions, StorageDeps>> = async (app, input) => {
  const options = parseOptions('rhone-storage', StorageOptions, input, ['storage'])
  const opened: Storage | null = input.storage ?? openStorage(options)
  app.decorate('storage', opened)
}

export default fp(storage, { name: 'rhone-storage', fastify: '5.x' })
