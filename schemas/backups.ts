import { Type } from '@sinclair/typebox'
import { adapted, Headers, IdempotencyKey, NoBody, NoQuery, Nullable, OneOf, Sent, Text, Timestamp } from './common.ts'
import { errorResponses } from './error.ts'

export const Backup = Sent(
  {
    id: Text('Its id.', '20300131T020000Z-1a2b3c4d'),
    state: OneOf(['verified', 'damaged', 'unfinished'], {
      description: '`verified`: it was read back completely. `unfinished`: it is being created, or was interrupted.'
    }),
    problem: Nullable(Text('The problem, if there is one.', 'data.tar.zst.age is missing')),
    takenAt: adapted(Timestamp, { description: 'The time of the snapshot.' }),
    bytes: Type.Integer({ description: 'Its stored size.' }),
    rows: Nullable(Type.Integer({ description: 'The number of rows of all tables.' })),
    release: Nullable(Text('The version of the server that created it.', '1.2.3')),
    checked: Nullable(
      OneOf(['opened', 'read back'], {
        description:
          '`opened`: decrypted and compared row by row. `read back`: compared by the checksums of the stored files.'
      })
    )
  },
  { title: 'Backup' }
)

const Drill = Sent(
  {
    backup: Text('The backup that was restored.', '20300131T020000Z-1a2b3c4d'),
    startedAt: adapted(Timestamp, { description: 'When the drill started.' }),
    rows: Type.Integer({ description: 'The number of restored rows.' }),
    rtoSeconds: Type.Number({ description: 'The duration, including checks.' }),
    rpoSeconds: Type.Number({ description: 'The age of the backup.' }),
    auditRows: Type.Integer({ description: 'The number of verified audit rows.' }),
    keys: Type.Array(Type.String({ examples: ['k20261129-ce0fc793'] }), {
      description: 'The keys that each decrypted a secret.'
    }),
    indexes: Type.Integer({ description: 'The number of indexes compared with their tables.' })
  },
  { title: 'RestoreDrill' }
)

export const listBackups = {
  operationId: 'listBackups',
  summary: 'List the backups of the platform',
  description: 'Newest first; only backups of this database. Retention limits their number.',
  tags: ['operators'],
  querystring: NoQuery,
  response: {
    200: Sent(
      {
        items: Type.Array(Backup, { description: 'The backups.' }),
        lastDrill: Nullable(Drill)
      },
      { title: 'Backups' }
    ),
    ...errorResponses
  }
}

export const createBackup = {
  operationId: 'createBackup',
  summary: 'Create a backup',
  description: 'One instance starts it soon. A backup that is already waiting covers this request too.',
  tags: ['operators'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  querystring: NoQuery,
  body: NoBody,
  response: {
    202: Sent(
      {
        job: Nullable(
          Text('The id of its job; null if a waiting one covers it.', '0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a')
        ),
        state: OneOf(['waiting'], { description: 'Its state.' })
      },
      { title: 'RequestedBackup' }
    ),
    ...errorResponses
  }
}
