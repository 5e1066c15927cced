import { Type } from '@sinclair/typebox'
import { adapted, Headers, IdempotencyKey, NoBody, NoQuery, Nullable, OneOf, Sent, Text, Timestamp } from './common.ts'
import { errorResponses } from './error.ts'

export const Backup = Sent(
  {
    id: Text('Its id.', '20300131T020000Z-1a2b3c4d'),
    state: OneOf(['verified', 'damaged', 'unfinished'], {
      description:
        '`verified`: it was read back, and all of it is there. `unfinished`: it is being made, or was cut off.'
    }),
    problem: Nullable(Text('What is wrong with it.', 'data.tar.zst.age is missing')),
    takenAt: adapted(Timestamp, { description: 'The instant that it shows.' }),
    bytes: Type.Integer({ description: 'Its size as it is stored.' }),
    rows: Nullable(Type.Integer({ description: 'The rows of all tables.' })),
    release: Nullable(Text('The version of the server that made it.', '1.2.3')),
    checked: Nullable(
      OneOf(['opened', 'read back'], {
        description: '`opened`: decrypted and compared row by row. `read back`: compared as it is stored.'
      })
    )
  },
  { title: 'Backup' }
)

const Drill = Sent(
  {
    backup: Text('The backup that was restored.', '20300131T020000Z-1a2b3c4d'),
    startedAt: adapted(Timestamp, { description: 'When it began.' }),
    rows: Type.Integer({ description: 'The rows that came back.' }),
    rtoSeconds: Type.Number({ description: 'How long it took, checks included.' }),
    rpoSeconds: Type.Number({ description: 'How old the backup was.' }),
    auditRows: Type.Integer({ description: 'The rows of the audit log that were verified.' }),
    keys: Type.Array(Type.String({ examples: ['k20261129-ce0fc793'] }), {
      description: 'The keys that opened a secret each.'
    }),
    indexes: Type.Integer({ description: 'The indexes that were compared with their tables.' })
  },
  { title: 'RestoreDrill' }
)

export const listBackups = {
  operationId: 'listBackups',
  summary: 'List the backups of the platform',
  description: 'The newest first; those of this database alone. Their number is bounded by how many are kept.',
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
  summary: 'Have a backup made',
  description: 'It is begun soon, by one instance. One that waits already covers this request, too.',
  tags: ['operators'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  querystring: NoQuery,
  body: NoBody,
  response: {
    202: Sent(
      {
        job: Nullable(Text('Its job; null if one that waits covers it.', '0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a')),
        state: OneOf(['waiting'], { description: 'What becomes of it.' })
      },
      { title: 'RequestedBackup' }
    ),
    ...errorResponses
  }
}
