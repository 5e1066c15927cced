import { Type } from '@sinclair/typebox'
import {
  adapted,
  CreatedAt,
  Done,
  Headers,
  IdempotencyKey,
  NoBody,
  NoQuery,
  Nullable,
  OneOf,
  Page,
  PageQuery,
  Sent,
  Strict,
  Text,
  Timestamp
} from './common.ts'
import { errorResponses } from './error.ts'

const QueueName = Type.String({
  pattern: '^[a-z][a-z0-9-]{0,49}$',
  'x-form': 'the name of a queue',
  description: 'The kind of work.',
  examples: ['deploy']
})
const JobState = OneOf(['waiting', 'retrying', 'active', 'completed', 'cancelled', 'dead'], {
  description: '`dead`: its last attempt has failed, and it is tried again only when an operator says so.'
})

export const Job = Sent(
  {
    id: Type.String({ description: 'Its id.', examples: ['deploy.0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a'] }),
    queue: QueueName,
    state: JobState,
    key: Nullable(Text('What jobs of its queue that must not meet have in common.', 'hello')),
    attempt: Type.Integer({ description: '0 before the first.' }),
    error: Nullable(Text('Why the latest attempt has failed.', 'The service does not answer')),
    createdAt: CreatedAt,
    startedAt: Nullable(adapted(Timestamp, { description: 'When the latest attempt began.' })),
    finishedAt: Nullable(adapted(Timestamp, { description: 'When it was over.' }))
  },
  { title: 'Job' }
)

export const listJobs = {
  operationId: 'listJobs',
  summary: 'List the jobs of the platform',
  description: 'The newest first. What is over is listed for two weeks.',
  tags: ['operators'],
  querystring: Strict({ ...PageQuery, done: Done, queue: Type.Optional(QueueName), state: Type.Optional(JobState) }),
  response: { 200: Page(Job), ...errorResponses }
}

export const retryJob = {
  operationId: 'retryJob',
  summary: 'Try a dead job once more',
  description: 'It is begun at once. A job in any other state is a 409.',
  tags: ['operators'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  params: Strict({
    id: Type.String({
      minLength: 1,
      maxLength: 255,
      description: 'As in the list.',
      examples: ['deploy.0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a']
    })
  }),
  querystring: NoQuery,
  body: NoBody,
  response: {
    202: Sent(
      {
        id: Type.String({ description: 'Its id.', examples: ['deploy.0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a'] }),
        queue: QueueName,
        state: OneOf(['retrying'], { description: 'What becomes of it.' })
      },
      { title: 'RetriedJob' }
    ),
    ...errorResponses
  }
}
