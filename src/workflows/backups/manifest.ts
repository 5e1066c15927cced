import { createHash } from 'node:crypto'

/** The contents of a backup; its last member, so that an incomplete backup has none. */
export interface Manifest {
  readonly format: typeof FORMAT
  readonly id: string
  /** The identity of the database, which a restore preserves. */
  readonly installation: string
  /** The instant of the backup, by the database's clock. */
  readonly takenAt: string
  /** The version of Rhone that made it. */
  readonly release: string
  readonly postgres: string
  readonly migrations: readonly { readonly tag: string; readonly checksum: string }[]
  /** The version of the schema of jobs; null if there is none. */
  readonly jobs: number | null
  /** Ordered so that every row follows the rows it refers to. */
  readonly tables: readonly TableManifest[]
  readonly sequences: readonly SequenceManifest[]
  /** The months with partitions of the audit log: `2030_01`. */
  readonly auditMonths: readonly string[]
  readonly keys: NeededKeys
}

export interface TableManifest {
  readonly schema: string
  readonly name: string
  readonly columns: readonly string[]
  readonly rows: number
  readonly bytes: number
  /** Of its rows in COPY's text format. */
  readonly sha256: string
}

export interface SequenceManifest {
  readonly schema: string
  readonly name: string
  readonly value: string
  readonly isCalled: boolean
}

/** The keys that the backup needs, by the variable that holds them. */
export interface NeededKeys {
  readonly ENCRYPTION_KEYS: readonly KeyMark[]
  readonly SIGNING_KEYS: readonly KeyMark[]
}

export interface KeyMark {
  readonly id: string
  /** Distinguishes keys with the same id, and reveals nothing about the key; null if the key was not available. */
  readonly print: string | null
}

export const FORMAT = 'rhone-backup/1'
export const MANIFEST = 'manifest.json'

/** A key is 32 random bytes, so its digest cannot be used to guess it. */
export function printOf(id: string, key: Buffer): string {
  return createHash('sha256').update(`rhone backup key\0${id}\0`).update(key).digest('hex').slice(0, 32)
}

/** A backup's entry in lists, readable without any key. Written last: a backup without it does not count. */
export interface Descriptor {
  readonly format: typeof FORMAT
  readonly id: string
  readonly installation: string
  readonly takenAt: string
  readonly finishedAt: string
  readonly release: string
  readonly migration: string | null
  readonly rows: number
  readonly data: ObjectMark
  readonly keys: ObjectMark
  readonly recipients: readonly string[]
  /** The ids of the keys that it needs, by the variable that holds them. */
  readonly keyIds: Readonly<Record<keyof NeededKeys, readonly string[]>>
  /** `opened`: decrypted and compared row by row. `read back`: compared as stored. */
  readonly checked: 'opened' | 'read back'
}

export interface ObjectMark {
  readonly bytes: number
  readonly sha256: string
}

/** @throws Error when the text is not a descriptor, or has a newer format */
export function parseDescriptor(text: string): Descriptor {
  return parseAs<Descriptor>(text)
}

/** @throws Error when the text is not a manifest, or has a newer format */
export function parseManifest(text: string): Manifest {
  return parseAs<Manifest>(text)
}

function parseAs<Parsed extends { format: string }>(text: string): Parsed {
  const found = JSON.parse(text) as Parsed
  if (found?.format !== FORMAT)
    throw new Error(`it has the format "${found?.format}", and this version reads ${FORMAT}`)
  return found
}
